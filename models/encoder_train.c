#include "models/encoder_train_parts.h"

#include <stdlib.h>
#include <string.h>

#include "ops/rows.h"

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
    encoder_train_open_attention(e);
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
    void *const parts[] = {
        e->sinusoids,   e->positions, e->distance, e->ddistance, e->distance_key, e->key_table,
        e->value_table, e->sum0,      e->e,        e->saved,     e->out,          e->act,
        e->rest,        e->q,         e->dx,       e->dsum,      e->dcontext,     e->dqkv,
        e->dh,          e->dn1,       e->dq,       e->drest,     e->few_key,      e->statistics,
        e->p_start,     e->scratch};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
    free(e);
}

/* ALBERT's feed-forward part drops nothing. */
static float outer_rate(const struct encoder_train *e, const struct encoder_pass *p)
{
    return config(e)->family == FAMILY_ALBERT ? 0.0f : p->dropout.hidden;
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
    encoder_train_attend(e, p, l);
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
    encoder_train_embed(e, p);
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

/* dy [m, C], overwritten; leaves e->dx [ids, C]. */
static void backward_layer(struct encoder_train *e, const struct encoder_pass *p, int32_t l,
                           float *dy)
{
    bool few = is_few(e, p, l);
    feed_forward_back(e, p, l, dy, e->dn1);
    out_back(e, p, l, e->dn1, few ? e->drest : e->dx);
    encoder_train_attend_back(e, p, l);
}

void encoder_train_backward(struct encoder_train *e, const struct encoder_pass *p, float *df)
{
    for (int32_t l = e->layers - 1; l >= 0; l--) {
        /* The last layer's are still there. */
        if (e->recompute && l < e->layers - 1)
            forward_layer(e, p, l, e->out);
        backward_layer(e, p, l, l == e->layers - 1 ? df : e->dx);
    }
    encoder_train_embed_back(e, p);
}
