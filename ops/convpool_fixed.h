/* ops/convpool.h over a table in fixed point, for a batch of titles:
 *
 *     y[f] = scale[f] * max over t of  sum over j of  Q[row[t + j]][w][j][f],    Q = round(P /
 * scale)
 *
 * The sum of integers is exact, so what is lost is the rounding of each cell alone: half a step,
 * where a step is
 *
 *     int16   (sum over the taps of the largest |P| of each) / (32767 - w): no window overflows
 *     int8    (the largest |P| of the filter) / 127
 *
 * int16 is closer to fp32 than an F16 table is, whose step grows with the value.
 *
 * The table lies in tiles of CONVPOOL_TILE filters, [width][tile][row][tap][CONVPOOL_TILE], and a
 * batch goes through it tile by tile: the rows of one tile that a batch touches fit the
 * second-level cache, those of all tiles do not.  Filters are padded to whole tiles with zeros.
 *
 *     shape   as in ops/convpool.h; convpool_forward's P is what is quantised
 *     scale   [n_widths * F]
 *     y       [n, n_widths * padded]  int16, padded = convpool_padded(shape)
 *
 * Integers are the same in every instruction set.  No allocation, cannot fail. */
#ifndef OPS_CONVPOOL_FIXED_H
#define OPS_CONVPOOL_FIXED_H

#include "ops/convpool.h"

enum { CONVPOOL_TILE = 128 };
enum convpool_cell { CONVPOOL_INT16, CONVPOOL_INT8 };

int convpool_padded(const struct convpool *s);
size_t convpool_fixed_bytes(const struct convpool *s, enum convpool_cell cell, int n_rows);

/* Making one, from rows of P that may come in parts.  First the largest magnitudes: most [stride],
 * zeros before the first part, raised by each. */
void convpool_most(const struct convpool *s, const float *p, int n, float *most);
/* Then the steps; a filter of (next to) nothing but zeros gets 0. */
void convpool_scales(const struct convpool *s, enum convpool_cell cell, const float *most,
                     float *scale);
/* Then rows [first, first + n) of n_rows, from p [n, stride].  The table begins as zeros. */
void convpool_fix(const struct convpool *s, enum convpool_cell cell, const float *scale,
                  const float *p, int first, int n, int n_rows, void *table);

/* Titles are rows row[start[i] .. start[i + 1]), at least one each and CONVPOOL_MAX_TOKENS at
 * most. */
void convpool_fixed(const struct convpool *s, enum convpool_cell cell, const void *table,
                    int n_rows, const int32_t *row, const int32_t *start, int n, int16_t *y);

#endif
