#include "models/t5.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/body_parts.h"
#include "ops/attention.h"
#include "ops/rows.h"

struct layer {
    struct projection *qkv;    /* where every row goes on */
    struct projection *q, *kv; /* in the decoder's last */
    struct projection *o;
    struct projection *cross_q, *cross_kv, *cross_o; /* of the decoder */
    struct projection *inner, *gate, *outer;
    float *att_norm, *cross_norm, *out_norm;
};

struct t5_stack {
    struct layer *layers;
    int32_t n;
    float *norm; /* after the last layer */
    float *bias; /* [H][2 max_t - 1] by distance */
    struct attention attention;
};

struct t5 {
    struct transformer_config cfg;
    struct projection_set *set;
    struct word_table words;
    struct t5_stack stacks[STACKS];
    struct attention cross;
    int32_t max_tokens;
};

struct t5_ws {
    struct projection_lanes *lanes;
    struct block block;
    float *x, *y;   /* [ids, C]: the encoder's rows, the decoder's */
    float *normed;  /* [ids, C] */
    float *qkv;     /* [ids, 3 A] */
    float *context; /* [ids, A] */
    float *scratch;
    int32_t *start; /* [titles + 1] of the decoder's rows */
};

int t5_bucket(int d, bool bidirectional, int buckets, int max_distance)
{
    int base = 0, n = d < 0 ? -d : 0;
    if (bidirectional) {
        buckets /= 2;
        base = d > 0 ? buckets : 0;
        n = d < 0 ? -d : d;
    }
    int exact = buckets / 2;
    if (n < exact)
        return base + n;
    float far = logf((float)n / (float)exact) / (float)log((double)max_distance / exact) *
                (float)(buckets - exact);
    int at = exact + (int)far;
    return base + (at < buckets ? at : buckets - 1);
}

static void distance_bias(struct t5 *m, const struct params *p, enum stack stack)
{
    struct t5_stack *s = &m->stacks[stack];
    const struct transformer_config *c = &m->cfg;
    int n = 2 * m->max_tokens - 1;
    float *table = parts_floats(p, stack, P_BIAS_TABLE, 0); /* [buckets,H] */
    s->bias = xmalloc((size_t)c->heads * (size_t)n * sizeof *s->bias);
    for (int i = 0; i < n; i++) {
        int bucket =
            t5_bucket(i - (m->max_tokens - 1), stack == STACK_ENCODER, c->buckets, c->max_distance);
        for (int h = 0; h < c->heads; h++)
            s->bias[(size_t)h * (size_t)n + (size_t)i] = table[bucket * c->heads + h];
    }
    free(table);
    s->attention = m->cross;
    s->attention.causal = stack == STACK_DECODER;
    s->attention.distance_bias = s->bias;
}

static void open_layer(struct t5 *m, const struct body_source *src, enum stack stack, int32_t l)
{
    static const enum param self[] = {P_Q_W, P_K_W, P_V_W}, o = P_O_W, cross_q = P_CROSS_Q_W,
                            cross_kv[] = {P_CROSS_K_W, P_CROSS_V_W}, cross_o = P_CROSS_O_W,
                            inner = P_INNER_W, gate = P_GATE_W, outer = P_OUTER_W;
    struct layer *y = &m->stacks[stack].layers[l];
    enum product_type t = src->type;
    bool last = stack == STACK_DECODER && l == m->stacks[stack].n - 1;
    if (last) {
        y->q = parts_projection(src, t, stack, l, self, NULL, 1);
        y->kv = parts_projection(src, t, stack, l, self + 1, NULL, 2);
    } else {
        y->qkv = parts_projection(src, t, stack, l, self, NULL, 3);
    }
    y->o = parts_projection(src, t, stack, l, &o, NULL, 1);
    if (stack == STACK_DECODER) {
        y->cross_q = parts_projection(src, t, stack, l, &cross_q, NULL, 1);
        y->cross_kv = parts_projection(src, t, stack, l, cross_kv, NULL, 2);
        y->cross_o = parts_projection(src, t, stack, l, &cross_o, NULL, 1);
    }
    y->inner = parts_projection(src, t, stack, l, &inner, NULL, 1);
    if (m->cfg.gated)
        y->gate = parts_projection(src, t, stack, l, &gate, NULL, 1);
    y->outer = parts_projection(src, t, stack, l, &outer, NULL, 1);
    y->att_norm = parts_floats(src->params, stack, P_ATT_NORM_W, l);
    y->cross_norm = parts_floats(src->params, stack, P_CROSS_NORM_W, l);
    y->out_norm = parts_floats(src->params, stack, P_OUT_NORM_W, l);
}

static void t5_close(void *body)
{
    struct t5 *m = body;
    if (!m)
        return;
    for (int k = 0; k < STACKS; k++) {
        struct t5_stack *s = &m->stacks[k];
        for (int32_t l = 0; l < s->n; l++) {
            struct layer *y = &s->layers[l];
            struct projection *const ps[] = {y->qkv,      y->q,       y->kv,    y->o,    y->cross_q,
                                             y->cross_kv, y->cross_o, y->inner, y->gate, y->outer};
            for (size_t i = 0; i < sizeof ps / sizeof *ps; i++)
                projection_close(ps[i]);
            free(y->att_norm);
            free(y->cross_norm);
            free(y->out_norm);
        }
        free(s->layers);
        free(s->norm);
        free(s->bias);
    }
    parts_word_done(&m->words);
    free(m);
}

static int t5_open(const struct body_source *src, void **out, struct err *err)
{
    struct t5 *m = xcalloc(1, sizeof *m);
    m->cfg = *src->cfg;
    if (m->cfg.start_token >= m->cfg.vocab_size) {
        free(m);
        return err_set(err, ERR_CONFLICT, "\"decoder_start_token_id\" is %d, beyond the %d words",
                       (int)src->cfg->start_token, (int)src->cfg->vocab_size);
    }
    m->set = src->set;
    m->max_tokens = src->max_tokens;
    m->cross = (struct attention){.heads = m->cfg.heads,
                                  .head_size = m->cfg.head_size,
                                  .max_t = m->max_tokens,
                                  .scale = 1.0f};
    parts_word_table(&m->words, src);
    for (int k = 0; k < STACKS; k++) {
        struct t5_stack *s = &m->stacks[k];
        s->n = src->params->layers[k];
        s->layers = xcalloc((size_t)s->n, sizeof *s->layers);
        s->norm = parts_floats(src->params, (enum stack)k, P_FINAL_NORM_W, 0);
        distance_bias(m, src->params, (enum stack)k);
        for (int32_t l = 0; l < s->n; l++)
            open_layer(m, src, (enum stack)k, l);
    }
    *out = m;
    return 0;
}

static int64_t t5_bytes(const void *body)
{
    const struct t5 *m = body;
    int64_t n = parts_word_bytes(&m->words);
    for (int k = 0; k < STACKS; k++)
        for (int32_t l = 0; l < m->stacks[k].n; l++) {
            const struct layer *y = &m->stacks[k].layers[l];
            const struct projection *const ps[] = {y->qkv,     y->q,        y->kv,      y->o,
                                                   y->cross_q, y->cross_kv, y->cross_o, y->inner,
                                                   y->gate,    y->outer};
            for (size_t i = 0; i < sizeof ps / sizeof *ps; i++)
                n += ps[i] ? (int64_t)projection_bytes(ps[i]) : 0;
            n += 3 * (int64_t)sizeof(float) * m->cfg.hidden;
        }
    return n;
}

static int wide(const struct t5 *m)
{
    return m->cfg.heads * m->cfg.head_size;
}

static int most(int a, int b)
{
    return a > b ? a : b;
}

static void *t5_workspace_open(const void *body, int32_t max_titles, int32_t max_ids)
{
    const struct t5 *m = body;
    struct t5_ws *ws = xcalloc(1, sizeof *ws);
    size_t n = (size_t)max_ids, c = (size_t)m->cfg.hidden, a = (size_t)wide(m);
    ws->lanes = projection_lanes_open(m->set);
    parts_block_open(&ws->block, most(m->cfg.hidden, wide(m)), most(3 * wide(m), m->cfg.inner),
                     m->cfg.inner, most(m->cfg.hidden, m->cfg.inner));
    ws->x = xcalloc(n * c, sizeof *ws->x);
    ws->y = xcalloc(n * c, sizeof *ws->y);
    ws->normed = xcalloc(n * c, sizeof *ws->normed);
    ws->qkv = xcalloc(n * 3 * a + ROWS_PAD, sizeof *ws->qkv);
    ws->context = xcalloc(n * a + ROWS_PAD, sizeof *ws->context);
    ws->scratch = xcalloc(attention_scratch(&m->cross), sizeof *ws->scratch);
    ws->start = xcalloc((size_t)max_titles + 1, sizeof *ws->start);
    return ws;
}

static void t5_workspace_close(void *workspace)
{
    struct t5_ws *ws = workspace;
    if (!ws)
        return;
    projection_lanes_close(ws->lanes);
    parts_block_done(&ws->block);
    free(ws->x);
    free(ws->y);
    free(ws->normed);
    free(ws->qkv);
    free(ws->context);
    free(ws->scratch);
    free(ws->start);
    free(ws);
}

static int block_at(int n, int i)
{
    return n - i < BODY_BLOCK ? n - i : BODY_BLOCK;
}

/* x += context O^T */
static void add_projected(struct t5_ws *ws, const struct projection *p, const float *context, int a,
                          int n, float *x, int c)
{
    struct block *blk = &ws->block;
    for (int i = 0; i < n; i += BODY_BLOCK) {
        int m = block_at(n, i);
        int64_t t = profile_start(blk->profile);
        for (int r = 0; r < m; r++)
            projection_put(p, &blk->a, r, context + (size_t)(i + r) * (size_t)a);
        t = profile_add(blk->profile, PROFILE_OUT_ROWS, t);
        projection_run(ws->lanes, p, &blk->a, m, blk->sum_b);
        t = profile_add(blk->profile, PROFILE_OUT, t);
        for (int r = 0; r < m; r++) {
            float *row = x + (size_t)(i + r) * (size_t)c,
                  *got = (float *)blk->sum_b + (size_t)r * (size_t)c;
            projection_take(p, &blk->a, blk->sum_b, r, got);
            rows()->add(row, row, got, c);
        }
        (void)profile_add(blk->profile, PROFILE_OUT_ROWS, t);
    }
}

static void norm_rows(const struct t5 *m, const float *gamma, const float *x, int n, float *y)
{
    size_t c = (size_t)m->cfg.hidden;
    for (int i = 0; i < n; i++)
        rows()->rms_norm(y + (size_t)i * c, x + (size_t)i * c, gamma, (float)m->cfg.eps, (int)c);
}

/* x += ffn(norm(x)) */
static void feed_forward(const struct t5 *m, struct t5_ws *ws, const struct layer *y, float *x,
                         int n)
{
    int c = m->cfg.hidden;
    struct block *blk = &ws->block;
    norm_rows(m, y->out_norm, x, n, ws->normed);
    for (int i = 0; i < n; i += BODY_BLOCK) {
        int rows_here = block_at(n, i);
        const struct projection_rows *in =
            parts_feed_forward(ws->lanes, y->inner, y->gate, y->outer, m->cfg.act, blk,
                               ws->normed + (size_t)i * (size_t)c, c, rows_here);
        int64_t t = profile_start(blk->profile);
        for (int r = 0; r < rows_here; r++) {
            float *row = x + (size_t)(i + r) * (size_t)c,
                  *got = (float *)blk->sum_b + (size_t)r * (size_t)c;
            projection_take(y->outer, in, blk->sum_b, r, got);
            rows()->add(row, row, got, c);
        }
        (void)profile_add(blk->profile, PROFILE_OUTER_ROWS, t);
    }
}

/* Self-attention of every row of titles at start. */
static void attend_all(const struct t5 *m, struct t5_ws *ws, const struct attention *att,
                       const struct layer *y, const int32_t *start, int titles, float *x)
{
    int a = wide(m), n = start[titles];
    norm_rows(m, y->att_norm, x, n, ws->normed);
    parts_rows(ws->lanes, y->qkv, &ws->block, PROFILE_QKV, ws->normed, m->cfg.hidden, n, ws->qkv,
               3 * a);
    int64_t t0 = profile_start(ws->block.profile);
    for (int t = 0; t < titles; t++) {
        int len = start[t + 1] - start[t];
        const float *q = ws->qkv + (size_t)start[t] * 3 * (size_t)a;
        attention_forward(att, q, 3 * a, len, 0, q + a, q + 2 * (size_t)a, 3 * a, len,
                          ws->context + (size_t)start[t] * (size_t)a, a, ws->scratch);
    }
    (void)profile_add(ws->block.profile, PROFILE_ATTENTION, t0);
    add_projected(ws, y->o, ws->context, a, n, x, m->cfg.hidden);
}

/* Self-attention of each title's last row only; x [n, C] becomes last [titles, C]. */
static void attend_last(const struct t5 *m, struct t5_ws *ws, const struct attention *att,
                        const struct layer *y, const int32_t *start, int titles, const float *x,
                        float *last)
{
    int a = wide(m), n = start[titles];
    size_t c = (size_t)m->cfg.hidden;
    float *q = ws->qkv + (size_t)n * 2 * (size_t)a;
    norm_rows(m, y->att_norm, x, n, ws->normed);
    parts_rows(ws->lanes, y->kv, &ws->block, PROFILE_QKV, ws->normed, (int)c, n, ws->qkv, 2 * a);
    for (int t = 0; t < titles; t++) {
        size_t row = (size_t)start[t + 1] - 1;
        memcpy(last + (size_t)t * c, x + row * c, c * sizeof *x);
        /* Forward only, and start[t + 1] - 1 >= t: nothing is read after it was written over. */
        memmove(ws->normed + (size_t)t * c, ws->normed + row * c, c * sizeof *x);
    }
    parts_rows(ws->lanes, y->q, &ws->block, PROFILE_QKV, ws->normed, (int)c, titles, q, a);
    int64_t t0 = profile_start(ws->block.profile);
    for (int t = 0; t < titles; t++) {
        int len = start[t + 1] - start[t];
        const float *k = ws->qkv + (size_t)start[t] * 2 * (size_t)a;
        attention_forward(att, q + (size_t)t * (size_t)a, a, 1, len - 1, k, k + a, 2 * a, len,
                          ws->context + (size_t)t * (size_t)a, a, ws->scratch);
    }
    (void)profile_add(ws->block.profile, PROFILE_ATTENTION, t0);
    add_projected(ws, y->o, ws->context, a, titles, last, (int)c);
}

/* Attention of the decoder's rows x (title t has those from start[t] on) to the encoder's. */
static void attend_cross(const struct t5 *m, struct t5_ws *ws, const struct layer *y,
                         const struct batch *b, const int32_t *start, float *x)
{
    int a = wide(m), c = m->cfg.hidden, n = start[b->n];
    /* q [n, A] behind kv [ids, 2 A]; n is ids at most. */
    float *kv = ws->qkv, *q = ws->qkv + (size_t)b->start[b->n] * 2 * (size_t)a;
    parts_rows(ws->lanes, y->cross_kv, &ws->block, PROFILE_QKV, ws->x, c, b->start[b->n], kv,
               2 * a);
    norm_rows(m, y->cross_norm, x, n, ws->normed);
    parts_rows(ws->lanes, y->cross_q, &ws->block, PROFILE_QKV, ws->normed, c, n, q, a);
    int64_t t0 = profile_start(ws->block.profile);
    for (int32_t t = 0; t < b->n; t++) {
        int len = b->start[t + 1] - b->start[t];
        const float *k = kv + (size_t)b->start[t] * 2 * (size_t)a;
        attention_forward(&m->cross, q + (size_t)start[t] * (size_t)a, a, start[t + 1] - start[t],
                          0, k, k + a, 2 * a, len, ws->context + (size_t)start[t] * (size_t)a, a,
                          ws->scratch);
    }
    (void)profile_add(ws->block.profile, PROFILE_ATTENTION, t0);
    add_projected(ws, y->cross_o, ws->context, a, n, x, c);
}

static void t5_profile(void *workspace, struct profile *p)
{
    struct t5_ws *ws = workspace;
    ws->block.profile = p;
}

static void show(const struct trace *t, const char *what, int32_t layer, int32_t first,
                 const float *x, int n, int c)
{
    char name[40];
    if (!t)
        return;
    (void)snprintf(name, sizeof name, layer ? "%s.%d" : "%s", what, (int)layer);
    t->put(t->arg, name, first, x, n, c);
}

static void encode(const struct t5 *m, struct t5_ws *ws, const struct batch *b,
                   const struct trace *t, int32_t first)
{
    const struct t5_stack *s = &m->stacks[STACK_ENCODER];
    int c = m->cfg.hidden, n = b->start[b->n];
    for (int i = 0; i < n; i++)
        parts_word_row(&m->words, b->ids[i], ws->x + (size_t)i * (size_t)c);
    show(t, "embeddings", 0, first, ws->x, n, c);
    for (int32_t l = 0; l < s->n; l++) {
        attend_all(m, ws, &s->attention, &s->layers[l], b->start, b->n, ws->x);
        feed_forward(m, ws, &s->layers[l], ws->x, n);
        show(t, "hidden", l + 1, first, ws->x, n, c);
    }
    norm_rows(m, s->norm, ws->x, n, ws->x);
    show(t, "encoder", 0, first, ws->x, n, c);
}

/* The decoder's rows: its start token and, unless it stands alone, the title without its end. */
static void decoder_rows(const struct t5 *m, struct t5_ws *ws, const struct batch *b)
{
    size_t c = (size_t)m->cfg.hidden;
    int32_t at = 0;
    for (int32_t t = 0; t < b->n; t++) {
        int32_t len = m->cfg.single_start ? 1 : b->start[t + 1] - b->start[t];
        ws->start[t] = at;
        parts_word_row(&m->words, m->cfg.start_token, ws->y + (size_t)at * c);
        for (int32_t i = 1; i < len; i++)
            parts_word_row(&m->words, b->ids[b->start[t] + i - 1], ws->y + (size_t)(at + i) * c);
        at += len;
    }
    ws->start[b->n] = at;
}

static void t5_forward(const void *body, void *workspace, const struct batch *b, float *features,
                       const struct trace *t, int32_t first)
{
    const struct t5 *m = body;
    struct t5_ws *ws = workspace;
    const struct t5_stack *s = &m->stacks[STACK_DECODER];
    int c = m->cfg.hidden;
    encode(m, ws, b, t, first);
    decoder_rows(m, ws, b);
    for (int32_t l = 0; l + 1 < s->n; l++) {
        const struct layer *y = &s->layers[l];
        attend_all(m, ws, &s->attention, y, ws->start, b->n, ws->y);
        attend_cross(m, ws, y, b, ws->start, ws->y);
        feed_forward(m, ws, y, ws->y, ws->start[b->n]);
        show(t, "decoder", l + 1, first, ws->y, ws->start[b->n], c);
    }
    const struct layer *y = &s->layers[s->n - 1];
    attend_last(m, ws, &s->attention, y, ws->start, b->n, ws->y, features);
    for (int32_t i = 0; i <= b->n; i++)
        ws->start[i] = i; /* one row a title from here on */
    attend_cross(m, ws, y, b, ws->start, features);
    feed_forward(m, ws, y, features, b->n);
    show(t, "decoder", s->n, first, features, b->n, c);
    norm_rows(m, s->norm, features, b->n, features);
    show(t, "decoder", 0, first, features, b->n, c);
}

const struct body t5_body = {
    .open = t5_open,
    .close = t5_close,
    .bytes = t5_bytes,
    .workspace_open = t5_workspace_open,
    .workspace_close = t5_workspace_close,
    .profile = t5_profile,
    .forward = t5_forward,
};
