/* Symmetric bytes: q[i] = round(x[i] / step), step = max |x| / 127, ties to even.
 * The largest becomes 127, so quantising q[i] * step again gives the same q.  Zeros, and numbers all
 * below 4e-37, have step 0.
 * x finite and |x| <= FLT_MAX / 127.  Pure; cannot fail. */
#ifndef OPS_INT8_H
#define OPS_INT8_H

#include <stddef.h>
#include <stdint.h>

/* n numbers, `stride` apart in x and q alike.  Returns the step. */
float int8_quantize(int8_t *q, const float *x, size_t n, size_t stride);

#endif
