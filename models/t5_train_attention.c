#include "models/t5_train_parts.h"

/* A head's attention of all titles: of a stack to itself, or of the decoder to the encoder. */
struct attend {
    struct t5_train *t;
    const struct encoder_pass *p;
    const struct t5_stack *s;
    const struct attention *attention;
    struct attention_back gradients;
    struct attended *a;
    const int32_t *kv_start;
    int ldq, ldkv;
    float *dq, *dkv;
    struct row_drop drop;
    bool back;
};

static void attend_head(void *arg, int h, int thread)
{
    const struct attend *a = arg;
    struct t5_train *t = a->t;
    size_t w = (size_t)wide(t);
    int32_t titles = a->p->batch->n;
    for (int32_t i = 0; i < titles; i++) {
        int from = a->s->start[i], n = a->s->start[i + 1] - from, kv = a->kv_start[i],
            len = a->kv_start[i + 1] - kv;
        const float *q = a->a->q + (size_t)from * (size_t)a->ldq,
                    *k = a->a->kv + (size_t)kv * (size_t)a->ldkv;
        float *p = a->a->p + (size_t)h * t->p_start[titles] + t->p_start[i],
              *y = a->a->context + (size_t)from * w;
        struct attention_dropout drop = {a->drop.p, a->drop.seed, a->drop.step, 0};
        if (drop.p > 0.0f)
            drop.row = a->p->title_key[i] * (uint32_t)(config(t)->heads * t->max_tokens);
        if (a->back) {
            float *dk = a->dkv + (size_t)kv * (size_t)a->ldkv;
            attention_back(a->attention, &a->gradients, h, q, a->ldq, n, 0, k, k + w, a->ldkv, len,
                           p, &drop, t->dcontext + (size_t)from * w, (int)w,
                           a->dq + (size_t)from * (size_t)a->ldq, a->ldq, dk, dk + w, a->ldkv,
                           t->scratch[thread]);
        } else {
            attention_train(a->attention, h, q, a->ldq, n, 0, k, k + w, a->ldkv, len, y, (int)w, p,
                            &drop, t->scratch[thread]);
        }
    }
}

static void attend(struct attend *a)
{
    struct t5_train *t = a->t;
    int32_t titles = a->p->batch->n;
    t->p_start[0] = 0;
    for (int32_t i = 0; i < titles; i++)
        t->p_start[i + 1] =
            t->p_start[i] + (size_t)(a->s->start[i + 1] - a->s->start[i]) *
                                (size_t)attention_columns(a->kv_start[i + 1] - a->kv_start[i]);
    pool_run(t->pool, config(t)->heads, attend_head, a);
}

static struct attend to_itself(struct t5_train *t, const struct encoder_pass *p, enum stack stack,
                               int32_t l, bool back)
{
    struct t5_stack *s = &t->stacks[stack];
    int w = wide(t);
    return (struct attend){.t = t,
                           .p = p,
                           .s = s,
                           .attention = &s->attention,
                           .gradients = {.distance_bias_grad = s->dbias},
                           .a = &s->saved[l].self,
                           .kv_start = s->start,
                           .ldq = 3 * w,
                           .ldkv = 3 * w,
                           .dq = t->dq,
                           .dkv = t->dq + w,
                           .drop =
                               drop_at(p, p->dropout.attention, s->first + l, SITE_ATTENTION, NULL),
                           .back = back};
}

static struct attend to_encoder(struct t5_train *t, const struct encoder_pass *p, int32_t l,
                                bool back)
{
    struct t5_stack *s = &t->stacks[STACK_DECODER];
    int w = wide(t);
    return (struct attend){.t = t,
                           .p = p,
                           .s = s,
                           .attention = &t->cross,
                           .a = &s->saved[l].cross,
                           .kv_start = t->stacks[STACK_ENCODER].start,
                           .ldq = w,
                           .ldkv = 2 * w,
                           .dq = t->dq,
                           .dkv = t->dkv,
                           .drop = drop_at(p, p->dropout.attention, s->first + l, SITE_CROSS, NULL),
                           .back = back};
}

/* y = x + drop(context · O^T). */
static void add_out(struct t5_train *t, const struct encoder_pass *p, enum stack stack, int32_t l,
                    const struct attended *a, enum param o, int site, float *y)
{
    struct t5_stack *s = &t->stacks[stack];
    int n = row_count(s, p), c = config(t)->hidden, w = wide(t);
    linear_forward(t->products, a->context, w, n, matrix(t, p, stack, o, l, c, w), NULL, y, c);
    pass_add_norm(t->pool, y, NULL, a->x, y, n, c,
                  drop_at(p, p->dropout.hidden, s->first + l, site, s->key), NULL);
}

void t5_train_self(struct t5_train *t, const struct encoder_pass *p, enum stack stack, int32_t l,
                   float *y)
{
    struct t5_stack *s = &t->stacks[stack];
    struct attended *a = &s->saved[l].self;
    int n = row_count(s, p), c = config(t)->hidden, w = wide(t);
    struct row_norm norm = norm_of(t, p, stack, P_ATT_NORM_W, l);
    pass_norm(t->pool, a->n, a->x, n, c, &norm);
    linear_forward(t->products, a->n, c, n, matrix(t, p, stack, P_Q_W, l, 3 * w, c), NULL, a->q,
                   3 * w);
    struct attend it = to_itself(t, p, stack, l, false);
    attend(&it);
    add_out(t, p, stack, l, a, P_O_W, SITE_OUT, y);
}

void t5_train_cross(struct t5_train *t, const struct encoder_pass *p, int32_t l, float *y)
{
    struct t5_stack *s = &t->stacks[STACK_DECODER], *e = &t->stacks[STACK_ENCODER];
    struct attended *a = &s->saved[l].cross;
    int n = row_count(s, p), c = config(t)->hidden, w = wide(t);
    struct row_norm norm = norm_of(t, p, STACK_DECODER, P_CROSS_NORM_W, l);
    pass_norm(t->pool, a->n, a->x, n, c, &norm);
    linear_forward(t->products, a->n, c, n, matrix(t, p, STACK_DECODER, P_CROSS_Q_W, l, w, c), NULL,
                   a->q, w);
    static const enum param kv[] = {P_CROSS_K_W, P_CROSS_V_W};
    for (int i = 0; i < 2; i++)
        linear_forward(t->products, e->out, c, row_count(e, p),
                       matrix(t, p, STACK_DECODER, kv[i], l, w, c), NULL,
                       a->kv + (size_t)i * (size_t)w, 2 * w);
    struct attend it = to_encoder(t, p, l, false);
    attend(&it);
    add_out(t, p, STACK_DECODER, l, a, P_CROSS_O_W, SITE_CROSS_OUT, y);
}

/* dcontext from dx through the output matrix. */
static void out_back(struct t5_train *t, const struct encoder_pass *p, enum stack stack, int32_t l,
                     const struct attended *a, enum param o, int site)
{
    struct t5_stack *s = &t->stacks[stack];
    int n = row_count(s, p), c = config(t)->hidden, w = wide(t);
    pass_drop(t->pool, t->dsum, t->dx, n, c,
              drop_at(p, p->dropout.hidden, s->first + l, site, s->key));
    linear_backward(t->products, a->context, w, t->dsum, c, n, matrix(t, p, stack, o, l, c, w),
                    gradient(t, p, stack, o, l), NULL, t->dcontext, w, false);
}

void t5_train_self_back(struct t5_train *t, const struct encoder_pass *p, enum stack stack,
                        int32_t l)
{
    struct t5_stack *s = &t->stacks[stack];
    struct attended *a = &s->saved[l].self;
    int n = row_count(s, p), c = config(t)->hidden, w = wide(t);
    struct row_norm norm = norm_of(t, p, stack, P_ATT_NORM_W, l);
    out_back(t, p, stack, l, a, P_O_W, SITE_OUT);
    struct attend it = to_itself(t, p, stack, l, true);
    attend(&it);
    linear_backward(t->products, a->n, c, t->dq, 3 * w, n, matrix(t, p, stack, P_Q_W, l, 3 * w, c),
                    gradient(t, p, stack, P_Q_W, l), NULL, t->dn, c, false);
    t5_train_through_norm(t, p, s, a->x, &norm);
}

void t5_train_cross_back(struct t5_train *t, const struct encoder_pass *p, int32_t l)
{
    struct t5_stack *s = &t->stacks[STACK_DECODER], *e = &t->stacks[STACK_ENCODER];
    struct attended *a = &s->saved[l].cross;
    int n = row_count(s, p), c = config(t)->hidden, w = wide(t);
    struct row_norm norm = norm_of(t, p, STACK_DECODER, P_CROSS_NORM_W, l);
    static const enum param kv[] = {P_CROSS_K_W, P_CROSS_V_W};
    out_back(t, p, STACK_DECODER, l, a, P_CROSS_O_W, SITE_CROSS_OUT);
    struct attend it = to_encoder(t, p, l, true);
    attend(&it);
    for (int i = 0; i < 2; i++)
        linear_backward(t->products, e->out, c, t->dkv + (size_t)i * (size_t)w, 2 * w,
                        row_count(e, p), matrix(t, p, STACK_DECODER, kv[i], l, w, c),
                        gradient(t, p, STACK_DECODER, kv[i], l), NULL, t->dencoder, c, true);
    linear_backward(t->products, a->n, c, t->dq, w, n,
                    matrix(t, p, STACK_DECODER, P_CROSS_Q_W, l, w, c),
                    gradient(t, p, STACK_DECODER, P_CROSS_Q_W, l), NULL, t->dn, c, false);
    t5_train_through_norm(t, p, s, a->x, &norm);
}
