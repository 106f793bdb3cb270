/* Inside of models/t5_train*.c: what the parts of T5 in training share. */
#ifndef MODELS_T5_TRAIN_PARTS_H
#define MODELS_T5_TRAIN_PARTS_H

#include "models/t5_train.h"
#include "models/train_passes.h"
#include "ops/attention_back.h"

/* Dropout's places within a layer. */
enum site {
    SITE_ATTENTION,
    SITE_OUT,
    SITE_CROSS,
    SITE_CROSS_OUT,
    SITE_INNER,
    SITE_OUTER,
    SITES = 8
};

/* A step of attention, its norm before it. */
struct attended {
    float *x;      /* [n, C] the residual stream before it */
    float *n;      /* [n, C] behind the norm */
    float *q, *kv; /* [n, 3 A] of self-attention: kv is q + A; of the other [n, A] and [ids, 2 A] */
    float *p;      /* probabilities */
    float *context; /* [n, A] */
};

struct saved {
    struct attended self, cross;
    float *x, *n;    /* [n, C] of the feed-forward step */
    float *h, *gate; /* [n, F] before the activation */
};

struct t5_stack {
    int32_t layers, first; /* first: number of the first layer, for dropout */
    struct attention attention;
    float *bias, *dbias; /* [heads][2 max_tokens - 1] */
    struct saved *saved; /* [layers] */
    float *last;         /* [n, C] the stream behind the last layer */
    float *out;          /* [n, C] behind the last norm */
    /* What it reads. */
    int32_t *ids, *start; /* [n], [titles + 1] */
    uint32_t *key;        /* [n] */
};

struct t5_train {
    const struct trainable *t;
    struct linear *products;
    struct pool *pool;
    int32_t max_titles, max_ids, max_tokens;
    bool recompute;
    struct attention cross;
    struct t5_stack stacks[STACKS];
    float *act, *features;
    /* of the way back */
    float *dx, *dn, *dsum, *dencoder; /* [ids, C] */
    float *dcontext;                  /* [ids, A] */
    float *dq, *dkv;                  /* [ids, 3 A], [ids, 2 A] */
    float *da, *dh, *dgate;           /* [ids, F] */
    float *statistics;
    size_t *p_start;
    float **scratch;
};

static inline const struct transformer_config *config(const struct t5_train *t)
{
    return &t->t->cfg;
}

static inline int wide(const struct t5_train *t)
{
    return config(t)->heads * config(t)->head_size;
}

static inline const float *weight(const struct t5_train *t, const struct encoder_pass *p,
                                  enum stack stack, enum param which, int32_t l)
{
    return p->w + trainable_at(t->t, stack, which, l);
}

static inline float *gradient(const struct t5_train *t, const struct encoder_pass *p,
                              enum stack stack, enum param which, int32_t l)
{
    return p->g ? p->g + trainable_at(t->t, stack, which, l) : NULL;
}

static inline struct linear_weight matrix(const struct t5_train *t, const struct encoder_pass *p,
                                          enum stack stack, enum param which, int32_t l, int o,
                                          int k)
{
    size_t at = trainable_at(t->t, stack, which, l);
    return (struct linear_weight){p->w + at, p->wb ? p->wb + at : NULL, o, k, false};
}

static inline struct row_norm norm_of(const struct t5_train *t, const struct encoder_pass *p,
                                      enum stack stack, enum param which, int32_t l)
{
    return (struct row_norm){weight(t, p, stack, which, l), NULL, gradient(t, p, stack, which, l),
                             NULL, (float)config(t)->eps};
}

/* l is the layer's number over both stacks; -1 before the encoder's first, all layers behind the last. */
static inline struct row_drop drop_at(const struct encoder_pass *p, float rate, int32_t l, int site,
                                      const uint32_t *key)
{
    return (struct row_drop){rate, p->dropout.seed,
                             p->dropout.step << 16 | (uint64_t)((l + 1) * (int32_t)SITES + site),
                             key};
}

static inline int row_count(const struct t5_stack *s, const struct encoder_pass *p)
{
    return s->start[p->batch->n];
}

/* t->dx is the gradient of a step's output: what passes by the step stays, and what went through its norm,
 * from t->dn, is added. */
void t5_train_through_norm(struct t5_train *t, const struct encoder_pass *p,
                           const struct t5_stack *s, const float *x, const struct row_norm *norm);

/* The two kinds of attention, into y; back from t->dx and into it. */
void t5_train_self(struct t5_train *t, const struct encoder_pass *p, enum stack stack, int32_t l,
                   float *y);
void t5_train_cross(struct t5_train *t, const struct encoder_pass *p, int32_t l, float *y);
void t5_train_self_back(struct t5_train *t, const struct encoder_pass *p, enum stack stack,
                        int32_t l);
void t5_train_cross_back(struct t5_train *t, const struct encoder_pass *p, int32_t l);

#endif
