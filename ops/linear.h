/* The products of a linear layer in training, over the pool:
 *
 *     y[N,O]   = x[N,K] · W^T + b                 b NULL: 0
 *     dx[N,K]  = dy[N,O] · W     (or += )
 *     dW      += dy^T · x,  db[O] += sum of dy's rows
 *
 * W is [O][K] (Hugging Face's linear), or [K][O] where inputs_first is set (XLNet's).  x and y have
 * row strides; rows lie in memory one behind the other.
 *
 * With type PRODUCT_BF16 factors are rounded to bfloat16 on the way and summed in single precision;
 * W is rounded once a step by the caller (wb).  Tiles do not depend on the number of threads, so
 * neither does a bit of the result.  A struct linear belongs to one thread at a time. */
#ifndef OPS_LINEAR_H
#define OPS_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "ops/product.h"

struct linear;
/* For up to max_rows rows of up to max_width numbers.  pool may be NULL and outlives it. */
struct linear *linear_open(enum product_type type, int max_rows, int max_width, struct pool *pool);
void linear_close(struct linear *l); /* NULL allowed */

struct linear_weight {
    const float *w;
    const uint16_t *wb; /* the same in bfloat16; NULL with PRODUCT_FP32 */
    int o, k;
    bool inputs_first;
};

void linear_forward(struct linear *l, const float *x, int ldx, int n, struct linear_weight w,
                    const float *b, float *y, int ldy);
/* dx = dy · W alone. */
void linear_input_gradient(struct linear *l, const float *dy, int lddy, int n,
                           struct linear_weight w, float *dx, int lddx);
/* The same and the gradients of W and b. db NULL: there is no bias.  dx NULL: not wanted; add: dx is added to. */
void linear_backward(struct linear *l, const float *x, int ldx, const float *dy, int lddy, int n,
                     struct linear_weight w, float *dw, float *db, float *dx, int lddx, bool add);

#endif
