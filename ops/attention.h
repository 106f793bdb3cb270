/* Scaled dot-product attention of one title (Vaswani et al., arXiv:1706.03762), with what the
 * families add to it.  Head h of H has the columns h D .. h D + D - 1 of q, k, v and y:
 *
 *     s[i][j] = scale ((q_i + u_h) · k_j + (q_i + w_h) · r_h[j - p_i] + g_h(i, j)) + b_h[j - p_i]
 *     y_i     = sum_j softmax(s[i])_j (v_j + t[j - p_i])
 *
 *     q [n_q, ldq]  k, v [t, ldkv]  y [n_q, ldy]     query i stands at position p_i = first + i
 *     u, w    q_bias, position_bias [H D]: XLNet's r_w and r_r (Yang et al., arXiv:1906.08237)
 *     r       key_table: NEZHA's table (Wei et al., arXiv:1909.00204), the same for all heads, or
 *             XLNet's projections of each head; by distance, transposed
 *     t       value_table: NEZHA's, by distance
 *     b       distance_bias: T5's (Raffel et al., arXiv:1910.10683), by distance
 *     g       (q_i + segment_bias_h) · segment_h[0 or 1]: XLNet's, 1 where the segments of i and j
 *             differ; a title's last token alone has another segment than the rest
 *
 * Tables by distance d = j - p hold |d| < max_t at column (or row) d + max_t - 1.  causal: j <= p_i
 * only.  No title is longer than max_t.  No padding, so no mask.  No allocation; cannot fail;
 * n_q = 0 is a no-op, t >= 1. */
#ifndef OPS_ATTENTION_H
#define OPS_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct attention {
    int heads, head_size, max_t;
    float scale;
    bool causal;
    const float *q_bias;        /* [H D] or NULL */
    const float *key_table;     /* [D][attention_table_ld(max_t)] for every head, or NULL */
    size_t key_table_stride;    /* floats from a head's table to the next; 0: one for all */
    const float *position_bias; /* [H D] or NULL */
    const float *value_table;   /* [2 max_t - 1][D] or NULL */
    const float *distance_bias; /* [H][2 max_t - 1] or NULL */
    const float *segment;       /* [2][H D] or NULL */
    const float *segment_bias;  /* [H D], with segment */
};

/* Row stride of a key table of 2 max_t - 1 columns: room for whole vectors. */
int attention_table_ld(int max_t);
/* key_table of one head from rows [2 max_t - 1][ldr] by distance. */
void attention_transpose_table(float *table, const float *rows, int ldr, int max_t, int head_size);
size_t attention_scratch(const struct attention *a); /* floats */

void attention_forward(const struct attention *a, const float *q, int ldq, int n_q, int first,
                       const float *k, const float *v, int ldkv, int t, float *y, int ldy,
                       float *scratch);

/* In training: one head of a title at a time, its probabilities kept for the way back, some of them
 * dropped (inverted, ops/dropout.h) between softmax and sum. */
struct attention_dropout {
    float p;
    uint64_t seed, step;
    uint32_t row; /* of query 0 at head 0: query i at head h counts row + h max_t + p_i */
};
/* probabilities [n_q, attention_columns(t)]: before dropout. */
int attention_columns(int t);
void attention_train(const struct attention *a, int head, const float *q, int ldq, int n_q,
                     int first, const float *k, const float *v, int ldkv, int t, float *y, int ldy,
                     float *probabilities, const struct attention_dropout *drop, float *scratch);

#endif
