/* Samples of every kind of attention, and the definition in ops/attention.h in double. */
#ifndef TESTS_OPS_ATTENTION_SAMPLE_H
#define TESTS_OPS_ATTENTION_SAMPLE_H

#include "ops/attention.h"
#include "tests/ops/numbers.h"

enum { H = 3, MAX_T = 40 };

/* What a case switches on. */
enum {
    Q_BIAS = 1,
    KEYS = 2,
    KEYS_BY_HEAD = 4,
    POSITIONS = 8,
    VALUES = 16,
    BIAS = 32,
    SEGMENTS = 64,
    CAUSAL = 128
};

struct sample {
    int d, t;
    struct attention a;
    float *q, *k, *v, *by_distance, *key_table, *value_table, *bias, *vec[3], *segment;
};

static inline struct sample make(int d, int t, unsigned with)
{
    struct sample s = {.d = d, .t = t};
    int w = H * d, n = 2 * MAX_T - 1, heads = with & KEYS_BY_HEAD ? H : 1;
    size_t table = (size_t)d * (size_t)attention_table_ld(MAX_T);
    s.q = numbers((size_t)(t * w), 1, 1);
    s.k = numbers((size_t)(t * w), 2, 1);
    s.v = numbers((size_t)(t * w) + ROWS_PAD, 3, 1);
    s.by_distance = numbers((size_t)(n * w), 4, 1);
    s.key_table = xmalloc((size_t)heads * table * sizeof(float));
    for (int h = 0; h < heads; h++)
        attention_transpose_table(s.key_table + (size_t)h * table, s.by_distance + h * d, w, MAX_T,
                                  d);
    s.value_table = numbers((size_t)(n * d) + ROWS_PAD, 5, 1);
    s.bias = numbers((size_t)(H * n), 6, 1);
    for (int i = 0; i < 3; i++)
        s.vec[i] = numbers((size_t)w, 7 + (uint64_t)i, 1);
    s.segment = numbers((size_t)(2 * w), 10, 1);
    s.a = (struct attention){.heads = H,
                             .head_size = d,
                             .max_t = MAX_T,
                             .scale = 0.3f,
                             .causal = (with & CAUSAL) != 0,
                             .q_bias = with & Q_BIAS ? s.vec[0] : NULL,
                             .key_table = with & (KEYS | KEYS_BY_HEAD) ? s.key_table : NULL,
                             .key_table_stride = with & KEYS_BY_HEAD ? table : 0,
                             .position_bias = with & POSITIONS ? s.vec[1] : NULL,
                             .value_table = with & VALUES ? s.value_table : NULL,
                             .distance_bias = with & BIAS ? s.bias : NULL,
                             .segment = with & SEGMENTS ? s.segment : NULL,
                             .segment_bias = s.vec[2]};
    return s;
}

static inline void done(struct sample *s)
{
    float *const all[] = {s->q,         s->k,           s->v,      s->by_distance,
                          s->key_table, s->value_table, s->bias,   s->vec[0],
                          s->vec[1],    s->vec[2],      s->segment};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* One row of the definition, in double.  mask [t]: what probabilities are multiplied with, NULL: 1. */
static inline void oracle(const struct sample *s, int h, int i, const float *mask, double *y)
{
    const struct attention *a = &s->a;
    int d = s->d, w = H * d, t = a->causal ? i + 1 : s->t, table_head = a->key_table_stride ? h : 0;
    double p[MAX_T], most = -1e30, sum = 0;
    for (int j = 0; j < t; j++) {
        double x = 0, r = 0, e = 0;
        int distance = j - i + MAX_T - 1;
        const float *seg =
            s->segment + (size_t)((i == s->t - 1) != (j == s->t - 1)) * (size_t)w + h * d;
        for (int c = 0; c < d; c++) {
            double q = s->q[i * w + h * d + c];
            x += (q + (a->q_bias ? a->q_bias[h * d + c] : 0)) * s->k[j * w + h * d + c];
            r += (q + (a->position_bias ? a->position_bias[h * d + c] : 0)) *
                 s->by_distance[distance * w + table_head * d + c];
            e += (q + s->vec[2][h * d + c]) * seg[c];
        }
        p[j] = 0.3 * (x + (a->key_table ? r : 0) + (a->segment ? e : 0)) +
               (a->distance_bias ? s->bias[h * (2 * MAX_T - 1) + distance] : 0);
        most = fmax(most, p[j]);
    }
    for (int j = 0; j < t; j++)
        sum += p[j] = exp(p[j] - most);
    for (int c = 0; c < d; c++) {
        y[c] = 0;
        for (int j = 0; j < t; j++)
            y[c] += p[j] / sum * (mask ? mask[j] : 1.0f) *
                    (s->v[j * w + h * d + c] +
                     (a->value_table ? s->value_table[(j - i + MAX_T - 1) * d + c] : 0));
    }
}

static const unsigned sample_families[] = {0,
                                           KEYS | VALUES,
                                           BIAS,
                                           BIAS | CAUSAL,
                                           CAUSAL,
                                           Q_BIAS | KEYS_BY_HEAD | POSITIONS | SEGMENTS,
                                           Q_BIAS | KEYS_BY_HEAD | POSITIONS | SEGMENTS | BIAS |
                                               VALUES};

#endif
