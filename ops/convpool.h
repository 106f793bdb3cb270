/* Convolution over time of folded embeddings, with max over time (see models/textcnn.h):
 *
 *     y[f] = max over 0 <= t < T of  sum over 0 <= j < w, t + j < T  of  P[row[t + j]][w][j][f]
 *
 * for every width w and its filters f.  Positions past the title's end add nothing (zero vectors
 * follow every title).
 *
 *     P    [rows, stride]   one row per character: for each width in turn, [tap][filter]
 *     row  [T]              the row of P of each character of the title; T >= 1
 *     y    [n_widths * F]   pooled, before bias and ReLU
 *     arg  [n_widths * F]   the t of the maximum, the first one on ties; NULL: not wanted
 *
 * Sums run over j upwards in fp32 in every instruction set, so all of them give the same bits.
 * No allocation, cannot fail. */
#ifndef OPS_CONVPOOL_H
#define OPS_CONVPOOL_H

#include <stddef.h>
#include <stdint.h>

#define CONVPOOL_MAX_WIDTHS 8
#define CONVPOOL_MAX_TOKENS 1024 /* T */

struct convpool {
    int n_filters, n_widths;
    int widths[CONVPOOL_MAX_WIDTHS];
    int stride; /* sum of widths * n_filters */
};

void convpool_forward(const struct convpool *s, const float *p, const int32_t *row, int t, float *y,
                      int32_t *arg);

/* The same of a table rounded to bfloat16 (to nearest, ties to even); sums are floats as above. */
void convpool_forward_bf16(const struct convpool *s, const uint16_t *p, const int32_t *row, int t,
                           float *y);

/* Backward of a batch, for one block of filters [f0, f0 + n) of width number wi, all titles.  dP
 * (which holds n_rows rows) is cleared in the columns of the block, then
 *
 *     dP[row[t* + j]][w][j][f] += dy[b][f]     for the taps j inside the title
 *
 * Blocks touch separate columns, so they run in parallel and the result does not depend on how.
 * row [start[n_titles]] and start [n_titles + 1] as in a batch; dy, arg [n_titles, n_widths * F].
 */
void convpool_backward(const struct convpool *s, int wi, int f0, int n, const int32_t *row,
                       const int32_t *start, int n_titles, const float *dy, const int32_t *arg,
                       float *dp, int n_rows);

#endif
