/* Inverted dropout of one row: Srivastava et al., JMLR 15 (2014), scaled while training so that
 * inference does nothing:
 *
 *     y[i] = x[i] / (1 - p)   where kept, else 0
 *
 * Element i of row r is kept or not by (seed, step, r, i) alone: the mask is the same on any number
 * of threads and in a run that was resumed.  Backward is the same function over dy.
 * y may be x.  0 <= p < 1; p = 0 copies.  No allocation, cannot fail. */
#ifndef OPS_DROPOUT_H
#define OPS_DROPOUT_H

#include <stdint.h>

void dropout_row(float *y, const float *x, int n, float p, uint64_t seed, uint64_t step,
                 uint32_t row);

#endif
