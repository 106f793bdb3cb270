#include "models/encoder_train_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/nezha.h"
#include "models/xlnet.h"
#include "ops/rows.h"

static bool is_xlnet(const struct encoder_train *e)
{
    return config(e)->family == FAMILY_XLNET;
}

static int distances(const struct encoder_train *e)
{
    return 2 * e->max_tokens - 1;
}

void encoder_train_open_attention(struct encoder_train *e)
{
    const struct transformer_config *c = config(e);
    size_t n = (size_t)distances(e) * (size_t)c->hidden;
    e->attention = (struct attention){.heads = c->heads,
                                      .head_size = c->head_size,
                                      .max_t = e->max_tokens,
                                      .scale = 1.0f / sqrtf((float)c->head_size)};
    if (c->family == FAMILY_NEZHA) {
        nezha_tables(c, e->max_tokens, &e->key_table, &e->value_table);
        e->attention.key_table = e->key_table;
        e->attention.value_table = e->value_table;
    }
    if (!is_xlnet(e))
        return;
    e->attention.key_table_stride =
        (size_t)c->head_size * (size_t)attention_table_ld(e->max_tokens);
    e->sinusoids = xlnet_sinusoids(c->hidden, e->max_tokens);
    e->positions = xcalloc(n, sizeof *e->positions);
    e->distance = xcalloc(n, sizeof *e->distance);
    e->ddistance = xcalloc(n, sizeof *e->ddistance);
    e->distance_key = xcalloc((size_t)distances(e), sizeof *e->distance_key);
    e->key_table = xcalloc((size_t)c->heads * e->attention.key_table_stride, sizeof *e->key_table);
    for (int i = 0; i < distances(e); i++)
        e->distance_key[i] = (uint32_t)i;
}

/* XLNet's matrices have their inputs first; three of them are three products. */
static struct linear_weight own_matrix(const struct encoder_train *e, const struct encoder_pass *p,
                                       enum param which, int32_t l)
{
    struct linear_weight w = matrix(e, p, which, l, config(e)->hidden, config(e)->hidden);
    w.inputs_first = is_xlnet(e);
    return w;
}

/* What layer l's attention is: the family's, or with XLNet's tables and vectors of the layer.  The
 * dropped sinusoids become projections by distance. */
static struct attention attention_of(struct encoder_train *e, const struct encoder_pass *p,
                                     int32_t l)
{
    struct attention a = e->attention;
    int c = config(e)->hidden, d = config(e)->head_size;
    if (!is_xlnet(e))
        return a;
    pass_drop(e->pool, e->positions, e->sinusoids, distances(e), c,
              drop_at(p, p->dropout.hidden, -1, SITE_INNER, e->distance_key));
    linear_forward(e->exact, e->positions, c, distances(e), own_matrix(e, p, P_R_W, l), NULL,
                   e->distance, c);
    for (int h = 0; h < a.heads; h++)
        attention_transpose_table(e->key_table + (size_t)h * a.key_table_stride,
                                  e->distance + h * d, c, e->max_tokens, d);
    a.key_table = e->key_table;
    a.q_bias = weight(e, p, P_R_W_BIAS, l);
    a.position_bias = weight(e, p, P_R_R_BIAS, l);
    a.segment_bias = weight(e, p, P_R_S_BIAS, l);
    a.segment = weight(e, p, P_SEGMENT, l);
    return a;
}

static struct attention_back gradients_of(const struct encoder_train *e,
                                          const struct encoder_pass *p, int32_t l)
{
    if (!is_xlnet(e))
        return (struct attention_back){
            .key_rows = e->value_table, .ld_key_rows = config(e)->head_size, .one_table = true};
    return (struct attention_back){.key_rows = e->distance,
                                   .ld_key_rows = config(e)->hidden,
                                   .key_rows_grad = e->ddistance,
                                   .q_bias_grad = gradient(e, p, P_R_W_BIAS, l),
                                   .position_bias_grad = gradient(e, p, P_R_R_BIAS, l),
                                   .segment_bias_grad = gradient(e, p, P_R_S_BIAS, l),
                                   .segment_grad = gradient(e, p, P_SEGMENT, l)};
}

/* A head's attention of all titles. */
struct attend {
    struct encoder_train *e;
    const struct encoder_pass *p;
    struct saved *s;
    struct attention attention;
    struct attention_back gradients;
    int32_t l;
    bool few, back; /* few: one query a title, e->q */
};

static void attend_title(const struct attend *a, int h, int32_t t, int thread)
{
    struct encoder_train *e = a->e;
    const struct batch *b = a->p->batch;
    int c = config(e)->hidden, from = b->start[t], len = b->start[t + 1] - from;
    const float *k = a->s->qkv + (size_t)from * 3 * (size_t)c + c;
    float *dk = e->dqkv + (size_t)from * 3 * (size_t)c + c;
    float *p = a->s->p + (size_t)h * e->p_start[b->n] + e->p_start[t];
    struct row_drop d = drop_at(a->p, a->p->dropout.attention, a->l, SITE_ATTENTION, NULL);
    struct attention_dropout drop = {d.p, d.seed, d.step, 0};
    if (d.p > 0.0f)
        drop.row = a->p->title_key[t] * (uint32_t)(config(e)->heads * e->max_tokens);
    size_t at = (size_t)(a->few ? t : from) * (size_t)c;
    const float *q = a->few ? e->q + at : k - c;
    float *dq = a->few ? e->dq + at : dk - c;
    int ldq = a->few ? c : 3 * c, n_q = a->few ? 1 : len,
        first = a->few ? head_row(e, b, t) - from : 0;
    if (a->back)
        attention_back(&a->attention, &a->gradients, h, q, ldq, n_q, first, k, k + c, 3 * c, len, p,
                       &drop, e->dcontext + at, c, dq, ldq, dk, dk + c, 3 * c, e->scratch[thread]);
    else
        attention_train(&a->attention, h, q, ldq, n_q, first, k, k + c, 3 * c, len,
                        a->s->context + at, c, p, &drop, e->scratch[thread]);
}

static void attend_head(void *arg, int h, int thread)
{
    const struct attend *a = arg;
    for (int32_t t = 0; t < a->p->batch->n; t++)
        attend_title(a, h, t, thread);
}

static void attend(struct encoder_train *e, const struct encoder_pass *p, int32_t l, bool back)
{
    const struct batch *b = p->batch;
    struct attend a = {e, p, &e->saved[l], .l = l, .few = is_few(e, p, l), .back = back};
    a.attention = attention_of(e, p, l);
    a.gradients = gradients_of(e, p, l);
    e->p_start[0] = 0;
    for (int32_t t = 0; t < b->n; t++) {
        int len = b->start[t + 1] - b->start[t];
        e->p_start[t + 1] =
            e->p_start[t] + (size_t)(a.few ? 1 : len) * (size_t)attention_columns(len);
    }
    pool_run(e->pool, config(e)->heads, attend_head, &a);
}

/* Rows of titles: x [ids, C] to few [titles, C]. */
static void gather(const struct encoder_train *e, const struct batch *b, const float *x, float *few)
{
    size_t c = (size_t)config(e)->hidden;
    for (int32_t t = 0; t < b->n; t++)
        memcpy(few + (size_t)t * c, x + (size_t)head_row(e, b, t) * c, c * sizeof *x);
}

/* A matrix's rows from `from` on: K and V behind Q. */
static struct linear_weight part(struct linear_weight w, int from, int o)
{
    size_t at = (size_t)from * (size_t)w.k;
    return (struct linear_weight){w.w + at, w.wb ? w.wb + at : NULL, o, w.k, false};
}

static const enum param matrices[] = {P_Q_W, P_K_W, P_V_W};

static void own_projections(struct encoder_train *e, const struct encoder_pass *p, int32_t l)
{
    struct saved *s = &e->saved[l];
    int n = p->batch->start[p->batch->n], c = config(e)->hidden;
    bool few = is_few(e, p, l);
    for (int i = few ? 1 : 0; i < 3; i++)
        linear_forward(e->products, s->x, c, n, own_matrix(e, p, matrices[i], l), NULL,
                       s->qkv + (size_t)i * (size_t)c, 3 * c);
    if (few)
        linear_forward(e->products, e->rest, c, p->batch->n, own_matrix(e, p, P_Q_W, l), NULL, e->q,
                       c);
}

void encoder_train_attend(struct encoder_train *e, const struct encoder_pass *p, int32_t l)
{
    struct saved *s = &e->saved[l];
    const struct batch *b = p->batch;
    int n = b->start[b->n], c = config(e)->hidden;
    struct linear_weight w = matrix(e, p, P_Q_W, l, 3 * c, c);
    const float *bias = weight(e, p, P_Q_B, l);
    if (is_few(e, p, l))
        gather(e, b, s->x, e->rest);
    if (is_xlnet(e)) {
        own_projections(e, p, l);
    } else if (is_few(e, p, l)) {
        linear_forward(e->products, s->x, c, n, part(w, c, 2 * c), bias + c, s->qkv + c, 3 * c);
        linear_forward(e->products, e->rest, c, b->n, part(w, 0, c), bias, e->q, c);
    } else {
        linear_forward(e->products, s->x, c, n, w, bias, s->qkv, 3 * c);
    }
    attend(e, p, l, false);
}

static void own_projections_back(struct encoder_train *e, const struct encoder_pass *p, int32_t l)
{
    struct saved *s = &e->saved[l];
    int n = p->batch->start[p->batch->n], c = config(e)->hidden;
    bool few = is_few(e, p, l);
    for (int i = few ? 1 : 0; i < 3; i++)
        linear_backward(e->products, s->x, c, e->dqkv + (size_t)i * (size_t)c, 3 * c, n,
                        own_matrix(e, p, matrices[i], l), gradient(e, p, matrices[i], l), NULL,
                        e->dx, c, !few || i > 1);
    if (few)
        linear_backward(e->products, e->rest, c, e->dq, c, p->batch->n, own_matrix(e, p, P_Q_W, l),
                        gradient(e, p, P_Q_W, l), NULL, e->drest, c, true);
    linear_backward(e->exact, e->positions, c, e->ddistance, c, distances(e),
                    own_matrix(e, p, P_R_W, l), gradient(e, p, P_R_W, l), NULL, NULL, 0, false);
}

static void projections_back(struct encoder_train *e, const struct encoder_pass *p, int32_t l)
{
    struct saved *s = &e->saved[l];
    int n = p->batch->start[p->batch->n], c = config(e)->hidden;
    struct linear_weight w = matrix(e, p, P_Q_W, l, 3 * c, c);
    float *dw = gradient(e, p, P_Q_W, l), *db = gradient(e, p, P_Q_B, l);
    if (!is_few(e, p, l)) {
        linear_backward(e->products, s->x, c, e->dqkv, 3 * c, n, w, dw, db, e->dx, c, true);
        return;
    }
    linear_backward(e->products, s->x, c, e->dqkv + c, 3 * c, n, part(w, c, 2 * c),
                    dw + (size_t)c * (size_t)c, db + c, e->dx, c, false);
    linear_backward(e->products, e->rest, c, e->dq, c, p->batch->n, part(w, 0, c), dw, db, e->drest,
                    c, true);
}

void encoder_train_attend_back(struct encoder_train *e, const struct encoder_pass *p, int32_t l)
{
    const struct batch *b = p->batch;
    int c = config(e)->hidden;
    if (is_xlnet(e))
        memset(e->ddistance, 0, (size_t)distances(e) * (size_t)c * sizeof *e->ddistance);
    attend(e, p, l, true);
    (is_xlnet(e) ? own_projections_back : projections_back)(e, p, l);
    for (int32_t t = 0; t < b->n && is_few(e, p, l); t++) {
        float *to = e->dx + (size_t)head_row(e, b, t) * (size_t)c;
        rows()->add(to, to, e->drest + (size_t)t * (size_t)c, c);
    }
}
