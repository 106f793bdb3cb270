/* AdamW: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019
 * (arXiv:1711.05101), as PyTorch has it:
 *
 *     g' = grad_scale g
 *     w -= lr weight_decay w
 *     m  = beta1 m + (1 - beta1) g'
 *     v  = beta2 v + (1 - beta2) g'^2
 *     w -= lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)
 *
 * step counts from 1.  m and v start as zeros.  w, g, m, v [n] do not overlap. */
#ifndef OPS_ADAMW_H
#define OPS_ADAMW_H

#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"

struct adamw {
    float lr, beta1, beta2, eps, weight_decay;
    float grad_scale;         /* 1, or what clipping asks for */
    float correct1, correct2; /* 1 / (1 - beta1^step), 1 / (1 - beta2^step): adamw_at sets them */
};

/* A copy for step number `step` >= 1. */
struct adamw adamw_at(const struct adamw *a, int64_t step);
void adamw_step(const struct adamw *at, float *w, const float *g, float *m, float *v, size_t n,
                struct pool *pool);

/* The Euclidean norm of g[n], summed in double in fixed pieces: the same bits for any number of
 * threads. */
double grad_norm(const float *g, size_t n, struct pool *pool);

#endif
