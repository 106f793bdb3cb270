/* General matrix product of bfloat16 with sums in single precision, row-major:
 *     C[M,N] = op(A)[M,K] · op(B)[K,N] (+ C)        op(X) = X or its transpose
 * A and B hold bfloat16, C floats; strides as in ops/gemm.h.  C overlaps neither.  M, N = 0 is a
 * no-op; K >= 1.
 *
 * oneDNN makes a primitive for every shape, set of strides and form, some 0.3 ms each; a set keeps
 * them.  Callers round what varies from batch to batch, or the set grows: past GEMM_BF16_MAX
 * shapes it begins anew.  product_has(PRODUCT_BF16) (ops/product.h) says whether it is worth using;
 * without oneDNN a simple loop does the same. */
#ifndef OPS_GEMM_BF16_H
#define OPS_GEMM_BF16_H

#include <stdbool.h>
#include <stdint.h>

#define GEMM_BF16_MAX 4096

struct gemm_bf16 {
    bool ta, tb, add; /* add: C is added to */
    int m, n, k;
    const uint16_t *a, *b;
    float *c;
    int lda, ldb, ldc;
};

struct gemm_bf16_set;
struct gemm_bf16_set *gemm_bf16_open(int threads);
void gemm_bf16_close(struct gemm_bf16_set *set); /* NULL allowed */
/* By several threads at once, each with its own number 0 <= thread < threads. */
void gemm_bf16(struct gemm_bf16_set *set, int thread, const struct gemm_bf16 *g);

#endif
