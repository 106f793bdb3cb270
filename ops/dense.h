/* A linear layer, y = x W^T + b, PyTorch's layout.
 *     x [N, C]   w [O, C]   b [O] or NULL   y [N, O]
 * Backward ADDS to dw and db and OVERWRITES dx (NULL: not wanted):
 *     dx = dy W     dw += dy^T x     db += column sums of dy
 * y overlaps neither x nor w; dx overlaps neither dy nor w.  Cannot fail; n = 0 is a no-op.  Bits
 * do not depend on the pool. */
#ifndef OPS_DENSE_H
#define OPS_DENSE_H

#include "base/pool.h"

void dense_forward(float *y, const float *x, const float *w, const float *b, int n, int c, int o,
                   struct pool *pool);
void dense_backward(float *dx, float *dw, float *db, const float *dy, const float *x,
                    const float *w, int n, int c, int o, struct pool *pool);

#endif
