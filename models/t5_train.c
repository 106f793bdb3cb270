#include "models/t5_train_parts.h"

#include <stdlib.h>
#include <string.h>

#include "models/t5.h"
#include "ops/rows.h"

enum { COLUMNS = 32 };

static float *block(size_t n)
{
    return xmalloc((n + ROWS_PAD) * sizeof(float));
}

static void open_attended(const struct t5_train *t, struct attended *a, bool cross)
{
    size_t n = (size_t)t->max_ids, c = (size_t)config(t)->hidden, w = (size_t)wide(t);
    a->n = block(n * c);
    a->q = block(n * (cross ? w : 3 * w));
    a->kv = cross ? block(n * 2 * w) : a->q + w;
    a->p = block(n * (size_t)config(t)->heads * (size_t)attention_columns(t->max_tokens));
    a->context = block(n * w);
}

static void close_attended(struct attended *a, bool cross)
{
    free(a->n);
    free(a->q);
    if (cross)
        free(a->kv);
    free(a->p);
    free(a->context);
}

static void open_layer(const struct t5_train *t, struct saved *s, const struct saved *shared,
                       bool cross)
{
    size_t n = (size_t)t->max_ids, c = (size_t)config(t)->hidden, f = (size_t)config(t)->inner;
    if (shared) {
        *s = *shared;
    } else {
        open_attended(t, &s->self, false);
        if (cross) {
            open_attended(t, &s->cross, true);
            s->cross.x = block(n * c);
        }
        s->x = block(n * c);
        s->n = block(n * c);
        s->h = block(n * f);
        s->gate = config(t)->gated ? block(n * f) : NULL;
    }
    s->self.x = block(n * c);
}

static void open_stack(struct t5_train *t, enum stack which)
{
    struct t5_stack *s = &t->stacks[which];
    size_t n = (size_t)t->max_ids, c = (size_t)config(t)->hidden,
           distances = 2 * (size_t)t->max_tokens - 1;
    bool decoder = which == STACK_DECODER;
    s->layers = t->t->layers[which];
    s->first = decoder ? t->t->layers[STACK_ENCODER] : 0;
    s->bias = xcalloc((size_t)config(t)->heads * distances, sizeof *s->bias);
    s->dbias = xcalloc((size_t)config(t)->heads * distances, sizeof *s->dbias);
    s->attention = t->cross;
    s->attention.causal = decoder;
    s->attention.distance_bias = s->bias;
    s->saved = xcalloc((size_t)s->layers, sizeof *s->saved);
    for (int32_t l = 0; l < s->layers; l++)
        open_layer(t, &s->saved[l], l && t->recompute ? &s->saved[0] : NULL, decoder);
    s->last = block(n * c);
    s->out = block(n * c);
    s->ids = xcalloc(n + 1, sizeof *s->ids);
    s->start = xcalloc((size_t)t->max_titles + 1, sizeof *s->start);
    s->key = xcalloc(n + 1, sizeof *s->key);
}

struct t5_train *t5_train_open(const struct trainable *trainable, struct linear *products,
                               int32_t max_titles, int32_t max_ids, int32_t max_tokens,
                               bool recompute, struct pool *pool)
{
    struct t5_train *t = xcalloc(1, sizeof *t);
    const struct transformer_config *cfg = &trainable->cfg;
    size_t n = (size_t)max_ids, c = (size_t)cfg->hidden, f = (size_t)cfg->inner;
    *t = (struct t5_train){.t = trainable,
                           .products = products,
                           .pool = pool,
                           .max_titles = max_titles,
                           .max_ids = max_ids,
                           .max_tokens = max_tokens,
                           .recompute = recompute};
    t->cross = (struct attention){
        .heads = cfg->heads, .head_size = cfg->head_size, .max_t = max_tokens, .scale = 1.0f};
    size_t w = (size_t)wide(t);
    for (int i = 0; i < STACKS; i++)
        open_stack(t, (enum stack)i);
    float **const parts[] = {&t->dx, &t->dn, &t->dsum, &t->dencoder};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        *parts[i] = block(n * c);
    t->features = block((size_t)max_titles * c);
    t->dcontext = block(n * w);
    t->dq = block(n * 3 * w);
    t->dkv = block(n * 2 * w);
    t->act = block(n * f);
    t->da = block(n * f);
    t->dh = block(n * f);
    t->dgate = block(n * f);
    t->statistics = block(2 * n);
    t->p_start = xcalloc((size_t)max_titles + 1, sizeof *t->p_start);
    t->scratch = xcalloc((size_t)pool_threads(pool), sizeof *t->scratch);
    size_t room = attention_scratch(&t->cross), back = attention_back_scratch(&t->cross);
    for (int i = 0; i < pool_threads(pool); i++)
        t->scratch[i] = block(room > back ? room : back);
    return t;
}

static void close_stack(const struct t5_train *t, struct t5_stack *s, bool decoder)
{
    for (int32_t l = 0; l < s->layers; l++) {
        struct saved *y = &s->saved[l];
        free(y->self.x);
        if (l && t->recompute)
            continue;
        close_attended(&y->self, false);
        if (decoder) {
            close_attended(&y->cross, true);
            free(y->cross.x);
        }
        free(y->x);
        free(y->n);
        free(y->h);
        free(y->gate);
    }
    void *const parts[] = {s->bias, s->dbias, s->saved, s->last, s->out, s->ids, s->start, s->key};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
}

void t5_train_close(struct t5_train *t)
{
    if (!t)
        return;
    for (int i = 0; i < STACKS; i++)
        close_stack(t, &t->stacks[i], i == STACK_DECODER);
    for (int i = 0; i < pool_threads(t->pool); i++)
        free(t->scratch[i]);
    void *const parts[] = {t->act,      t->features, t->dx,         t->dn,      t->dsum,
                           t->dencoder, t->dcontext, t->dq,         t->dkv,     t->da,
                           t->dh,       t->dgate,    t->statistics, t->p_start, t->scratch};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
    free(t);
}

/* The encoder reads the titles; the decoder the titles moved right by its start token, or that alone. */
static void read_batch(struct t5_train *t, const struct encoder_pass *p)
{
    const struct batch *b = p->batch;
    struct t5_stack *e = &t->stacks[STACK_ENCODER], *d = &t->stacks[STACK_DECODER];
    bool single = config(t)->single_start;
    d->start[0] = 0;
    for (int32_t i = 0; i < b->n; i++) {
        int32_t from = b->start[i], len = b->start[i + 1] - from, to = d->start[i];
        e->start[i + 1] = b->start[i + 1];
        d->start[i + 1] = to + (single ? 1 : len);
        memcpy(e->ids + from, b->ids + from, (size_t)len * sizeof *e->ids);
        d->ids[to] = config(t)->start_token;
        for (int32_t k = 1; k < len && !single; k++)
            d->ids[to + k] = b->ids[from + k - 1];
        for (int32_t k = 0; k < len && p->key; k++) {
            e->key[from + k] = p->key[from + k];
            if (!single || k == 0)
                d->key[to + k] = p->key[from + k];
        }
    }
    e->start[0] = 0;
}

static void spread_bias(struct t5_train *t, const struct encoder_pass *p, enum stack stack)
{
    struct t5_stack *s = &t->stacks[stack];
    const struct transformer_config *c = config(t);
    const float *table = weight(t, p, stack, P_BIAS_TABLE, 0);
    int n = 2 * t->max_tokens - 1;
    for (int i = 0; i < n; i++) {
        int bucket =
            t5_bucket(i - (t->max_tokens - 1), stack == STACK_ENCODER, c->buckets, c->max_distance);
        for (int h = 0; h < c->heads; h++)
            s->bias[(size_t)h * (size_t)n + (size_t)i] = table[bucket * c->heads + h];
    }
}

static void collect_bias(struct t5_train *t, const struct encoder_pass *p, enum stack stack)
{
    struct t5_stack *s = &t->stacks[stack];
    const struct transformer_config *c = config(t);
    float *table = gradient(t, p, stack, P_BIAS_TABLE, 0);
    int n = 2 * t->max_tokens - 1;
    for (int i = 0; i < n; i++) {
        int bucket =
            t5_bucket(i - (t->max_tokens - 1), stack == STACK_ENCODER, c->buckets, c->max_distance);
        for (int h = 0; h < c->heads; h++)
            table[bucket * c->heads + h] += s->dbias[(size_t)h * (size_t)n + (size_t)i];
    }
}

static void embed(struct t5_train *t, const struct encoder_pass *p, struct t5_stack *s, int32_t l,
                  int site)
{
    int n = row_count(s, p), c = config(t)->hidden;
    const float *words = weight(t, p, STACK_ENCODER, P_WORD, 0);
    float *x = s->saved[0].self.x;
    for (int i = 0; i < n; i++)
        memcpy(x + (size_t)i * (size_t)c, words + (size_t)s->ids[i] * (size_t)c,
               (size_t)c * sizeof *x);
    pass_drop(t->pool, x, x, n, c, drop_at(p, p->dropout.hidden, l, site, s->key));
}

struct lookup {
    const struct t5_stack *s;
    const float *d;
    float *words;
    int n, c;
};

static void look_up_back(void *arg, int piece, int thread)
{
    const struct lookup *k = arg;
    int from = piece * COLUMNS, n = k->c - from < COLUMNS ? k->c - from : COLUMNS;
    (void)thread;
    for (int i = 0; i < k->n; i++) {
        float *to = k->words + (size_t)k->s->ids[i] * (size_t)k->c + from;
        rows()->add(to, to, k->d + (size_t)i * (size_t)k->c + from, n);
    }
}

/* From t->dx of the first layer's input. */
static void embed_back(struct t5_train *t, const struct encoder_pass *p, struct t5_stack *s,
                       int32_t l, int site)
{
    int n = row_count(s, p), c = config(t)->hidden;
    pass_drop(t->pool, t->dx, t->dx, n, c, drop_at(p, p->dropout.hidden, l, site, s->key));
    struct lookup k = {s, t->dx, gradient(t, p, STACK_ENCODER, P_WORD, 0), n, c};
    pool_run(t->pool, (c + COLUMNS - 1) / COLUMNS, look_up_back, &k);
}

static void feed_forward(struct t5_train *t, const struct encoder_pass *p, enum stack stack,
                         int32_t l, float *y)
{
    struct t5_stack *s = &t->stacks[stack];
    struct saved *k = &s->saved[l];
    int n = row_count(s, p), c = config(t)->hidden, f = config(t)->inner;
    struct row_norm norm = norm_of(t, p, stack, P_OUT_NORM_W, l);
    pass_norm(t->pool, k->n, k->x, n, c, &norm);
    linear_forward(t->products, k->n, c, n, matrix(t, p, stack, P_INNER_W, l, f, c), NULL, k->h, f);
    pass_activate(t->pool, config(t)->act, t->act, k->h, n, f);
    if (k->gate) {
        linear_forward(t->products, k->n, c, n, matrix(t, p, stack, P_GATE_W, l, f, c), NULL,
                       k->gate, f);
        pass_multiply(t->pool, t->act, t->act, k->gate, n, f);
    }
    pass_drop(t->pool, t->act, t->act, n, f,
              drop_at(p, p->dropout.feed_forward, s->first + l, SITE_INNER, s->key));
    linear_forward(t->products, t->act, f, n, matrix(t, p, stack, P_OUTER_W, l, c, f), NULL, y, c);
    pass_add_norm(t->pool, y, NULL, k->x, y, n, c,
                  drop_at(p, p->dropout.hidden, s->first + l, SITE_OUTER, s->key), NULL);
}

static void forward_layer(struct t5_train *t, const struct encoder_pass *p, enum stack stack,
                          int32_t l, float *y)
{
    struct saved *k = &t->stacks[stack].saved[l];
    if (stack == STACK_DECODER) {
        t5_train_self(t, p, stack, l, k->cross.x);
        t5_train_cross(t, p, l, k->x);
    } else {
        t5_train_self(t, p, stack, l, k->x);
    }
    feed_forward(t, p, stack, l, y);
}

static void stack_forward(struct t5_train *t, const struct encoder_pass *p, enum stack stack)
{
    struct t5_stack *s = &t->stacks[stack];
    int n = row_count(s, p), c = config(t)->hidden;
    struct row_norm norm = norm_of(t, p, stack, P_FINAL_NORM_W, 0);
    spread_bias(t, p, stack);
    embed(t, p, s, s->first - 1, SITES - 1);
    for (int32_t l = 0; l < s->layers; l++)
        forward_layer(t, p, stack, l, l + 1 < s->layers ? s->saved[l + 1].self.x : s->last);
    pass_norm(t->pool, s->out, s->last, n, c, &norm);
    pass_drop(t->pool, s->out, s->out, n, c,
              drop_at(p, p->dropout.hidden, s->first - 1, SITES - 2, s->key));
}

const float *t5_train_forward(struct t5_train *t, const struct encoder_pass *p)
{
    const struct t5_stack *d = &t->stacks[STACK_DECODER];
    size_t c = (size_t)config(t)->hidden;
    read_batch(t, p);
    stack_forward(t, p, STACK_ENCODER);
    stack_forward(t, p, STACK_DECODER);
    for (int32_t i = 0; i < p->batch->n; i++)
        memcpy(t->features + (size_t)i * c, d->out + (size_t)(d->start[i + 1] - 1) * c,
               c * sizeof *t->features);
    return t->features;
}

void t5_train_through_norm(struct t5_train *t, const struct encoder_pass *p,
                           const struct t5_stack *s, const float *x, const struct row_norm *norm)
{
    int n = row_count(s, p), c = config(t)->hidden;
    pass_norm_back(t->pool, t->dsum, t->dn, x, n, c, norm, t->statistics);
    pass_add(t->pool, t->dx, t->dsum, n, c);
}

static void feed_forward_back(struct t5_train *t, const struct encoder_pass *p, enum stack stack,
                              int32_t l)
{
    struct t5_stack *s = &t->stacks[stack];
    struct saved *k = &s->saved[l];
    int n = row_count(s, p), c = config(t)->hidden, f = config(t)->inner;
    struct row_norm norm = norm_of(t, p, stack, P_OUT_NORM_W, l);
    struct linear_weight outer = matrix(t, p, stack, P_OUTER_W, l, c, f);
    struct row_drop inner = drop_at(p, p->dropout.feed_forward, s->first + l, SITE_INNER, s->key);
    pass_drop(t->pool, t->dsum, t->dx, n, c,
              drop_at(p, p->dropout.hidden, s->first + l, SITE_OUTER, s->key));
    linear_input_gradient(t->products, t->dsum, c, n, outer, t->da, f);
    pass_drop(t->pool, t->da, t->da, n, f, inner);
    if (k->gate) { /* act: f(h), dgate: da f(h), da: da gate */
        pass_activate(t->pool, config(t)->act, t->act, k->h, n, f);
        pass_multiply(t->pool, t->dgate, t->da, t->act, n, f);
        pass_multiply(t->pool, t->da, t->da, k->gate, n, f);
    }
    pass_activate_back(t->pool, config(t)->act, t->act, t->dh, k->h, t->da, n, f);
    if (k->gate)
        pass_multiply(t->pool, t->act, t->act, k->gate, n, f);
    pass_drop(t->pool, t->act, t->act, n, f, inner);
    linear_backward(t->products, t->act, f, t->dsum, c, n, outer,
                    gradient(t, p, stack, P_OUTER_W, l), NULL, NULL, 0, false);
    linear_backward(t->products, k->n, c, t->dh, f, n, matrix(t, p, stack, P_INNER_W, l, f, c),
                    gradient(t, p, stack, P_INNER_W, l), NULL, t->dn, c, false);
    if (k->gate)
        linear_backward(t->products, k->n, c, t->dgate, f, n,
                        matrix(t, p, stack, P_GATE_W, l, f, c), gradient(t, p, stack, P_GATE_W, l),
                        NULL, t->dn, c, true);
    t5_train_through_norm(t, p, s, k->x, &norm);
}

/* From the gradient of the stack's output in t->dn. */
static void stack_back(struct t5_train *t, const struct encoder_pass *p, enum stack stack)
{
    struct t5_stack *s = &t->stacks[stack];
    int n = row_count(s, p), c = config(t)->hidden;
    struct row_norm norm = norm_of(t, p, stack, P_FINAL_NORM_W, 0);
    memset(s->dbias, 0,
           (size_t)config(t)->heads * (2 * (size_t)t->max_tokens - 1) * sizeof *s->dbias);
    pass_drop(t->pool, t->dn, t->dn, n, c,
              drop_at(p, p->dropout.hidden, s->first - 1, SITES - 2, s->key));
    pass_norm_back(t->pool, t->dx, t->dn, s->last, n, c, &norm, t->statistics);
    for (int32_t l = s->layers - 1; l >= 0; l--) {
        if (t->recompute && l < s->layers - 1)
            forward_layer(t, p, stack, l, t->dn);
        feed_forward_back(t, p, stack, l);
        if (stack == STACK_DECODER)
            t5_train_cross_back(t, p, l);
        t5_train_self_back(t, p, stack, l);
    }
    collect_bias(t, p, stack);
    embed_back(t, p, s, s->first - 1, SITES - 1);
}

void t5_train_backward(struct t5_train *t, const struct encoder_pass *p, const float *df)
{
    const struct t5_stack *d = &t->stacks[STACK_DECODER], *e = &t->stacks[STACK_ENCODER];
    size_t c = (size_t)config(t)->hidden;
    memset(t->dencoder, 0, (size_t)row_count(e, p) * c * sizeof *t->dencoder);
    memset(t->dn, 0, (size_t)row_count(d, p) * c * sizeof *t->dn);
    for (int32_t i = 0; i < p->batch->n; i++)
        memcpy(t->dn + (size_t)(d->start[i + 1] - 1) * c, df + (size_t)i * c, c * sizeof *df);
    stack_back(t, p, STACK_DECODER);
    memcpy(t->dn, t->dencoder, (size_t)row_count(e, p) * c * sizeof *t->dn);
    stack_back(t, p, STACK_ENCODER);
}
