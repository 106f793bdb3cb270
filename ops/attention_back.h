/* The way back through ops/attention.h, one head of a title at a time: dq, dk and dv of that head are
 * overwritten, gradients of what titles share are added to.  A caller that gives each head to one
 * thread gets the same bits on any number of threads.
 *
 *     p [n_q, attention_columns(t)] as attention_train() left them; the same dropout
 *     dy [n_q, lddy]  dq [n_q, lddq]  dk, dv [t, lddkv]     columns as q, k, v and y have them
 *
 * No allocation; cannot fail; n_q = 0 clears dk and dv. */
#ifndef OPS_ATTENTION_BACK_H
#define OPS_ATTENTION_BACK_H

#include "ops/attention.h"

/* The tables by rows, as attention_forward() does not have them, and the shared gradients; each may be
 * NULL where the family has none. */
struct attention_back {
    const float *key_rows; /* [2 max_t - 1][ld_key_rows], by distance; head h at column h D (or 0
                              where one table serves all) */
    int ld_key_rows;
    bool one_table;                          /* for all heads, not learned */
    float *key_rows_grad;                    /* as key_rows */
    float *q_bias_grad, *position_bias_grad; /* [H D] */
    float *distance_bias_grad;               /* [H][2 max_t - 1] */
    float *segment_grad;                     /* [2][H D] */
    float *segment_bias_grad;                /* [H D] */
};

size_t attention_back_scratch(const struct attention *a); /* floats */
void attention_back(const struct attention *a, const struct attention_back *g, int head,
                    const float *q, int ldq, int n_q, int first, const float *k, const float *v,
                    int ldkv, int t, const float *p, const struct attention_dropout *drop,
                    const float *dy, int lddy, float *dq, int lddq, float *dk, float *dv, int lddkv,
                    float *scratch);

#endif
