/* A linear layer at inference, y = x W^T + b, in fp32, bfloat16 or int8 (ops/product.h), with packed
 * weights:
 *     x [M,K] floats, put in row by row as the type wants them
 *     y [M,N] floats, taken out row by row
 * Row by row, because what comes before and after (GELU, LayerNorm, the next layer's quantisation)
 * then works on a row that lies in the first-level cache.
 *
 * int8: weights have a step per output, the largest being 127; rows of x are quantised as they come,
 * each with its own step and zero point (rows()->quantize), so nothing has to be calibrated.  The
 * zero point is taken out again by the sums of the weights: y = (q·w - zero sum w) step_x step_w + b.
 *
 * A set holds the kernels that projections of one shape share; projections and the set are const
 * once made and shared by threads.  Lanes belong to one thread. */
#ifndef OPS_PROJECTION_H
#define OPS_PROJECTION_H

#include <stddef.h>
#include <stdint.h>

#include "ops/product.h"

struct projection_set;
struct projection_set *projection_set_open(int max_m); /* rows of one run, at most */
void projection_set_close(struct projection_set *s);   /* NULL allowed; after its projections */
/* What runs for a type, for logs: the first kernel's name, or NULL. */
const char *projection_set_name(const struct projection_set *s, enum product_type type);

struct projection;
/* w [N][K], bias [N] or NULL: copied. */
struct projection *projection_open(struct projection_set *s, enum product_type type, int n, int k,
                                   const float *w, const float *bias);
void projection_close(struct projection *p); /* NULL allowed */
size_t projection_bytes(const struct projection *p);
enum product_type projection_type(const struct projection *p);
int projection_width(const struct projection *p); /* N */

struct projection_lanes;
struct projection_lanes *projection_lanes_open(const struct projection_set *s);
void projection_lanes_close(struct projection_lanes *lanes); /* NULL allowed */

/* Rows of x as a product reads them: data has room for product_rows(M) rows of K floats. */
struct projection_rows {
    void *data;
    float *scale;  /* [M], int8 only */
    int32_t *zero; /* [M] */
};
/* x may be the row itself when the type is FP32: then nothing moves. */
void projection_put(const struct projection *p, const struct projection_rows *in, int row,
                    const float *x);
/* The raw product of rows 0..m-1 into sum, product_rows(m) rows of N floats' size. */
void projection_run(struct projection_lanes *lanes, const struct projection *p,
                    const struct projection_rows *in, int m, void *sum);
/* y, which may be sum's own row, = row `row` as numbers, bias added. */
void projection_take(const struct projection *p, const struct projection_rows *in, const void *sum,
                     int row, float *y);

#endif
