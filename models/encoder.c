#include "models/encoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/body_parts.h"
#include "models/nezha.h"
#include "models/xlnet.h"
#include "ops/attention.h"
#include "ops/rows.h"

/* The weights of a layer; layers that share them (ALBERT's) share this. */
struct layer {
    struct projection *qkv;    /* of a layer that goes on with every row */
    struct projection *q, *kv; /* of the last, with a head */
    struct projection *o, *inner, *outer;
    float *att_norm_w, *att_norm_b, *out_norm_w, *out_norm_b;
    struct attention attention;
    float *own[XLNET_TABLES]; /* the tables of attention, where they are the layer's */
};

struct encoder {
    struct transformer_config cfg;
    struct projection_set *set;
    struct word_table words;
    float *position; /* [P or 1, E]: position + type 0 (+ task 0), or NULL */
    float *emb_norm_w, *emb_norm_b;
    struct projection *emb_proj; /* [C,E] or NULL */
    struct layer *layers;        /* [n_own] */
    int32_t n_own, n_layers;
    bool head_only;   /* the last layer goes on with the head's row */
    float *key_table; /* NEZHA's, of all layers */
    float *value_table;
    int32_t max_tokens;
};

struct encoder_ws {
    struct projection_lanes *lanes;
    struct block block;
    float *x;       /* [ids, C] the residual stream */
    float *qkv;     /* [ids, 3 C] */
    float *context; /* [ids, C] */
    float *scratch; /* of attention */
};

static bool is_xlnet(const struct encoder *m)
{
    return m->cfg.family == FAMILY_XLNET;
}

/* The layer of the model whose weights are own layer i's first use. */
static int32_t own_layer(const struct encoder *m, int32_t l)
{
    const struct transformer_config *c = &m->cfg;
    if (c->family != FAMILY_ALBERT)
        return l;
    int32_t inner = c->inner_layers, group = l / (c->layers / c->groups * inner);
    return group * inner + l % inner;
}

static void set_attention(struct encoder *m, struct layer *y)
{
    int d = m->cfg.head_size;
    y->attention = (struct attention){.heads = m->cfg.heads,
                                      .head_size = d,
                                      .max_t = m->max_tokens,
                                      .scale = 1.0f / sqrtf((float)d),
                                      .key_table = m->key_table,
                                      .value_table = m->value_table};
}

static void open_layer(struct encoder *m, const struct body_source *src, int32_t l, bool whole,
                       bool last)
{
    static const enum param w[] = {P_Q_W, P_K_W, P_V_W}, b[] = {P_Q_B, P_K_B, P_V_B};
    static const enum param o_w = P_O_W, o_b = P_O_B, inner_w = P_INNER_W, inner_b = P_INNER_B,
                            outer_w = P_OUTER_W, outer_b = P_OUTER_B;
    const struct params *p = src->params;
    struct layer *y = &m->layers[own_layer(m, l)];
    set_attention(m, y);
    if (is_xlnet(m)) {
        xlnet_layer(src, l, &y->attention, y->own);
        if (whole)
            y->qkv = xlnet_projection(src, l, w, 3);
        if (last) {
            y->q = xlnet_projection(src, l, w, 1);
            y->kv = xlnet_projection(src, l, w + 1, 2);
        }
        y->o = xlnet_out_projection(src, l);
    } else {
        if (whole)
            y->qkv = parts_projection(src, src->type, STACK_ENCODER, l, w, b, 3);
        if (last) {
            y->q = parts_projection(src, src->type, STACK_ENCODER, l, w, b, 1);
            y->kv = parts_projection(src, src->type, STACK_ENCODER, l, w + 1, b + 1, 2);
        }
        y->o = parts_projection(src, src->type, STACK_ENCODER, l, &o_w, &o_b, 1);
    }
    y->inner = parts_projection(src, src->type, STACK_ENCODER, l, &inner_w, &inner_b, 1);
    y->outer = parts_projection(src, src->type, STACK_ENCODER, l, &outer_w, &outer_b, 1);
    y->att_norm_w = parts_floats(p, STACK_ENCODER, P_ATT_NORM_W, l);
    y->att_norm_b = parts_floats(p, STACK_ENCODER, P_ATT_NORM_B, l);
    y->out_norm_w = parts_floats(p, STACK_ENCODER, P_OUT_NORM_W, l);
    y->out_norm_b = parts_floats(p, STACK_ENCODER, P_OUT_NORM_B, l);
}

/* Which of its forms the weights of own layer i are needed in: a shared layer may be the last and
 * others too. */
static void open_layers(struct encoder *m, const struct body_source *src)
{
    const struct transformer_config *c = &m->cfg;
    m->n_layers = src->params->layers[STACK_ENCODER];
    m->n_own = c->family == FAMILY_ALBERT ? c->groups * c->inner_layers : m->n_layers;
    m->layers = xcalloc((size_t)m->n_own, sizeof *m->layers);
    for (int32_t i = 0; i < m->n_own; i++) {
        int32_t first = 0;
        bool whole = false, last = false;
        for (int32_t l = m->n_layers - 1; l >= 0; l--) {
            if (own_layer(m, l) != i)
                continue;
            first = l;
            bool is_last = m->head_only && l == m->n_layers - 1;
            last = last || is_last;
            whole = whole || !is_last;
        }
        open_layer(m, src, first, whole, last);
    }
}

/* A title has one token type and one task type throughout: their rows and the positions' are one
 * table. */
static void fold_positions(struct encoder *m, const struct params *p)
{
    const struct transformer_config *c = &m->cfg;
    size_t e = (size_t)c->embedding_size, n = c->positions ? (size_t)c->positions : 1;
    if (is_xlnet(m))
        return;
    float *type = parts_floats(p, STACK_ENCODER, P_TYPE, 0),
          *task = parts_floats(p, STACK_ENCODER, P_TASK, 0);
    m->position = c->positions ? parts_floats(p, STACK_ENCODER, P_POSITION, 0)
                               : xcalloc(e, sizeof *m->position);
    for (size_t i = 0; i < n; i++) {
        float *row = m->position + i * e;
        rows()->add(row, row, type, (int)e);
        if (task)
            rows()->add(row, row, task, (int)e);
    }
    free(type);
    free(task);
}

static void encoder_close(void *body)
{
    struct encoder *m = body;
    if (!m)
        return;
    for (int32_t i = 0; i < m->n_own; i++) {
        struct layer *y = &m->layers[i];
        struct projection *const ps[] = {y->qkv, y->q, y->kv, y->o, y->inner, y->outer};
        float *const fs[] = {y->att_norm_w, y->att_norm_b, y->out_norm_w, y->out_norm_b};
        for (size_t k = 0; k < sizeof ps / sizeof *ps; k++)
            projection_close(ps[k]);
        for (size_t k = 0; k < sizeof fs / sizeof *fs; k++)
            free(fs[k]);
        for (size_t k = 0; k < XLNET_TABLES; k++)
            free(y->own[k]);
    }
    parts_word_done(&m->words);
    projection_close(m->emb_proj);
    free(m->layers);
    free(m->position);
    free(m->emb_norm_w);
    free(m->emb_norm_b);
    free(m->key_table);
    free(m->value_table);
    free(m);
}

static int encoder_open(const struct body_source *src, void **out, struct err *err)
{
    static const enum param proj_w = P_EMB_PROJ_W, proj_b = P_EMB_PROJ_B;
    const struct params *p = src->params;
    struct encoder *m = xcalloc(1, sizeof *m);
    (void)err;
    m->cfg = *src->cfg;
    m->set = src->set;
    m->max_tokens = src->max_tokens;
    m->head_only = m->cfg.head != HEAD_NONE;
    parts_word_table(&m->words, src);
    fold_positions(m, p);
    m->emb_norm_w = parts_floats(p, STACK_ENCODER, P_EMB_NORM_W, 0);
    m->emb_norm_b = parts_floats(p, STACK_ENCODER, P_EMB_NORM_B, 0);
    /* Small, and what everything else stands on: never in bytes. */
    if (params_of(p, STACK_ENCODER, P_EMB_PROJ_W, 0))
        m->emb_proj = parts_projection(src, src->type == PRODUCT_BF16 ? PRODUCT_BF16 : PRODUCT_FP32,
                                       STACK_ENCODER, 0, &proj_w, &proj_b, 1);
    if (m->cfg.family == FAMILY_NEZHA)
        nezha_tables(&m->cfg, m->max_tokens, &m->key_table, &m->value_table);
    open_layers(m, src);
    *out = m;
    return 0;
}

static int64_t bytes_of(const struct projection *p)
{
    return p ? (int64_t)projection_bytes(p) : 0;
}

static int64_t encoder_bytes(const void *body)
{
    const struct encoder *m = body;
    int64_t n = parts_word_bytes(&m->words) + bytes_of(m->emb_proj);
    if (m->position)
        n += (int64_t)sizeof(float) * (m->cfg.positions ? m->cfg.positions : 1) *
             m->cfg.embedding_size;
    for (int32_t i = 0; i < m->n_own; i++) {
        const struct layer *y = &m->layers[i];
        n += bytes_of(y->qkv) + bytes_of(y->q) + bytes_of(y->kv) + bytes_of(y->o) +
             bytes_of(y->inner) + bytes_of(y->outer) + 4 * (int64_t)sizeof(float) * m->cfg.hidden;
    }
    return n;
}

static int most(int a, int b)
{
    return a > b ? a : b;
}

static void *encoder_workspace_open(const void *body, int32_t max_titles, int32_t max_ids)
{
    const struct encoder *m = body;
    const struct transformer_config *c = &m->cfg;
    struct encoder_ws *ws = xcalloc(1, sizeof *ws);
    size_t n = (size_t)max_ids, h = (size_t)c->hidden, e = (size_t)c->embedding_size;
    int wide = most(most(3 * c->hidden, c->inner), c->embedding_size);
    (void)max_titles;
    ws->lanes = projection_lanes_open(m->set);
    parts_block_open(&ws->block, most(c->hidden, c->embedding_size), wide, c->inner, c->hidden);
    ws->x = xcalloc(n * (h > e ? h : e) + ROWS_PAD, sizeof *ws->x);
    ws->qkv = xcalloc(n * 3 * h + ROWS_PAD, sizeof *ws->qkv);
    ws->context = xcalloc(n * (h > e ? h : e) + ROWS_PAD, sizeof *ws->context);
    ws->scratch = xcalloc(attention_scratch(&m->layers[0].attention), sizeof *ws->scratch);
    return ws;
}

static void encoder_workspace_close(void *workspace)
{
    struct encoder_ws *ws = workspace;
    if (!ws)
        return;
    projection_lanes_close(ws->lanes);
    parts_block_done(&ws->block);
    free(ws->x);
    free(ws->qkv);
    free(ws->context);
    free(ws->scratch);
    free(ws);
}

static void embed(const struct encoder *m, struct encoder_ws *ws, const struct batch *b)
{
    const struct transformer_config *c = &m->cfg;
    int e = c->embedding_size;
    float *to = m->emb_proj ? ws->context : ws->x;
    int64_t t0 = profile_start(ws->block.profile);
    for (int32_t t = 0; t < b->n; t++)
        for (int32_t i = b->start[t]; i < b->start[t + 1]; i++) {
            float *row = to + (size_t)i * (size_t)e;
            parts_word_row(&m->words, b->ids[i], row);
            if (m->position)
                rows()->add(
                    row, row,
                    m->position + (c->positions ? (size_t)(i - b->start[t]) * (size_t)e : 0), e);
            if (m->emb_norm_w)
                rows()->norm(row, row, m->emb_norm_w, m->emb_norm_b, (float)c->eps, e);
        }
    (void)profile_add(ws->block.profile, PROFILE_EMBED, t0);
    if (m->emb_proj)
        parts_rows(ws->lanes, m->emb_proj, &ws->block, PROFILE_QKV, to, e, b->start[b->n], ws->x,
                   c->hidden);
}

/* Everything after attention, for n rows: x = norm(x + context O), x = norm(x + ffn(x)). */
static void finish_layer(const struct encoder *m, struct encoder_ws *ws, const struct layer *y,
                         const float *context, float *x, int n)
{
    int c = m->cfg.hidden;
    float eps = (float)m->cfg.eps;
    struct block *blk = &ws->block;
    for (int i = 0; i < n; i += BODY_BLOCK) {
        int rows_here = n - i < BODY_BLOCK ? n - i : BODY_BLOCK;
        const float *from = context + (size_t)i * (size_t)c;
        float *to = x + (size_t)i * (size_t)c, *sum = blk->sum_b;
        int64_t t = profile_start(blk->profile);
        for (int r = 0; r < rows_here; r++)
            projection_put(y->o, &blk->a, r, from + (size_t)r * (size_t)c);
        t = profile_add(blk->profile, PROFILE_OUT_ROWS, t);
        projection_run(ws->lanes, y->o, &blk->a, rows_here, sum);
        t = profile_add(blk->profile, PROFILE_OUT, t);
        for (int r = 0; r < rows_here; r++) {
            float *row = to + (size_t)r * (size_t)c, *got = sum + (size_t)r * (size_t)c;
            projection_take(y->o, &blk->a, sum, r, got);
            rows()->add(row, row, got, c);
            rows()->norm(row, row, y->att_norm_w, y->att_norm_b, eps, c);
        }
        (void)profile_add(blk->profile, PROFILE_OUT_ROWS, t);
        const struct projection_rows *in = parts_feed_forward(ws->lanes, y->inner, NULL, y->outer,
                                                              m->cfg.act, blk, to, c, rows_here);
        t = profile_start(blk->profile);
        for (int r = 0; r < rows_here; r++) {
            float *row = to + (size_t)r * (size_t)c, *got = sum + (size_t)r * (size_t)c;
            projection_take(y->outer, in, sum, r, got);
            rows()->add(row, row, got, c);
            rows()->norm(row, row, y->out_norm_w, y->out_norm_b, eps, c);
        }
        (void)profile_add(blk->profile, PROFILE_OUTER_ROWS, t);
    }
}

/* A layer for every row. */
static void whole_layer(const struct encoder *m, struct encoder_ws *ws, const struct layer *y,
                        const struct batch *b)
{
    int c = m->cfg.hidden, n = b->start[b->n];
    parts_rows(ws->lanes, y->qkv, &ws->block, PROFILE_QKV, ws->x, c, n, ws->qkv, 3 * c);
    int64_t t0 = profile_start(ws->block.profile);
    for (int32_t t = 0; t < b->n; t++) {
        int len = b->start[t + 1] - b->start[t];
        const float *q = ws->qkv + (size_t)b->start[t] * 3 * (size_t)c;
        attention_forward(&y->attention, q, 3 * c, len, 0, q + c, q + 2 * (size_t)c, 3 * c, len,
                          ws->context + (size_t)b->start[t] * (size_t)c, c, ws->scratch);
    }
    (void)profile_add(ws->block.profile, PROFILE_ATTENTION, t0);
    finish_layer(m, ws, y, ws->context, ws->x, n);
}

/* The last layer for the row of each title that the head reads, into features [b->n, C]. */
static void head_layer(const struct encoder *m, struct encoder_ws *ws, const struct layer *y,
                       const struct batch *b, float *features)
{
    int c = m->cfg.hidden, n = b->start[b->n];
    /* q [b->n, C] stands behind kv [n, 2 C]. */
    float *kv = ws->qkv, *q = ws->qkv + (size_t)n * 2 * (size_t)c;
    parts_rows(ws->lanes, y->kv, &ws->block, PROFILE_QKV, ws->x, c, n, kv, 2 * c);
    for (int32_t t = 0; t < b->n; t++) {
        int32_t row = is_xlnet(m) ? b->start[t + 1] - 1 : b->start[t];
        memcpy(features + (size_t)t * (size_t)c, ws->x + (size_t)row * (size_t)c,
               (size_t)c * sizeof *features);
    }
    parts_rows(ws->lanes, y->q, &ws->block, PROFILE_QKV, features, c, b->n, q, c);
    int64_t t0 = profile_start(ws->block.profile);
    for (int32_t t = 0; t < b->n; t++) {
        int len = b->start[t + 1] - b->start[t], first = is_xlnet(m) ? len - 1 : 0;
        const float *k = kv + (size_t)b->start[t] * 2 * (size_t)c;
        attention_forward(&y->attention, q + (size_t)t * (size_t)c, c, 1, first, k, k + c, 2 * c,
                          len, ws->context + (size_t)t * (size_t)c, c, ws->scratch);
    }
    (void)profile_add(ws->block.profile, PROFILE_ATTENTION, t0);
    finish_layer(m, ws, y, ws->context, features, b->n);
}

static void encoder_profile(void *workspace, struct profile *p)
{
    struct encoder_ws *ws = workspace;
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

static void encoder_forward(const void *body, void *workspace, const struct batch *b,
                            float *features, const struct trace *t, int32_t first)
{
    const struct encoder *m = body;
    struct encoder_ws *ws = workspace;
    int c = m->cfg.hidden, n = b->start[b->n],
        inner = m->cfg.inner_layers ? m->cfg.inner_layers : 1;
    embed(m, ws, b);
    show(t, "embeddings", 0, first, ws->x, n, c);
    for (int32_t l = 0; l < m->n_layers; l++) {
        const struct layer *y = &m->layers[own_layer(m, l)];
        if (m->head_only && l == m->n_layers - 1) {
            head_layer(m, ws, y, b, features);
            show(t, "hidden", (l + 1) / inner, first, features, b->n, c);
            return;
        }
        whole_layer(m, ws, y, b);
        /* ALBERT's reference counts its groups of inner layers. */
        if ((l + 1) % inner == 0)
            show(t, "hidden", (l + 1) / inner, first, ws->x, n, c);
    }
    for (int32_t i = 0; i < b->n; i++)
        memcpy(features + (size_t)i * (size_t)c, ws->x + (size_t)b->start[i] * (size_t)c,
               (size_t)c * sizeof *features);
}

const struct body encoder_body = {
    .open = encoder_open,
    .close = encoder_close,
    .bytes = encoder_bytes,
    .workspace_open = encoder_workspace_open,
    .workspace_close = encoder_workspace_close,
    .profile = encoder_profile,
    .forward = encoder_forward,
};
