/* What training does to rows between its products, over the pool: residuals, norms, activations and
 * dropout, forward and back.  Rows lie one behind the other, [n, c].  Pieces do not depend on the
 * number of threads, so neither does a bit of the result. */
#ifndef MODELS_TRAIN_PASSES_H
#define MODELS_TRAIN_PASSES_H

#include <stdint.h>

#include "base/pool.h"
#include "models/transformer_config.h"

/* Dropout of rows, each under a number of its own, so that a row's mask does not depend on the batch's
 * layout.  p 0: none. */
struct row_drop {
    float p;
    uint64_t seed, step;
    const uint32_t *key; /* [n] */
};

/* A norm's weights and, in training, their gradients, which are added to. */
struct row_norm {
    const float *gamma, *beta; /* beta NULL: RMSNorm */
    float *dgamma, *dbeta;
    float eps;
};

/* y = drop(x); y may be x.  Backward is the same over dy. */
void pass_drop(struct pool *pool, float *y, const float *x, int n, int c, struct row_drop d);
/* sum = x + drop(o); y = norm(sum) unless y is NULL.  sum may be o. */
void pass_add_norm(struct pool *pool, float *sum, float *y, const float *x, const float *o, int n,
                   int c, struct row_drop d, const struct row_norm *norm);
void pass_norm(struct pool *pool, float *y, const float *x, int n, int c,
               const struct row_norm *norm);
/* dx of norm(x) from dy, which it does not overlap; scratch [2 n]. */
void pass_norm_back(struct pool *pool, float *dx, const float *dy, const float *x, int n, int c,
                    const struct row_norm *norm, float *scratch);
void pass_activate(struct pool *pool, enum activation act, float *y, const float *x, int n, int c);
/* y = act(x), dx = dy act'(x); dx may be dy. */
void pass_activate_back(struct pool *pool, enum activation act, float *y, float *dx, const float *x,
                        const float *dy, int n, int c);
/* y = a b, and back: da = dy b, db = dy a (over a and b). */
void pass_multiply(struct pool *pool, float *y, const float *a, const float *b, int n, int c);
void pass_multiply_back(struct pool *pool, float *a, float *b, const float *dy, int n, int c);
void pass_add(struct pool *pool, float *y, const float *x, int n, int c); /* y += x */
/* y = x in bfloat16, n numbers. */
void pass_round(struct pool *pool, uint16_t *y, const float *x, size_t n);

#endif
