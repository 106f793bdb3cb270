#include "ops/attention_back.h"

#include <string.h>

#include "ops/dropout.h"
#include "ops/rows.h"

static int padded(int n)
{
    return (n + ROWS_PAD - 1) / ROWS_PAD * ROWS_PAD;
}

/* What one head works in; T is max_t rounded up, D the head size rounded up. */
struct room {
    float *vt;     /* [D][T]: v transposed */
    float *k;      /* [T][D] */
    float *q, *dy; /* [T][D], zeros behind the head's columns */
    float *s;      /* [T][T]: dropped probabilities, then gradients of scores */
    float *st;     /* [T][T]: transposed */
    float *out;    /* [T][D] */
};

static size_t lay_out(const struct attention *a, struct room *r, float *base)
{
    size_t t = (size_t)padded(a->max_t), d = (size_t)padded(a->head_size), at = 0;
    float **const parts[] = {&r->vt, &r->k, &r->q, &r->dy, &r->s, &r->st, &r->out};
    const size_t sizes[] = {d * t, t * d, t * d, t * d, t * t, t * t, t * d};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *parts[i] = base ? base + at : NULL;
        at += sizes[i];
    }
    return at;
}

size_t attention_back_scratch(const struct attention *a)
{
    struct room r;
    return lay_out(a, &r, NULL);
}

/* A head's columns of n rows, with zeros up to whole vectors; bias NULL: none. */
static void gather(float *to, const float *x, int ld, int n, int d, const float *bias)
{
    int dp = padded(d);
    for (int i = 0; i < n; i++, to += dp, x += ld) {
        if (bias)
            rows()->add(to, x, bias, d);
        else
            memcpy(to, x, (size_t)d * sizeof *to);
        memset(to + d, 0, (size_t)(dp - d) * sizeof *to);
    }
}

static void scatter(float *x, int ld, const float *from, int n, int d)
{
    for (int i = 0; i < n; i++)
        memcpy(x + (size_t)i * (size_t)ld, from + (size_t)i * (size_t)padded(d),
               (size_t)d * sizeof *x);
}

/* y[n, m] = x[m, n] transposed, zeros up to whole vectors. */
static void turn(float *y, int ldy, const float *x, int ldx, int m, int n)
{
    rows()->transpose(y, ldy, x, ldx, m, n);
    for (int i = 0; i < n; i++)
        memset(y + (size_t)i * (size_t)ldy + m, 0, (size_t)(ldy - m) * sizeof *y);
}

/* r->s: gradients of the scores, scaled; rows of padded(t). */
static void score_gradients(const struct attention *a, const struct attention_back *g,
                            const struct room *r, int h, int n_q, int first, int t, const float *p,
                            const struct attention_dropout *drop)
{
    int d = a->head_size, tp = padded(t), dp = padded(d);
    rows()->product(r->s, tp, r->dy, dp, r->vt, tp, n_q, t, d);
    for (int i = 0; i < n_q; i++) {
        float *s = r->s + (size_t)i * (size_t)tp;
        int position = first + i;
        if (a->value_table)
            for (int j = 0; j < t; j++)
                s[j] += rows()->dot(
                    r->dy + (size_t)i * (size_t)dp,
                    a->value_table + (size_t)(j - position + a->max_t - 1) * (size_t)d, d);
        if (drop->p > 0.0f)
            dropout_row(s, s, t, drop->p, drop->seed, drop->step,
                        drop->row + (uint32_t)(h * a->max_t + position));
        rows()->softmax_back(s, p + (size_t)i * (size_t)tp, s, 1.0f, t);
        if (g->distance_bias_grad) {
            float *b = g->distance_bias_grad + (size_t)h * (size_t)(2 * a->max_t - 1) + a->max_t -
                       1 - position;
            rows()->add(b, b, s, t);
        }
        rows()->scale(s, s, a->scale, t);
        memset(s + t, 0, (size_t)(tp - t) * sizeof *s);
    }
}

static void value_gradients(const struct attention *a, const struct room *r, int h, int n_q,
                            int first, int t, const float *p, const struct attention_dropout *drop,
                            float *dv, int lddv)
{
    int tp = padded(t), np = padded(n_q), dp = padded(a->head_size);
    for (int i = 0; i < n_q; i++) {
        float *s = r->s + (size_t)i * (size_t)tp;
        memcpy(s, p + (size_t)i * (size_t)tp, (size_t)tp * sizeof *s);
        if (drop->p > 0.0f)
            dropout_row(s, s, t, drop->p, drop->seed, drop->step,
                        drop->row + (uint32_t)(h * a->max_t + first + i));
    }
    turn(r->st, np, r->s, tp, n_q, t);
    rows()->product(r->out, dp, r->st, np, r->dy, dp, t, a->head_size, n_q);
    scatter(dv, lddv, r->out, t, a->head_size);
}

/* Scores by distance: q_i + w meets the row of distance j - p_i. */
static void distance_gradients(const struct attention *a, const struct attention_back *g,
                               const struct room *r, int h, int n_q, int first, int t, float *dq,
                               int lddq)
{
    int d = a->head_size, tp = padded(t), dp = padded(d), column = g->one_table ? 0 : h * d;
    for (int i = 0; i < n_q; i++) {
        const float *s = r->s + (size_t)i * (size_t)tp, *q = r->q + (size_t)i * (size_t)dp;
        float *to = dq + (size_t)i * (size_t)lddq;
        for (int j = 0; j < t; j++) {
            size_t at =
                (size_t)(j - first - i + a->max_t - 1) * (size_t)g->ld_key_rows + (size_t)column;
            rows()->add_scaled(to, g->key_rows + at, s[j], d);
            if (g->position_bias_grad)
                rows()->add_scaled(g->position_bias_grad + h * d, g->key_rows + at, s[j], d);
            if (g->key_rows_grad) {
                rows()->add_scaled(g->key_rows_grad + at, q, s[j], d);
                if (a->position_bias)
                    rows()->add_scaled(g->key_rows_grad + at, a->position_bias + h * d, s[j], d);
            }
        }
    }
}

static void segment_gradients(const struct attention *a, const struct attention_back *g,
                              const struct room *r, int h, int n_q, int first, int t, float *dq,
                              int lddq)
{
    int d = a->head_size, tp = padded(t), dp = padded(d);
    for (int i = 0; i < n_q; i++) {
        const float *s = r->s + (size_t)i * (size_t)tp, *q = r->q + (size_t)i * (size_t)dp;
        float e[2] = {0.0f, 0.0f};
        int own = first + i == t - 1;
        for (int j = 0; j < t; j++)
            e[own != (j == t - 1)] += s[j];
        for (int k = 0; k < 2; k++) {
            size_t at = (size_t)(k * a->heads * d + h * d);
            rows()->add_scaled(dq + (size_t)i * (size_t)lddq, a->segment + at, e[k], d);
            rows()->add_scaled(g->segment_bias_grad + h * d, a->segment + at, e[k], d);
            rows()->add_scaled(g->segment_grad + at, q, e[k], d);
            rows()->add_scaled(g->segment_grad + at, a->segment_bias + h * d, e[k], d);
        }
    }
}

void attention_back(const struct attention *a, const struct attention_back *g, int h,
                    const float *q, int ldq, int n_q, int first, const float *k, const float *v,
                    int ldkv, int t, const float *p, const struct attention_dropout *drop,
                    const float *dy, int lddy, float *dq, int lddq, float *dk, float *dv, int lddkv,
                    float *scratch)
{
    struct room r;
    int d = a->head_size, dp = padded(d), tp = padded(t), np = padded(n_q);
    (void)lay_out(a, &r, scratch);
    gather(r.q, q + h * d, ldq, n_q, d, NULL);
    gather(r.dy, dy + h * d, lddy, n_q, d, NULL);
    gather(r.k, k + h * d, ldkv, t, d, NULL);
    turn(r.vt, tp, v + h * d, ldkv, t, d);
    value_gradients(a, &r, h, n_q, first, t, p, drop, dv + h * d, lddkv);
    score_gradients(a, g, &r, h, n_q, first, t, p, drop);
    rows()->product(r.out, dp, r.s, tp, r.k, dp, n_q, d, t);
    scatter(dq + h * d, lddq, r.out, n_q, d);
    if (g->q_bias_grad)
        rows()->add_columns(g->q_bias_grad + h * d, r.out, dp, n_q, d);
    if (g->key_rows)
        distance_gradients(a, g, &r, h, n_q, first, t, dq + h * d, lddq);
    if (a->segment)
        segment_gradients(a, g, &r, h, n_q, first, t, dq + h * d, lddq);
    if (a->q_bias)
        gather(r.q, q + h * d, ldq, n_q, d, a->q_bias + h * d);
    turn(r.st, np, r.s, tp, n_q, t);
    rows()->product(r.out, dp, r.st, np, r.q, dp, t, d, n_q);
    scatter(dk + h * d, lddkv, r.out, t, d);
}
