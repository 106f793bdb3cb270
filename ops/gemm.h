/* General matrix product, single precision, row-major:
 *     C[M,N] = alpha * op(A)[M,K] · op(B)[K,N] + beta * C        op(X) = X or its transpose
 * lda, ldb, ldc are row strides in floats of the matrices as stored: op(A) = A^T means A is stored
 * [K,M] with lda >= M. beta == 0 does not read C (it may hold anything).  C overlaps neither A nor
 * B.  M, N = 0 is a no-op; K = 0 scales C.
 *
 * Backends: oneDNN (dnnl_sgemm), OpenBLAS (cblas_sgemm) and a naive reference; the tree builds
 * without the first two.  The one in use is settled by the first call: what RUBRIC_GEMM names
 * (onednn, openblas, naive) where it is built in, else the first of that list.  A call runs on the
 * calling thread alone, whatever the library's own threading: the pool makes the parallelism.  A
 * sequential build of OpenBLAS is not thread-safe and serves one call at a time.
 * No allocation of our own; cannot fail.  Thread-safe. */
#ifndef OPS_GEMM_H
#define OPS_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/pool.h"

struct gemm {
    bool ta, tb; /* op(A), op(B) transpose */
    int m, n, k;
    float alpha, beta;
    const float *a, *b;
    float *c;
    int lda, ldb, ldc;
};

enum gemm_backend { GEMM_ONEDNN, GEMM_OPENBLAS, GEMM_NAIVE, GEMM_BACKENDS };

void gemm(const struct gemm *g);

/* The same over the pool (NULL: this thread), C cut into tiles of GEMM_TILE_M x GEMM_TILE_N.  The
 * tiles do not depend on the number of threads, so neither does a bit of the result.  K is never
 * cut. */
#define GEMM_TILE_M 192
#define GEMM_TILE_N 512
void gemm_parallel(const struct gemm *g, struct pool *pool);

const char *gemm_backend_name(enum gemm_backend b); /* "onednn", "openblas", "naive" */
bool gemm_backend_built(enum gemm_backend b);
enum gemm_backend gemm_backend(void); /* the one in use */
void gemm_backend_set(
    enum gemm_backend b); /* for tests and benchmarks; b is built in; no call is running */

#endif
