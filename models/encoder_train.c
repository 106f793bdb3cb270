#include "models/encoder_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/nezha.h"
#include "models/train_passes.h"
#include "models/xlnet.h"
#include "ops/attention_back.h"
#include "ops/rows.h"

/* Dropout's places within a layer; the embeddings' are numbered as a layer before the first. */
enum site { SITE_ATTENTION, SITE_OUT, SITE_INNER, SITE_OUTER, SITES };

/* What a layer leaves for the way back; m is the ids, or in the last layer the rows that go on. */
struct saved {
    float *x;       /* [ids, C] its input: the output of the one before */
    float *qkv;     /* [ids, 3 C] */
    float *p;       /* [heads][titles] of probabilities */
    float *context; /* [m, C] */
    float *sum1;    /* [m, C] before the first norm */
    float *n1;      /* [m, C] behind it */
    float *h;       /* [m, F] before the activation */
    float *sum2;    /* [m, C] before the second norm */
};

struct encoder_train {
    const struct trainable *t;
    struct linear *products, *exact;
    struct pool *pool;
    int32_t max_titles, max_ids, max_tokens, layers;
    bool recompute;
    struct attention attention;
    float *key_table, *value_table;
    float *sum0, *e;     /* [ids, E] before and behind the embeddings' norm */
    struct saved *saved; /* [layers] */
    float *out;          /* [m, C] */
    float *act;          /* [ids, F] */
    float *rest, *q; /* [m, C]: residual and queries of a last layer that goes on with few rows */
    /* of the way back */
    float *dx, *dsum, *dcontext, *dn1; /* [ids, C] */
    float *dqkv;                       /* [ids, 3 C] */
    float *dh;                         /* [ids, F] */
    float *statistics;                 /* [2 ids] */
    float *dq, *drest;                 /* [m, C], as q and rest */
    uint32_t *few_key;                 /* [titles] */
    size_t *p_start;                   /* [titles + 1] of a head's probabilities */
    float **scratch;                   /* of each thread, for attention */
};

static const struct transformer_config *config(const struct encoder_train *e)
{
    return &e->t->cfg;
}

static float *block(size_t n)
{
    return xmalloc((n + ROWS_PAD) * sizeof(float));
}

static void open_saved(const struct encoder_train *e, struct saved *s)
{
    size_t n = (size_t)e->max_ids, c = (size_t)config(e)->hidden, f = (size_t)config(e)->inner;
    s->qkv = block(n * 3 * c);
    s->p = block(n * (size_t)config(e)->heads * (size_t)attention_columns(e->max_tokens));
    s->context = block(n * c);
    s->sum1 = block(n * c);
    s->n1 = block(n * c);
    s->h = block(n * f);
    s->sum2 = block(n * c);
}

static void close_saved(struct saved *s)
{
    float *const parts[] = {s->qkv, s->p, s->context, s->sum1, s->n1, s->h, s->sum2};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
}

static void open_attention(struct encoder_train *e)
{
    const struct transformer_config *c = config(e);
    if (c->family == FAMILY_NEZHA)
        nezha_tables(c, e->max_tokens, &e->key_table, &e->value_table);
    e->attention = (struct attention){.heads = c->heads,
                                      .head_size = c->head_size,
                                      .max_t = e->max_tokens,
                                      .scale = 1.0f / sqrtf((float)c->head_size),
                                      .key_table = e->key_table,
                                      .value_table = e->value_table};
}

struct encoder_train *encoder_train_open(const struct trainable *t, struct linear *products,
                                         struct linear *exact, int32_t max_titles, int32_t max_ids,
                                         int32_t max_tokens, bool recompute, struct pool *pool)
{
    struct encoder_train *e = xcalloc(1, sizeof *e);
    const struct transformer_config *cfg = &t->cfg;
    size_t n = (size_t)max_ids, c = (size_t)cfg->hidden, f = (size_t)cfg->inner;
    size_t wide = (size_t)cfg->embedding_size > c ? (size_t)cfg->embedding_size : c;
    *e = (struct encoder_train){.t = t,
                                .products = products,
                                .exact = exact,
                                .pool = pool,
                                .max_titles = max_titles,
                                .max_ids = max_ids,
                                .max_tokens = max_tokens,
                                .layers = params_layers(cfg),
                                .recompute = recompute};
    open_attention(e);
    e->saved = xcalloc((size_t)e->layers, sizeof *e->saved);
    for (int32_t l = 0; l < e->layers; l++) {
        if (l == 0 || !recompute)
            open_saved(e, &e->saved[l]);
        else
            e->saved[l] = e->saved[0];
        e->saved[l].x = block(n * c);
    }
    e->sum0 = block(n * (size_t)cfg->embedding_size);
    e->e = block(n * (size_t)cfg->embedding_size);
    e->out = block(n * c);
    e->act = block(n * f);
    e->rest = block((size_t)max_titles * c);
    e->q = block((size_t)max_titles * c);
    e->dq = block((size_t)max_titles * c);
    e->drest = block((size_t)max_titles * c);
    e->dx = block(n * wide);
    e->dsum = block(n * wide);
    e->dcontext = block(n * wide);
    e->dn1 = block(n * wide);
    e->dqkv = block(n * 3 * c);
    e->dh = block(n * f);
    e->statistics = block(2 * n);
    e->few_key = xcalloc((size_t)max_titles + 1, sizeof *e->few_key);
    e->p_start = xcalloc((size_t)max_titles + 1, sizeof *e->p_start);
    e->scratch = xcalloc((size_t)pool_threads(pool), sizeof *e->scratch);
    size_t room = attention_scratch(&e->attention), back = attention_back_scratch(&e->attention);
    for (int i = 0; i < pool_threads(pool); i++)
        e->scratch[i] = block(room > back ? room : back);
    return e;
}

void encoder_train_close(struct encoder_train *e)
{
    if (!e)
        return;
    for (int32_t l = 0; l < e->layers; l++) {
        free(e->saved[l].x);
        if (l == 0 || !e->recompute)
            close_saved(&e->saved[l]);
    }
    for (int i = 0; i < pool_threads(e->pool); i++)
        free(e->scratch[i]);
    void *const parts[] = {e->key_table,  e->value_table, e->sum0,   e->e,  e->saved, e->out,
                           e->act,        e->rest,        e->q,      e->dx, e->dsum,  e->dcontext,
                           e->dqkv,       e->dh,          e->dn1,    e->dq, e->drest, e->few_key,
                           e->statistics, e->p_start,     e->scratch};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
    free(e);
}

static const float *weight(const struct encoder_train *e, const struct encoder_pass *p,
                           enum param which, int32_t l)
{
    size_t at = trainable_at(e->t, STACK_ENCODER, which, l);
    return at == SIZE_MAX ? NULL : p->w + at;
}

static float *gradient(const struct encoder_train *e, const struct encoder_pass *p,
                       enum param which, int32_t l)
{
    size_t at = trainable_at(e->t, STACK_ENCODER, which, l);
    return at == SIZE_MAX || !p->g ? NULL : p->g + at;
}

static struct linear_weight matrix(const struct encoder_train *e, const struct encoder_pass *p,
                                   enum param which, int32_t l, int o, int k)
{
    size_t at = trainable_at(e->t, STACK_ENCODER, which, l);
    return (struct linear_weight){p->w + at, p->wb ? p->wb + at : NULL, o, k, false};
}

static struct row_norm norm_of(const struct encoder_train *e, const struct encoder_pass *p,
                               enum param w, enum param b, int32_t l)
{
    return (struct row_norm){weight(e, p, w, l), weight(e, p, b, l), gradient(e, p, w, l),
                             gradient(e, p, b, l), (float)config(e)->eps};
}

static struct row_drop drop_at(const struct encoder_pass *p, float rate, int32_t l, enum site site,
                               const uint32_t *key)
{
    return (struct row_drop){rate, p->dropout.seed,
                             p->dropout.step << 16 | (uint64_t)((l + 1) * SITES + (int)site), key};
}

/* ALBERT's feed-forward part drops nothing. */
static float outer_rate(const struct encoder_train *e, const struct encoder_pass *p)
{
    return config(e)->family == FAMILY_ALBERT ? 0.0f : p->dropout.hidden;
}

/* The sum of the rows that say what a token is, and where. */
struct lookup {
    struct encoder_train *e;
    const struct encoder_pass *p;
    const float *d; /* [ids, E] on the way back */
};

static void look_up(void *arg, int t, int thread)
{
    const struct lookup *k = arg;
    const struct encoder_train *e = k->e;
    const struct batch *b = k->p->batch;
    int c = config(e)->embedding_size;
    const float *words = weight(e, k->p, P_WORD, 0), *positions = weight(e, k->p, P_POSITION, 0),
                *type = weight(e, k->p, P_TYPE, 0), *task = weight(e, k->p, P_TASK, 0);
    (void)thread;
    for (int32_t i = b->start[t]; i < b->start[t + 1]; i++) {
        float *row = e->sum0 + (size_t)i * (size_t)c;
        memcpy(row, words + (size_t)b->ids[i] * (size_t)c, (size_t)c * sizeof *row);
        if (positions)
            rows()->add(row, row, positions + (size_t)(i - b->start[t]) * (size_t)c, c);
        if (type)
            rows()->add(row, row, type, c);
        if (task)
            rows()->add(row, row, task, c);
    }
}

static void embed(struct encoder_train *e, const struct encoder_pass *p)
{
    const struct batch *b = p->batch;
    int n = b->start[b->n], c = config(e)->embedding_size;
    struct row_norm norm = norm_of(e, p, P_EMB_NORM_W, P_EMB_NORM_B, 0);
    struct row_drop drop = drop_at(p, p->dropout.hidden, -1, SITE_OUT, p->key);
    bool projects = weight(e, p, P_EMB_PROJ_W, 0) != NULL;
    float *to = projects ? e->e : e->saved[0].x;
    pool_run(e->pool, b->n, look_up, &(struct lookup){e, p, NULL});
    pass_norm(e->pool, to, e->sum0, n, c, &norm);
    pass_drop(e->pool, to, to, n, c, drop);
    if (projects)
        linear_forward(e->exact, to, c, n, matrix(e, p, P_EMB_PROJ_W, 0, config(e)->hidden, c),
                       weight(e, p, P_EMB_PROJ_B, 0), e->saved[0].x, config(e)->hidden);
}

/* One chunk of columns of every row: no two pieces add to the same place. */
enum { COLUMNS = 32 };
static void look_up_back(void *arg, int piece, int thread)
{
    const struct lookup *k = arg;
    const struct encoder_train *e = k->e;
    const struct batch *b = k->p->batch;
    int c = config(e)->embedding_size, from = piece * COLUMNS,
        n = c - from < COLUMNS ? c - from : COLUMNS;
    float *words = gradient(e, k->p, P_WORD, 0), *positions = gradient(e, k->p, P_POSITION, 0),
          *type = gradient(e, k->p, P_TYPE, 0), *task = gradient(e, k->p, P_TASK, 0);
    (void)thread;
    for (int32_t t = 0; t < b->n; t++)
        for (int32_t i = b->start[t]; i < b->start[t + 1]; i++) {
            const float *d = k->d + (size_t)i * (size_t)c + from;
            float *const to[] = {
                words + (size_t)b->ids[i] * (size_t)c,
                positions ? positions + (size_t)(i - b->start[t]) * (size_t)c : NULL, type, task};
            for (int j = 0; j < 4; j++)
                if (to[j])
                    rows()->add(to[j] + from, to[j] + from, d, n);
        }
}

/* dx [ids, C] of the first layer's input. */
static void embed_back(struct encoder_train *e, const struct encoder_pass *p)
{
    const struct batch *b = p->batch;
    int n = b->start[b->n], c = config(e)->embedding_size;
    struct row_norm norm = norm_of(e, p, P_EMB_NORM_W, P_EMB_NORM_B, 0);
    struct row_drop drop = drop_at(p, p->dropout.hidden, -1, SITE_OUT, p->key);
    float *d = e->dx;
    if (weight(e, p, P_EMB_PROJ_W, 0)) {
        d = e->dcontext;
        linear_backward(e->exact, e->e, c, e->dx, config(e)->hidden, n,
                        matrix(e, p, P_EMB_PROJ_W, 0, config(e)->hidden, c),
                        gradient(e, p, P_EMB_PROJ_W, 0), gradient(e, p, P_EMB_PROJ_B, 0), d, c,
                        false);
    }
    pass_drop(e->pool, d, d, n, c, drop);
    pass_norm_back(e->pool, e->dsum, d, e->sum0, n, c, &norm, e->statistics);
    pool_run(e->pool, (c + COLUMNS - 1) / COLUMNS, look_up_back, &(struct lookup){e, p, e->dsum});
}

/* A head's attention of all titles. */
struct attend {
    struct encoder_train *e;
    const struct encoder_pass *p;
    struct saved *s;
    int32_t l;
    bool few; /* one query a title: e->q */
};

static int32_t head_row(const struct encoder_train *e, const struct batch *b, int32_t t)
{
    return config(e)->family == FAMILY_XLNET ? b->start[t + 1] - 1 : b->start[t];
}

static void attend_title(const struct attend *a, int h, int32_t t, int thread, bool back)
{
    struct encoder_train *e = a->e;
    const struct batch *b = a->p->batch;
    int c = config(e)->hidden, from = b->start[t], len = b->start[t + 1] - from;
    const float *k = a->s->qkv + (size_t)from * 3 * (size_t)c + c;
    float *dk = e->dqkv + (size_t)from * 3 * (size_t)c + c;
    float *p = a->s->p + (size_t)h * e->p_start[b->n] + e->p_start[t];
    struct row_drop d = drop_at(a->p, a->p->dropout.attention, a->l, SITE_ATTENTION, NULL);
    struct attention_dropout drop = {d.p, d.seed, d.step, 0};
    struct attention_back g = {
        .key_rows = e->value_table, .ld_key_rows = config(e)->head_size, .one_table = true};
    if (d.p > 0.0f)
        drop.row = a->p->title_key[t] * (uint32_t)(config(e)->heads * e->max_tokens);
    size_t at = (size_t)(a->few ? t : from) * (size_t)c;
    const float *q = a->few ? e->q + at : k - c;
    float *dq = a->few ? e->dq + at : dk - c;
    int ldq = a->few ? c : 3 * c, n_q = a->few ? 1 : len,
        first = a->few ? head_row(e, b, t) - from : 0;
    if (back)
        attention_back(&e->attention, &g, h, q, ldq, n_q, first, k, k + c, 3 * c, len, p, &drop,
                       e->dcontext + at, c, dq, ldq, dk, dk + c, 3 * c, e->scratch[thread]);
    else
        attention_train(&e->attention, h, q, ldq, n_q, first, k, k + c, 3 * c, len,
                        a->s->context + at, c, p, &drop, e->scratch[thread]);
}

static void attend_head(void *arg, int h, int thread)
{
    const struct attend *a = arg;
    for (int32_t t = 0; t < a->p->batch->n; t++)
        attend_title(a, h, t, thread, false);
}

static void attend_head_back(void *arg, int h, int thread)
{
    const struct attend *a = arg;
    for (int32_t t = 0; t < a->p->batch->n; t++)
        attend_title(a, h, t, thread, true);
}

static void place_probabilities(struct encoder_train *e, const struct batch *b, bool few)
{
    e->p_start[0] = 0;
    for (int32_t t = 0; t < b->n; t++) {
        int len = b->start[t + 1] - b->start[t];
        e->p_start[t + 1] =
            e->p_start[t] + (size_t)(few ? 1 : len) * (size_t)attention_columns(len);
    }
}

/* Rows of titles: x [ids, C] to few [titles, C]. */
static void gather(const struct encoder_train *e, const struct batch *b, const float *x, float *few)
{
    size_t c = (size_t)config(e)->hidden;
    for (int32_t t = 0; t < b->n; t++)
        memcpy(few + (size_t)t * c, x + (size_t)head_row(e, b, t) * c, c * sizeof *x);
}

static bool is_few(const struct encoder_train *e, const struct encoder_pass *p, int32_t l)
{
    return l == e->layers - 1 && !p->all_rows;
}

static int row_count(const struct encoder_train *e, const struct encoder_pass *p, int32_t l)
{
    return is_few(e, p, l) ? p->batch->n : p->batch->start[p->batch->n];
}

static const uint32_t *keys_of(const struct encoder_train *e, const struct encoder_pass *p,
                               int32_t l)
{
    return is_few(e, p, l) ? e->few_key : p->key;
}

/* A matrix's rows from `from` on: K and V behind Q. */
static struct linear_weight part(struct linear_weight w, int from, int o)
{
    size_t at = (size_t)from * (size_t)w.k;
    return (struct linear_weight){w.w + at, w.wb ? w.wb + at : NULL, o, w.k, false};
}

static void attention_forward_layer(struct encoder_train *e, const struct encoder_pass *p,
                                    int32_t l)
{
    struct saved *s = &e->saved[l];
    const struct batch *b = p->batch;
    int n = b->start[b->n], c = config(e)->hidden;
    bool few = is_few(e, p, l);
    struct linear_weight w = matrix(e, p, P_Q_W, l, 3 * c, c);
    const float *bias = weight(e, p, P_Q_B, l);
    place_probabilities(e, b, few);
    if (few) {
        gather(e, b, s->x, e->rest);
        linear_forward(e->products, s->x, c, n, part(w, c, 2 * c), bias + c, s->qkv + c, 3 * c);
        linear_forward(e->products, e->rest, c, b->n, part(w, 0, c), bias, e->q, c);
    } else {
        linear_forward(e->products, s->x, c, n, w, bias, s->qkv, 3 * c);
    }
    pool_run(e->pool, config(e)->heads, attend_head, &(struct attend){e, p, s, l, few});
}

/* Layer l, into y. */
static void forward_layer(struct encoder_train *e, const struct encoder_pass *p, int32_t l,
                          float *y)
{
    struct saved *s = &e->saved[l];
    int m = row_count(e, p, l), c = config(e)->hidden, f = config(e)->inner;
    const uint32_t *key = keys_of(e, p, l);
    struct row_norm first = norm_of(e, p, P_ATT_NORM_W, P_ATT_NORM_B, l),
                    second = norm_of(e, p, P_OUT_NORM_W, P_OUT_NORM_B, l);
    attention_forward_layer(e, p, l);
    linear_forward(e->products, s->context, c, m, matrix(e, p, P_O_W, l, c, c),
                   weight(e, p, P_O_B, l), s->sum1, c);
    pass_add_norm(e->pool, s->sum1, s->n1, is_few(e, p, l) ? e->rest : s->x, s->sum1, m, c,
                  drop_at(p, p->dropout.hidden, l, SITE_OUT, key), &first);
    linear_forward(e->products, s->n1, c, m, matrix(e, p, P_INNER_W, l, f, c),
                   weight(e, p, P_INNER_B, l), s->h, f);
    pass_activate(e->pool, config(e)->act, e->act, s->h, m, f);
    pass_drop(e->pool, e->act, e->act, m, f,
              drop_at(p, p->dropout.feed_forward, l, SITE_INNER, key));
    linear_forward(e->products, e->act, f, m, matrix(e, p, P_OUTER_W, l, c, f),
                   weight(e, p, P_OUTER_B, l), s->sum2, c);
    pass_add_norm(e->pool, s->sum2, y, s->n1, s->sum2, m, c,
                  drop_at(p, outer_rate(e, p), l, SITE_OUTER, key), &second);
}

const float *encoder_train_forward(struct encoder_train *e, const struct encoder_pass *p)
{
    const struct batch *b = p->batch;
    for (int32_t t = 0; t < b->n && p->key; t++)
        e->few_key[t] = p->key[head_row(e, b, t)];
    embed(e, p);
    for (int32_t l = 0; l < e->layers; l++)
        forward_layer(e, p, l, l + 1 < e->layers ? e->saved[l + 1].x : e->out);
    return e->out;
}

/* From the gradient dn1 of the first norm's output [m, C] to those of the context (in
 * e->dcontext) and of the residual. */
static void out_back(struct encoder_train *e, const struct encoder_pass *p, int32_t l, float *dn1,
                     float *dres)
{
    struct saved *s = &e->saved[l];
    int m = row_count(e, p, l), c = config(e)->hidden;
    struct row_norm first = norm_of(e, p, P_ATT_NORM_W, P_ATT_NORM_B, l);
    pass_norm_back(e->pool, dres, dn1, s->sum1, m, c, &first, e->statistics);
    pass_drop(e->pool, e->dsum, dres, m, c,
              drop_at(p, p->dropout.hidden, l, SITE_OUT, keys_of(e, p, l)));
    linear_backward(e->products, s->context, c, e->dsum, c, m, matrix(e, p, P_O_W, l, c, c),
                    gradient(e, p, P_O_W, l), gradient(e, p, P_O_B, l), e->dcontext, c, false);
}

/* dy [m, C] of the layer's output; dn1 [m, C]. */
static void feed_forward_back(struct encoder_train *e, const struct encoder_pass *p, int32_t l,
                              const float *dy, float *dn1)
{
    struct saved *s = &e->saved[l];
    int m = row_count(e, p, l), c = config(e)->hidden, f = config(e)->inner;
    const uint32_t *key = keys_of(e, p, l);
    struct row_norm second = norm_of(e, p, P_OUT_NORM_W, P_OUT_NORM_B, l);
    struct row_drop inner = drop_at(p, p->dropout.feed_forward, l, SITE_INNER, key);
    struct linear_weight outer = matrix(e, p, P_OUTER_W, l, c, f);
    pass_norm_back(e->pool, dn1, dy, s->sum2, m, c, &second, e->statistics);
    pass_drop(e->pool, e->dsum, dn1, m, c, drop_at(p, outer_rate(e, p), l, SITE_OUTER, key));
    /* What the outer matrix read is not kept: it comes with the activation's slope. */
    linear_input_gradient(e->products, e->dsum, c, m, outer, e->dh, f);
    pass_drop(e->pool, e->dh, e->dh, m, f, inner);
    pass_activate_back(e->pool, config(e)->act, e->act, e->dh, s->h, e->dh, m, f);
    pass_drop(e->pool, e->act, e->act, m, f, inner);
    linear_backward(e->products, e->act, f, e->dsum, c, m, outer, gradient(e, p, P_OUTER_W, l),
                    gradient(e, p, P_OUTER_B, l), NULL, 0, false);
    linear_backward(e->products, s->n1, c, e->dh, f, m, matrix(e, p, P_INNER_W, l, f, c),
                    gradient(e, p, P_INNER_W, l), gradient(e, p, P_INNER_B, l), dn1, c, true);
}

/* Adds to e->dx what queries, keys and values give back to the layer's input. */
static void projections_back(struct encoder_train *e, const struct encoder_pass *p, int32_t l)
{
    struct saved *s = &e->saved[l];
    const struct batch *b = p->batch;
    int n = b->start[b->n], c = config(e)->hidden;
    struct linear_weight w = matrix(e, p, P_Q_W, l, 3 * c, c);
    float *dw = gradient(e, p, P_Q_W, l), *db = gradient(e, p, P_Q_B, l);
    if (!is_few(e, p, l)) {
        linear_backward(e->products, s->x, c, e->dqkv, 3 * c, n, w, dw, db, e->dx, c, true);
        return;
    }
    linear_backward(e->products, s->x, c, e->dqkv + c, 3 * c, n, part(w, c, 2 * c),
                    dw + (size_t)c * (size_t)c, db + c, e->dx, c, false);
    linear_backward(e->products, e->rest, c, e->dq, c, b->n, part(w, 0, c), dw, db, e->drest, c,
                    true);
    for (int32_t t = 0; t < b->n; t++) {
        float *to = e->dx + (size_t)head_row(e, b, t) * (size_t)c;
        rows()->add(to, to, e->drest + (size_t)t * (size_t)c, c);
    }
}

/* dy [m, C], overwritten; leaves e->dx [ids, C]. */
static void backward_layer(struct encoder_train *e, const struct encoder_pass *p, int32_t l,
                           float *dy)
{
    bool few = is_few(e, p, l);
    feed_forward_back(e, p, l, dy, e->dn1);
    out_back(e, p, l, e->dn1, few ? e->drest : e->dx);
    place_probabilities(e, p->batch, few);
    pool_run(e->pool, config(e)->heads, attend_head_back,
             &(struct attend){e, p, &e->saved[l], l, few});
    projections_back(e, p, l);
}

void encoder_train_backward(struct encoder_train *e, const struct encoder_pass *p, float *df)
{
    for (int32_t l = e->layers - 1; l >= 0; l--) {
        /* The last layer's are still there. */
        if (e->recompute && l < e->layers - 1)
            forward_layer(e, p, l, e->out);
        backward_layer(e, p, l, l == e->layers - 1 ? df : e->dx);
    }
    embed_back(e, p);
}
