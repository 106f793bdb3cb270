#include "models/masked_train.h"

#include <stdlib.h>
#include <string.h>

#include "models/encoder_train.h"
#include "models/train_passes.h"
#include "ops/linear.h"
#include "ops/rows.h"
#include "ops/softmax.h"

struct masked_train {
    const struct trainable *t;
    struct transformer_train_options opt;
    struct pool *pool;
    struct linear *products, *exact, *words; /* words: of the word table, as wide as it is long */
    struct encoder_train *encoder;
    uint16_t *wb; /* the weights in bfloat16, or NULL */
    uint32_t *key, *title_key;
    float *rows;               /* [asked, C] of the last layer */
    float *pre, *act, *x, *dx; /* [asked, E] before and behind the activation, behind the norm */
    float *logits;             /* [asked, V]; then their gradients, then those of rows */
    float *df;                 /* [ids, C] */
    float *statistics;         /* [2 asked] */
    double *loss;              /* [asked] */
    uint8_t *correct;          /* [asked] */
};

struct masked_train *masked_train_open(const struct trainable *t,
                                       const struct transformer_train_options *opt,
                                       int32_t max_asked, struct pool *pool)
{
    struct masked_train *mt = xcalloc(1, sizeof *mt);
    const struct transformer_config *c = &t->cfg;
    int wide = 3 * c->hidden > c->inner ? 3 * c->hidden : c->inner;
    wide = c->embedding_size > wide ? c->embedding_size : wide;
    size_t asked = (size_t)max_asked, e = (size_t)c->embedding_size, h = (size_t)c->hidden;
    *mt = (struct masked_train){.t = t, .opt = *opt, .pool = pool};
    mt->products = linear_open(opt->type, opt->max_ids, wide, pool);
    mt->exact = linear_open(PRODUCT_FP32, opt->max_ids, wide, pool);
    mt->words =
        linear_open(opt->type, max_asked,
                    c->vocab_size > c->embedding_size ? c->vocab_size : c->embedding_size, pool);
    mt->encoder = encoder_train_open(t, mt->products, mt->exact, opt->max_titles, opt->max_ids,
                                     opt->max_tokens, opt->recompute, pool);
    if (opt->type == PRODUCT_BF16)
        mt->wb = xmalloc(t->size * sizeof *mt->wb);
    mt->key = xcalloc((size_t)opt->max_ids + 1, sizeof *mt->key);
    mt->title_key = xcalloc((size_t)opt->max_titles + 1, sizeof *mt->title_key);
    float **const narrow[] = {&mt->pre, &mt->act, &mt->x, &mt->dx};
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++)
        *narrow[i] = xcalloc(asked * e + ROWS_PAD, sizeof(float));
    mt->rows = xcalloc(asked * h + ROWS_PAD, sizeof(float));
    size_t widest = (size_t)c->vocab_size > h ? (size_t)c->vocab_size : h;
    mt->logits = xcalloc(asked * widest + ROWS_PAD, sizeof(float));
    mt->df = xcalloc((size_t)opt->max_ids * h + ROWS_PAD, sizeof(float));
    mt->statistics = xcalloc(2 * asked + ROWS_PAD, sizeof(float));
    mt->loss = xcalloc(asked + 1, sizeof *mt->loss);
    mt->correct = xcalloc(asked + 1, sizeof *mt->correct);
    return mt;
}

void masked_train_close(struct masked_train *mt)
{
    if (!mt)
        return;
    encoder_train_close(mt->encoder);
    linear_close(mt->products);
    linear_close(mt->exact);
    linear_close(mt->words);
    void *const parts[] = {mt->wb,         mt->key,  mt->title_key, mt->rows, mt->pre,
                           mt->act,        mt->x,    mt->dx,        mt->df,   mt->logits,
                           mt->statistics, mt->loss, mt->correct};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
    free(mt);
}

void masked_train_weights(struct masked_train *mt, const float *w)
{
    if (mt->wb)
        pass_round(mt->pool, mt->wb, w, mt->t->size);
}

static size_t at(const struct masked_train *mt, enum param which)
{
    return trainable_at(mt->t, STACK_ENCODER, which, 0);
}

static struct linear_weight dense(const struct masked_train *mt, const float *w)
{
    const struct transformer_config *c = &mt->t->cfg;
    return (struct linear_weight){w + at(mt, P_MASK_DENSE_W), NULL, c->embedding_size, c->hidden,
                                  false};
}

static struct linear_weight word_table(const struct masked_train *mt, const float *w)
{
    const struct transformer_config *c = &mt->t->cfg;
    size_t words = at(mt, P_WORD);
    return (struct linear_weight){w + words, mt->wb ? mt->wb + words : NULL, c->vocab_size,
                                  c->embedding_size, false};
}

static struct row_norm norm(const struct masked_train *mt, const float *w, float *g)
{
    size_t gamma = at(mt, P_MASK_NORM_W), beta = at(mt, P_MASK_NORM_B);
    return (struct row_norm){w + gamma, w + beta, g ? g + gamma : NULL, g ? g + beta : NULL,
                             (float)mt->t->cfg.eps};
}

/* To mt->logits. */
static void forward(struct masked_train *mt, const struct encoder_pass *p,
                    const struct masked_batch *b)
{
    const struct transformer_config *c = &mt->t->cfg;
    const float *out = encoder_train_forward(mt->encoder, p);
    struct row_norm n = norm(mt, p->w, NULL);
    int e = c->embedding_size;
    size_t h = (size_t)c->hidden;
    for (int32_t i = 0; i < b->n; i++)
        memcpy(mt->rows + (size_t)i * h, out + (size_t)b->row[i] * h, h * sizeof *out);
    linear_forward(mt->exact, mt->rows, c->hidden, b->n, dense(mt, p->w),
                   p->w + at(mt, P_MASK_DENSE_B), mt->pre, e);
    pass_activate(mt->pool, c->act, mt->act, mt->pre, b->n, e);
    pass_norm(mt->pool, mt->x, mt->act, b->n, e, &n);
    linear_forward(mt->words, mt->x, e, b->n, word_table(mt, p->w), p->w + at(mt, P_MASK_BIAS),
                   mt->logits, c->vocab_size);
}

/* One asked row: its loss, and in place of its logits their gradients. */
struct judging {
    struct masked_train *mt;
    const struct masked_batch *b;
    float scale;
};

static void judge_row(void *arg, int i, int thread)
{
    const struct judging *k = arg;
    struct masked_train *mt = k->mt;
    int v = mt->t->cfg.vocab_size;
    float *row = mt->logits + (size_t)i * (size_t)v;
    int32_t word = k->b->word[i];
    (void)thread;
    mt->correct[i] = row[word] >= rows()->max(row, v);
    mt->loss[i] = softmax_cross_entropy_long(row, row, v, word, k->scale);
}

static void judge(struct masked_train *mt, const struct masked_batch *b, float scale,
                  struct masked_result *r)
{
    struct judging k = {mt, b, scale};
    pool_run(mt->pool, b->n, judge_row, &k);
    *r = (struct masked_result){0};
    for (int32_t i = 0; i < b->n; i++) {
        r->loss += mt->loss[i];
        r->correct += mt->correct[i];
    }
}

void masked_train_judge(struct masked_train *mt, const float *w, const struct masked_batch *b,
                        struct masked_result *r)
{
    struct encoder_pass p = {.w = w, .wb = mt->wb, .batch = &b->batch, .all_rows = true};
    *r = (struct masked_result){0};
    if (b->n == 0)
        return;
    forward(mt, &p, b);
    judge(mt, b, 0, r);
}

/* From mt->logits, which hold gradients, to mt->df. */
static void backward(struct masked_train *mt, const struct encoder_pass *p,
                     const struct masked_batch *b)
{
    const struct transformer_config *c = &mt->t->cfg;
    struct row_norm n = norm(mt, p->w, p->g);
    int e = c->embedding_size, ids = b->batch.start[b->batch.n];
    size_t h = (size_t)c->hidden;
    linear_backward(mt->words, mt->x, e, mt->logits, c->vocab_size, b->n, word_table(mt, p->w),
                    p->g + at(mt, P_WORD), p->g + at(mt, P_MASK_BIAS), mt->dx, e, false);
    pass_norm_back(mt->pool, mt->x, mt->dx, mt->act, b->n, e, &n, mt->statistics);
    pass_activate_back(mt->pool, c->act, mt->act, mt->dx, mt->pre, mt->x, b->n, e);
    float *d = mt->logits; /* [asked, C], where no gradient is needed any more */
    linear_backward(mt->exact, mt->rows, c->hidden, mt->dx, e, b->n, dense(mt, p->w),
                    p->g + at(mt, P_MASK_DENSE_W), p->g + at(mt, P_MASK_DENSE_B), d, c->hidden,
                    false);
    memset(mt->df, 0, (size_t)ids * h * sizeof *mt->df);
    for (int32_t i = 0; i < b->n; i++)
        memcpy(mt->df + (size_t)b->row[i] * h, d + (size_t)i * h, h * sizeof *d);
}

void masked_train_gradients(struct masked_train *mt, const float *w, float *g,
                            const struct masked_batch *b, float scale, uint64_t seed, uint64_t step,
                            uint32_t first, struct masked_result *r)
{
    const struct dropout_rates *d = &mt->opt.dropout;
    struct encoder_pass p = {.w = w,
                             .wb = mt->wb,
                             .g = g,
                             .batch = &b->batch,
                             .all_rows = true,
                             .dropout = {d->hidden, d->attention, d->feed_forward, seed, step},
                             .key = mt->key,
                             .title_key = mt->title_key};
    *r = (struct masked_result){0};
    if (b->n == 0)
        return;
    for (int32_t t = 0; t < b->batch.n; t++) {
        int32_t from = b->batch.start[t];
        mt->title_key[t] = first + (uint32_t)t;
        for (int32_t i = from; i < b->batch.start[t + 1]; i++)
            mt->key[i] = mt->title_key[t] * (uint32_t)mt->opt.max_tokens + (uint32_t)(i - from);
    }
    forward(mt, &p, b);
    judge(mt, b, scale, r);
    backward(mt, &p, b);
    encoder_train_backward(mt->encoder, &p, mt->df);
}
