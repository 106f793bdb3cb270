#include "models/transformer_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/encoder_train.h"
#include "models/t5_train.h"
#include "models/train_passes.h"
#include "ops/linear.h"
#include "ops/rows.h"
#include "ops/softmax.h"

enum { HEAD_SITE_IN = 0, HEAD_SITE_OUT = 1, LAYER_OF_HEAD = 0xFF };

struct transformer_train {
    const struct trainable *t;
    struct transformer_train_options opt;
    struct pool *pool;
    struct linear *products, *exact;
    struct encoder_train *encoder; /* or */
    struct t5_train *t5;
    uint16_t *wb; /* the weights in bfloat16, or NULL */
    uint32_t *key, *title_key;
    float *in;          /* [titles, C] features, dropped */
    float *pre, *dense; /* [titles, C] before and behind the dense layer's activation */
    float *logits;      /* [titles, O]; then their gradients */
    float *d, *df;      /* [titles, C] gradients */
    double *log_p;      /* [2 O] of a pair of titles */
};

struct transformer_train *transformer_train_open(const struct trainable *t,
                                                 const struct transformer_train_options *opt,
                                                 struct pool *pool)
{
    struct transformer_train *tt = xcalloc(1, sizeof *tt);
    const struct transformer_config *c = &t->cfg;
    int all = c->heads * c->head_size, wide = 3 * (all > c->hidden ? all : c->hidden);
    wide = wide > c->inner ? wide : c->inner;
    wide = c->embedding_size > wide ? c->embedding_size : wide;
    size_t n = (size_t)opt->max_titles, h = (size_t)c->hidden, o = (size_t)c->labels;
    *tt = (struct transformer_train){.t = t, .opt = *opt, .pool = pool};
    tt->products = linear_open(opt->type, opt->max_ids, wide, pool);
    tt->exact = linear_open(PRODUCT_FP32, opt->max_ids, wide, pool);
    if (c->family == FAMILY_T5)
        tt->t5 = t5_train_open(t, tt->products, opt->max_titles, opt->max_ids, opt->max_tokens,
                               opt->recompute, pool);
    else
        tt->encoder = encoder_train_open(t, tt->products, tt->exact, opt->max_titles, opt->max_ids,
                                         opt->max_tokens, opt->recompute, pool);
    if (opt->type == PRODUCT_BF16)
        tt->wb = xmalloc(t->size * sizeof *tt->wb);
    tt->key = xcalloc((size_t)opt->max_ids + 1, sizeof *tt->key);
    tt->title_key = xcalloc(n + 1, sizeof *tt->title_key);
    float **const rows_of[] = {&tt->in, &tt->pre, &tt->dense, &tt->d, &tt->df};
    for (size_t i = 0; i < sizeof rows_of / sizeof *rows_of; i++)
        *rows_of[i] = xcalloc(n * h + ROWS_PAD, sizeof(float));
    tt->logits = xcalloc(n * o + ROWS_PAD, sizeof *tt->logits);
    tt->log_p = xcalloc(2 * o + 1, sizeof *tt->log_p);
    return tt;
}

void transformer_train_close(struct transformer_train *tt)
{
    if (!tt)
        return;
    encoder_train_close(tt->encoder);
    t5_train_close(tt->t5);
    linear_close(tt->products);
    linear_close(tt->exact);
    void *const parts[] = {tt->wb,    tt->key,    tt->title_key, tt->in, tt->pre,
                           tt->dense, tt->logits, tt->d,         tt->df, tt->log_p};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
    free(tt);
}

void transformer_train_weights(struct transformer_train *tt, const float *w)
{
    if (tt->wb)
        pass_round(tt->pool, tt->wb, w, tt->t->size);
}

/* What the head's parts are. */
struct head_view {
    struct linear_weight dense, out;
    const float *dense_b, *out_b;
    float *g_dense, *g_dense_b, *g_out, *g_out_b;
    enum activation act;
    float rate_in;
};

static struct head_view head_of(const struct transformer_train *tt, const float *w, float *g)
{
    const struct transformer_config *c = &tt->t->cfg;
    bool pooled = c->head == HEAD_POOLED;
    size_t dw = trainable_at(tt->t, STACK_ENCODER, pooled ? P_POOL_W : P_HEAD_DENSE_W, 0),
           db = trainable_at(tt->t, STACK_ENCODER, pooled ? P_POOL_B : P_HEAD_DENSE_B, 0),
           ow = trainable_at(tt->t, STACK_ENCODER, P_HEAD_W, 0),
           ob = trainable_at(tt->t, STACK_ENCODER, P_HEAD_B, 0);
    struct head_view v = {.out = {w + ow, NULL, c->labels, c->hidden, false},
                          .out_b = w + ob,
                          .act = c->head == HEAD_ELECTRA ? ACT_GELU : ACT_TANH,
                          /* XLNet drops the last layer's rows once more. */
                          .rate_in = c->head == HEAD_ELECTRA || c->head == HEAD_T5
                                         ? tt->opt.dropout.head_in
                                     : c->family == FAMILY_XLNET ? tt->opt.dropout.hidden
                                                                 : 0.0f};
    if (dw != SIZE_MAX) {
        v.dense = (struct linear_weight){w + dw, NULL, c->hidden, c->hidden, false};
        v.dense_b = w + db;
    }
    if (g) {
        v.g_out = g + ow;
        v.g_out_b = g + ob;
        v.g_dense = dw == SIZE_MAX ? NULL : g + dw;
        v.g_dense_b = dw == SIZE_MAX ? NULL : g + db;
    }
    return v;
}

static struct row_drop head_drop(const struct transformer_train *tt, const struct encoder_pass *p,
                                 float rate, int site)
{
    return (struct row_drop){p->title_key ? rate : 0.0f, p->dropout.seed,
                             p->dropout.step << 16 | (uint64_t)(LAYER_OF_HEAD << 8 | site),
                             tt->title_key};
}

/* features [n, C] to tt->logits. */
static void head_forward(struct transformer_train *tt, const struct encoder_pass *p,
                         const float *features, int n)
{
    struct head_view v = head_of(tt, p->w, NULL);
    int c = tt->t->cfg.hidden, o = tt->t->cfg.labels;
    struct row_drop in = head_drop(tt, p, v.rate_in, HEAD_SITE_IN),
                    out = head_drop(tt, p, tt->opt.dropout.head, HEAD_SITE_OUT);
    pass_drop(tt->pool, tt->in, features, n, c, in);
    const float *x = tt->in;
    if (v.dense.w) {
        linear_forward(tt->exact, x, c, n, v.dense, v.dense_b, tt->pre, c);
        pass_activate(tt->pool, v.act, tt->dense, tt->pre, n, c);
        x = tt->dense;
    }
    pass_drop(tt->pool, tt->dense, x, n, c, out);
    linear_forward(tt->exact, tt->dense, c, n, v.out, v.out_b, tt->logits, o);
}

/* From tt->logits, which hold gradients, to tt->df. */
static void head_backward(struct transformer_train *tt, const struct encoder_pass *p, int n)
{
    struct head_view v = head_of(tt, p->w, p->g);
    int c = tt->t->cfg.hidden, o = tt->t->cfg.labels;
    struct row_drop in = head_drop(tt, p, v.rate_in, HEAD_SITE_IN),
                    out = head_drop(tt, p, tt->opt.dropout.head, HEAD_SITE_OUT);
    linear_backward(tt->exact, tt->dense, c, tt->logits, o, n, v.out, v.g_out, v.g_out_b, tt->df, c,
                    false);
    pass_drop(tt->pool, tt->df, tt->df, n, c, out);
    if (v.dense.w) {
        pass_activate_back(tt->pool, v.act, tt->dense, tt->d, tt->pre, tt->df, n, c);
        linear_backward(tt->exact, tt->in, c, tt->d, c, n, v.dense, v.g_dense, v.g_dense_b, tt->df,
                        c, false);
    }
    pass_drop(tt->pool, tt->df, tt->df, n, c, in);
}

/* Numbers for dropout: a title's own, and of each of its rows. */
static void number_rows(struct transformer_train *tt, const struct batch *b,
                        const struct loss *loss, uint32_t first)
{
    int32_t half = loss->r_drop > 0.0f ? b->n / 2 : b->n;
    for (int32_t t = 0; t < b->n; t++) {
        tt->title_key[t] =
            first + (uint32_t)(t < half ? t : t - half) + (t < half ? 0 : loss->second);
        for (int32_t i = b->start[t]; i < b->start[t + 1]; i++)
            tt->key[i] =
                tt->title_key[t] * (uint32_t)tt->opt.max_tokens + (uint32_t)(i - b->start[t]);
    }
}

static const float *body_forward(struct transformer_train *tt, const struct encoder_pass *p)
{
    return tt->t5 ? t5_train_forward(tt->t5, p) : encoder_train_forward(tt->encoder, p);
}

void transformer_train_logits(struct transformer_train *tt, const float *w, const struct batch *b,
                              float *logits)
{
    struct encoder_pass p = {.w = w, .wb = tt->wb, .batch = b};
    if (b->n == 0)
        return;
    head_forward(tt, &p, body_forward(tt, &p), b->n);
    memcpy(logits, tt->logits, (size_t)b->n * (size_t)tt->t->cfg.labels * sizeof *logits);
}

static void log_softmax(double *log_p, const float *x, int n)
{
    double most = (double)rows()->max(x, n), sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp((double)x[i] - most);
    for (int i = 0; i < n; i++)
        log_p[i] = (double)x[i] - most - log(sum);
}

/* The two divergences of a pair of titles, added to the gradients a and b of their logits; x and y
 * are the logits.  d KL(p||q) / dx_i = p_i (ln p_i - ln q_i - KL(p||q)), d KL(q||p) / dx_i = p_i - q_i. */
static void add_divergence(struct transformer_train *tt, const float *x, const float *y, float *a,
                           float *b, double weight)
{
    int o = tt->t->cfg.labels;
    double *lp = tt->log_p, *lq = lp + o, kl_p = 0, kl_q = 0;
    log_softmax(lp, x, o);
    log_softmax(lq, y, o);
    for (int i = 0; i < o; i++) {
        kl_p += exp(lp[i]) * (lp[i] - lq[i]);
        kl_q += exp(lq[i]) * (lq[i] - lp[i]);
    }
    for (int i = 0; i < o; i++) {
        double p = exp(lp[i]), q = exp(lq[i]);
        a[i] += (float)(weight * (p * (lp[i] - lq[i] - kl_p) + p - q));
        b[i] += (float)(weight * (q * (lq[i] - lp[i] - kl_q) + q - p));
    }
}

/* Logits become their gradients. */
static void judge(struct transformer_train *tt, const struct batch *b, const struct loss *loss,
                  struct train_result *r)
{
    int o = tt->t->cfg.labels;
    bool pairs = loss->r_drop > 0.0f;
    int32_t half = pairs ? b->n / 2 : b->n;
    size_t n = (size_t)b->n * (size_t)o;
    float *x = xmalloc(n * sizeof *x);
    memcpy(x, tt->logits, n * sizeof *x);
    *r = (struct train_result){0};
    for (int32_t t = 0; t < b->n; t++) {
        float *row = tt->logits + (size_t)t * (size_t)o;
        int32_t label = b->labels[t], best = 0;
        float weight = loss->class_weights && label >= 0 ? loss->class_weights[label] : 1.0f,
              scale = (pairs ? 0.5f : 1.0f) * loss->scale * weight;
        const struct teaching *k = b->teaching;
        for (int32_t i = 1; i < o; i++)
            best = row[i] > row[best] ? i : best;
        r->correct += t < half && best == label;
        double one = k ? softmax_taught(row, row, o, label, loss->smoothing, scale,
                                        k->taught + (size_t)t * (size_t)o, k->temperature, k->part)
                       : softmax_cross_entropy(row, row, o, label, loss->smoothing, scale);
        r->loss += (pairs ? 0.5 : 1.0) * (double)weight * one;
    }
    for (int32_t t = 0; t < half && pairs; t++) {
        size_t i = (size_t)t * (size_t)o, k = (size_t)(t + half) * (size_t)o;
        add_divergence(tt, x + i, x + k, tt->logits + i, tt->logits + k,
                       0.5 * (double)loss->r_drop * (double)loss->scale);
    }
    free(x);
}

void transformer_train_gradients(struct transformer_train *tt, const float *w, float *g,
                                 const struct batch *b, const struct loss *loss, uint64_t seed,
                                 uint64_t step, uint32_t first_title, struct train_result *r)
{
    const struct dropout_rates *d = &tt->opt.dropout;
    struct encoder_pass p = {.w = w,
                             .wb = tt->wb,
                             .g = g,
                             .batch = b,
                             .dropout = {d->hidden, d->attention, d->feed_forward, seed, step},
                             .key = tt->key,
                             .title_key = tt->title_key};
    *r = (struct train_result){0};
    if (b->n == 0)
        return;
    number_rows(tt, b, loss, first_title);
    head_forward(tt, &p, body_forward(tt, &p), b->n);
    judge(tt, b, loss, r);
    head_backward(tt, &p, b->n);
    if (tt->t5)
        t5_train_backward(tt->t5, &p, tt->df);
    else
        encoder_train_backward(tt->encoder, &p, tt->df);
}

static int rate(const json_t *config, const char *key, double def, float *out, struct err *err)
{
    const json_t *given = json_object_get(config, key);
    double x = def;
    if (given && !json_is_null(given) && json_get_real(config, key, &x, err) != 0)
        return -1;
    if (!(x >= 0 && x < 1))
        return err_set(err, ERR_FORMAT, "\"%s\" is %g, expected [0, 1)", key, x);
    *out = (float)x;
    return 0;
}

int dropout_rates_read(const json_t *config, const struct transformer_config *cfg,
                       struct dropout_rates *out, struct err *err)
{
    struct dropout_rates r = {0};
    int rc;
    if (cfg->family == FAMILY_XLNET) {
        rc = rate(config, "dropout", 0.1, &r.hidden, err);
        if (rc == 0)
            rc = rate(config, "summary_last_dropout", 0.1, &r.head, err);
        r.attention = r.feed_forward = r.hidden;
    } else if (cfg->family == FAMILY_T5) {
        rc = rate(config, "dropout_rate", 0.1, &r.hidden, err);
        if (rc == 0)
            rc = rate(config, "classifier_dropout", 0.0, &r.head, err);
        r.attention = r.feed_forward = r.hidden;
        r.head_in = r.head;
    } else {
        bool albert = cfg->family == FAMILY_ALBERT;
        rc = rate(config, "hidden_dropout_prob", albert ? 0.0 : 0.1, &r.hidden, err);
        if (rc == 0)
            rc =
                rate(config, "attention_probs_dropout_prob", albert ? 0.0 : 0.1, &r.attention, err);
        if (rc == 0)
            rc = rate(config, albert ? "classifier_dropout_prob" : "classifier_dropout",
                      albert ? 0.1 : (double)r.hidden, &r.head, err);
        r.head_in = r.head;
    }
    if (rc == 0)
        *out = r;
    return rc;
}
