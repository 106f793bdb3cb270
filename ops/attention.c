#include "ops/attention.h"

#include <string.h>

#include "ops/dropout.h"
#include "ops/rows.h"

enum { QUERIES = 32 /* that go through together: their scores stay in the first-level cache */ };

static int padded(int n)
{
    return (n + ROWS_PAD - 1) / ROWS_PAD * ROWS_PAD;
}

int attention_table_ld(int max_t)
{
    /* A slice may begin anywhere and is read in whole vectors. */
    return padded(2 * max_t - 1) + ROWS_PAD;
}

void attention_transpose_table(float *table, const float *rows, int ldr, int max_t, int head_size)
{
    int ld = attention_table_ld(max_t);
    for (int d = 0; d < head_size; d++) {
        float *to = table + (size_t)d * (size_t)ld;
        for (int j = 0; j < ld; j++)
            to[j] = j < 2 * max_t - 1 ? rows[(size_t)j * (size_t)ldr + (size_t)d] : 0.0f;
    }
}

/* What one head works in. */
struct room {
    float *kt;    /* [D][padded(t)] */
    float *v;     /* [t][padded(D)], where D is no multiple of ROWS_PAD */
    float *s;     /* [QUERIES][padded(t)] */
    float *raw;   /* [QUERIES][attention_table_ld()], scores by distance */
    float *q, *y; /* [QUERIES][padded(D)] */
};

static size_t lay_out(const struct attention *a, struct room *r, float *base)
{
    size_t tp = (size_t)padded(a->max_t), dp = (size_t)padded(a->head_size), at = 0;
    float **const parts[] = {&r->kt, &r->v, &r->s, &r->raw, &r->q, &r->y};
    const size_t sizes[] = {(size_t)a->head_size * tp,
                            (size_t)a->max_t * dp,
                            QUERIES * tp,
                            QUERIES * (size_t)attention_table_ld(a->max_t),
                            QUERIES * dp,
                            QUERIES * dp};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        *parts[i] = base ? base + at : NULL;
        at += sizes[i];
    }
    return at;
}

size_t attention_scratch(const struct attention *a)
{
    struct room r;
    return lay_out(a, &r, NULL);
}

static void transpose(float *kt, const float *k, int ldk, int t, int d, int ld)
{
    rows()->transpose(kt, ld, k, ldk, t, d);
    for (int i = 0; i < d; i++)
        memset(kt + (size_t)i * (size_t)ld + t, 0, (size_t)(ld - t) * sizeof *kt);
}

/* q + bias of one head; q itself where there is none. */
static const float *shifted(const float *q, int *ldq, int n, const float *bias, int d, float *to)
{
    if (!bias)
        return q;
    for (int i = 0; i < n; i++)
        rows()->add(to + (size_t)i * (size_t)padded(d), q + (size_t)i * (size_t)*ldq, bias, d);
    *ldq = padded(d);
    return to;
}

static float dot(const float *a, const float *b, int n)
{
    float s = 0.0f;
    for (int i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}

/* Scores by distance, then each row's own slice of them: position p sees distance -p at column
 * max_t - 1 - p of the table. */
static void add_distances(const struct attention *a, const struct room *r, int h, const float *q,
                          int ldq, int n, int first, int t, int lds)
{
    int d = a->head_size, ld = attention_table_ld(a->max_t), last = first + n - 1;
    int from = a->max_t - 1 - last, width = t + n - 1;
    const float *table = a->key_table + (size_t)h * a->key_table_stride + from;
    q = shifted(q, &ldq, n, a->position_bias ? a->position_bias + h * d : NULL, d, r->q);
    rows()->product(r->raw, ld, q, ldq, table, ld, n, width, d);
    for (int i = 0; i < n; i++) {
        float *s = r->s + (size_t)i * (size_t)lds;
        rows()->add(s, s, r->raw + (size_t)i * (size_t)ld + (n - 1 - i), t);
    }
}

static void add_segments(const struct attention *a, const struct room *r, int h, const float *q,
                         int ldq, int n, int first, int t, int lds)
{
    int d = a->head_size;
    const float *same = a->segment + h * d, *other = same + a->heads * d;
    q = shifted(q, &ldq, n, a->segment_bias + h * d, d, r->q);
    for (int i = 0; i < n; i++) {
        const float *row = q + (size_t)i * (size_t)ldq;
        float e[2] = {dot(row, same, d), dot(row, other, d)};
        int own = first + i == t - 1;
        float *s = r->s + (size_t)i * (size_t)lds;
        for (int j = 0; j < t; j++)
            s[j] += e[own != (j == t - 1)];
    }
}

static void add_values(const struct attention *a, const struct room *r, int n, int first, int t,
                       int lds, float *y, int ldy)
{
    int d = a->head_size;
    float *extra = r->raw;
    for (int i = 0; i < n; i++) {
        const float *rows_from = a->value_table + (size_t)(a->max_t - 1 - first - i) * (size_t)d;
        rows()->product(extra, padded(d), r->s + (size_t)i * (size_t)lds, lds, rows_from, d, 1, d,
                        t);
        rows()->add(y + (size_t)i * (size_t)ldy, y + (size_t)i * (size_t)ldy, extra, d);
    }
}

static void finish_row(const struct attention *a, int h, float *s, int position, int t)
{
    int seen = a->causal && position + 1 < t ? position + 1 : t;
    float scale = a->scale;
    if (a->distance_bias) {
        if (scale != 1.0f)
            rows()->scale(s, s, scale, seen);
        scale = 1.0f;
        rows()->add(s, s,
                    a->distance_bias + (size_t)h * (size_t)(2 * a->max_t - 1) + a->max_t - 1 -
                        position,
                    seen);
    }
    rows()->softmax_padded(s, scale, seen);
    for (int j = seen; j < t; j++)
        s[j] = 0.0f;
}

/* Training's part: NULL in inference. */
struct keep {
    float *p;
    const struct attention_dropout *drop;
};

static void keep_row(const struct attention *a, const struct keep *keep, int h, float *s, int i,
                     int position, int t)
{
    const struct attention_dropout *d = keep->drop;
    int ld = padded(t);
    memcpy(keep->p + (size_t)i * (size_t)ld, s, (size_t)ld * sizeof *s);
    if (d->p > 0.0f)
        dropout_row(s, s, t, d->p, d->seed, d->step, d->row + (uint32_t)(h * a->max_t + position));
}

static void queries(const struct attention *a, const struct room *r, int h, const float *q, int ldq,
                    int n, int first, const float *v, int ldv, int t, float *y, int ldy,
                    const struct keep *keep)
{
    int d = a->head_size, lds = padded(t), qld = ldq;
    const float *content = shifted(q, &qld, n, a->q_bias ? a->q_bias + h * d : NULL, d, r->q);
    rows()->product(r->s, lds, content, qld, r->kt, lds, n, t, d);
    if (a->key_table)
        add_distances(a, r, h, q, ldq, n, first, t, lds);
    if (a->segment)
        add_segments(a, r, h, q, ldq, n, first, t, lds);
    for (int i = 0; i < n; i++)
        finish_row(a, h, r->s + (size_t)i * (size_t)lds, first + i, t);
    for (int i = 0; i < n && keep; i++)
        keep_row(a, keep, h, r->s + (size_t)i * (size_t)lds, i, first + i, t);
    if (d % ROWS_PAD == 0) {
        rows()->product(y, ldy, r->s, lds, v, ldv, n, d, t);
    } else { /* whole vectors would reach into the next head */
        int ld = padded(d);
        rows()->product(r->y, ld, r->s, lds, v, ldv, n, d, t);
        for (int i = 0; i < n; i++)
            memcpy(y + (size_t)i * (size_t)ldy, r->y + (size_t)i * (size_t)ld,
                   (size_t)d * sizeof *y);
    }
    if (a->value_table)
        add_values(a, r, n, first, t, lds, y, ldy);
}

static void head(const struct attention *a, const struct room *r, int h, const float *q, int ldq,
                 int n_q, int first, const float *k, const float *v, int ldkv, int t, float *y,
                 int ldy, const struct keep *keep)
{
    int d = a->head_size, dp = padded(d);
    const float *vh = v + h * d;
    int ldv = ldkv;
    transpose(r->kt, k + h * d, ldkv, t, d, padded(t));
    if (d != dp) {
        memset(r->v, 0, (size_t)t * (size_t)dp * sizeof *r->v);
        for (int j = 0; j < t; j++)
            memcpy(r->v + (size_t)j * (size_t)dp, vh + (size_t)j * (size_t)ldkv,
                   (size_t)d * sizeof *vh);
        vh = r->v;
        ldv = dp;
    }
    for (int i = 0; i < n_q; i += QUERIES) {
        int n = n_q - i < QUERIES ? n_q - i : QUERIES;
        struct keep here;
        if (keep)
            here = (struct keep){keep->p + (size_t)i * (size_t)padded(t), keep->drop};
        queries(a, r, h, q + (size_t)i * (size_t)ldq + h * d, ldq, n, first + i, vh, ldv, t,
                y + (size_t)i * (size_t)ldy + h * d, ldy, keep ? &here : NULL);
    }
}

void attention_forward(const struct attention *a, const float *q, int ldq, int n_q, int first,
                       const float *k, const float *v, int ldkv, int t, float *y, int ldy,
                       float *scratch)
{
    struct room r;
    (void)lay_out(a, &r, scratch);
    for (int h = 0; h < a->heads; h++)
        head(a, &r, h, q, ldq, n_q, first, k, v, ldkv, t, y, ldy, NULL);
}

int attention_columns(int t)
{
    return padded(t);
}

void attention_train(const struct attention *a, int h, const float *q, int ldq, int n_q, int first,
                     const float *k, const float *v, int ldkv, int t, float *y, int ldy,
                     float *probabilities, const struct attention_dropout *drop, float *scratch)
{
    struct room r;
    (void)lay_out(a, &r, scratch);
    head(a, &r, h, q, ldq, n_q, first, k, v, ldkv, t, y, ldy, &(struct keep){probabilities, drop});
}
