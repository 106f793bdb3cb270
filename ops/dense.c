#include "ops/dense.h"

#include <stddef.h>

#include "ops/gemm.h"

void dense_forward(float *y, const float *x, const float *w, const float *b, int n, int c, int o,
                   struct pool *pool)
{
    for (int i = 0; b && i < n; i++)
        for (int k = 0; k < o; k++)
            y[(size_t)i * (size_t)o + (size_t)k] = b[k];
    gemm_parallel(&(struct gemm){false, true, n, o, c, 1.0f, b ? 1.0f : 0.0f, x, w, y, c, c, o},
                  pool);
}

void dense_backward(float *dx, float *dw, float *db, const float *dy, const float *x,
                    const float *w, int n, int c, int o, struct pool *pool)
{
    if (n == 0)
        return;
    if (dx)
        gemm_parallel(&(struct gemm){false, false, n, c, o, 1.0f, 0.0f, dy, w, dx, o, c, c}, pool);
    gemm_parallel(&(struct gemm){true, false, o, c, n, 1.0f, 1.0f, dy, x, dw, o, c, c}, pool);
    for (int i = 0; db && i < n; i++)
        for (int k = 0; k < o; k++)
            db[k] += dy[(size_t)i * (size_t)o + (size_t)k];
}
