/* Inside of models/encoder_train*.c: what the parts of the encoder in training share. */
#ifndef MODELS_ENCODER_TRAIN_PARTS_H
#define MODELS_ENCODER_TRAIN_PARTS_H

#include "models/encoder_train.h"
#include "models/train_passes.h"
#include "ops/attention_back.h"

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
    float *sinusoids, *positions; /* XLNet's, by distance [2 max_tokens - 1, C], and dropped */
    float *distance, *ddistance;  /* their projections in a layer, and gradients */
    uint32_t *distance_key;
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

static inline const struct transformer_config *config(const struct encoder_train *e)
{
    return &e->t->cfg;
}

static inline const float *weight(const struct encoder_train *e, const struct encoder_pass *p,
                                  enum param which, int32_t l)
{
    size_t at = trainable_at(e->t, STACK_ENCODER, which, l);
    return at == SIZE_MAX ? NULL : p->w + at;
}

static inline float *gradient(const struct encoder_train *e, const struct encoder_pass *p,
                              enum param which, int32_t l)
{
    size_t at = trainable_at(e->t, STACK_ENCODER, which, l);
    return at == SIZE_MAX || !p->g ? NULL : p->g + at;
}

static inline struct linear_weight matrix(const struct encoder_train *e,
                                          const struct encoder_pass *p, enum param which, int32_t l,
                                          int o, int k)
{
    size_t at = trainable_at(e->t, STACK_ENCODER, which, l);
    return (struct linear_weight){p->w + at, p->wb ? p->wb + at : NULL, o, k, false};
}

static inline struct row_norm norm_of(const struct encoder_train *e, const struct encoder_pass *p,
                                      enum param w, enum param b, int32_t l)
{
    return (struct row_norm){weight(e, p, w, l), weight(e, p, b, l), gradient(e, p, w, l),
                             gradient(e, p, b, l), (float)config(e)->eps};
}

static inline struct row_drop drop_at(const struct encoder_pass *p, float rate, int32_t l,
                                      enum site site, const uint32_t *key)
{
    return (struct row_drop){rate, p->dropout.seed,
                             p->dropout.step << 16 | (uint64_t)((l + 1) * SITES + (int)site), key};
}

static inline int32_t head_row(const struct encoder_train *e, const struct batch *b, int32_t t)
{
    return config(e)->family == FAMILY_XLNET ? b->start[t + 1] - 1 : b->start[t];
}

static inline bool is_few(const struct encoder_train *e, const struct encoder_pass *p, int32_t l)
{
    return l == e->layers - 1 && !p->all_rows;
}

static inline int row_count(const struct encoder_train *e, const struct encoder_pass *p, int32_t l)
{
    return is_few(e, p, l) ? p->batch->n : p->batch->start[p->batch->n];
}

static inline const uint32_t *keys_of(const struct encoder_train *e, const struct encoder_pass *p,
                                      int32_t l)
{
    return is_few(e, p, l) ? e->few_key : p->key;
}

/* The first layer's input from ids, and back from e->dx. */
void encoder_train_embed(struct encoder_train *e, const struct encoder_pass *p);
void encoder_train_embed_back(struct encoder_train *e, const struct encoder_pass *p);

/* Tables of the family's attention, made at open. */
void encoder_train_open_attention(struct encoder_train *e);
/* Layer l's context from its input; and from e->dcontext what is added to e->dx (few: e->dx is set, e->drest
 * added to it). */
void encoder_train_attend(struct encoder_train *e, const struct encoder_pass *p, int32_t l);
void encoder_train_attend_back(struct encoder_train *e, const struct encoder_pass *p, int32_t l);

#endif
