#include "models/trainable.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "models/checkpoint.h"

enum { ALIGN = 16 /* floats */ };

/* Of each stack one line for what is there once, and one for each layer of the longer stack. */
static size_t lines(const struct trainable *t)
{
    return 1 + (size_t)(t->layers[0] > t->layers[1] ? t->layers[0] : t->layers[1]);
}

static size_t place_at(const struct trainable *t, enum stack stack, enum param which, int32_t layer)
{
    size_t line = which < P_FIRST_OF_LAYER ? 0 : (size_t)layer + 1;
    return ((size_t)stack * lines(t) + line) * PARAMS + (size_t)which;
}

size_t trainable_at(const struct trainable *t, enum stack stack, enum param which, int32_t layer)
{
    return t->at[place_at(t, stack, which, layer)];
}

static bool is_norm(enum param which)
{
    switch (which) {
    case P_EMB_NORM_W:
    case P_EMB_NORM_B:
    case P_FINAL_NORM_W:
    case P_ATT_NORM_W:
    case P_ATT_NORM_B:
    case P_OUT_NORM_W:
    case P_OUT_NORM_B:
    case P_CROSS_NORM_W:
    case P_MASK_NORM_W:
    case P_MASK_NORM_B:
        return true;
    default:
        return false;
    }
}

static void add(void *arg, const struct param_place *p)
{
    struct trainable *t = arg;
    struct trainable_tensor *to = &t->tensors[t->n];
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->tensors[i].name, p->name) == 0)
            return; /* shared: trainable_open() gives it its places */
    *to = (struct trainable_tensor){.name = xstrdup(p->name),
                                    .which = p->which,
                                    .stack = p->stack,
                                    .layer = p->layer,
                                    .n_dims = p->n_dims,
                                    .size = 1,
                                    .decay = !is_norm(p->which) && p->which != P_MASK_EMB &&
                                             strstr(p->name, "bias") == NULL};
    for (int i = 0; i < p->n_dims; i++) {
        to->dims[i] = p->dims[i];
        to->size *= (size_t)p->dims[i];
    }
    t->parameters += (int64_t)to->size;
    t->n++;
}

static void count(void *arg, const struct param_place *p)
{
    (void)p;
    ++*(size_t *)arg;
}

static void point(void *arg, const struct param_place *p)
{
    struct trainable *t = arg;
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->tensors[i].name, p->name) == 0)
            t->at[place_at(t, p->stack, p->which, p->layer)] = t->tensors[i].offset;
}

/* Within a layer: the three matrices of attention, their biases, the rest as the table has it. */
static int rank(enum param which)
{
    static const enum param first[] = {P_Q_W, P_K_W, P_V_W, P_Q_B, P_K_B, P_V_B};
    for (int i = 0; i < 6; i++)
        if (first[i] == which)
            return i;
    return 6 + (int)which;
}

static int by_place(const void *a, const void *b)
{
    const struct trainable_tensor *x = a, *y = b;
    bool once_x = x->which < P_FIRST_OF_LAYER, once_y = y->which < P_FIRST_OF_LAYER;
    if (x->stack != y->stack)
        return x->stack < y->stack ? -1 : 1;
    if (once_x != once_y)
        return once_x ? -1 : 1;
    if (x->layer != y->layer)
        return x->layer < y->layer ? -1 : 1;
    return rank(x->which) - rank(y->which);
}

static bool joins(enum param which)
{
    return which == P_K_W || which == P_V_W || which == P_K_B || which == P_V_B;
}

struct trainable *trainable_open(const struct transformer_config *cfg)
{
    struct trainable *t = xcalloc(1, sizeof *t);
    size_t most = 0;
    t->cfg = *cfg;
    t->layers[STACK_ENCODER] = params_layers(cfg);
    t->layers[STACK_DECODER] = cfg->family == FAMILY_T5 ? cfg->decoder_layers : 0;
    params_each(cfg, count, &most);
    t->tensors = xcalloc(most, sizeof *t->tensors);
    params_each(cfg, add, t);
    qsort(t->tensors, t->n, sizeof *t->tensors, by_place);
    for (size_t i = 0; i < t->n; i++) {
        if (!joins(t->tensors[i].which))
            t->size = (t->size + ALIGN - 1) / ALIGN * ALIGN;
        t->tensors[i].offset = t->size;
        t->size += t->tensors[i].size;
    }
    size_t places = STACKS * lines(t) * PARAMS;
    t->at = xmalloc(places * sizeof *t->at);
    for (size_t i = 0; i < places; i++)
        t->at[i] = SIZE_MAX;
    params_each(cfg, point, t);
    return t;
}

void trainable_close(struct trainable *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        free(t->tensors[i].name);
    free(t->tensors);
    free(t->at);
    free(t);
}

static uint64_t stream_of(const char *name)
{
    uint64_t h = 14695981039346656037ULL; /* FNV-1a */
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 1099511628211ULL;
    return h;
}

/* T5PreTrainedModel's, with its factor 1. */
static double t5_deviation(const struct transformer_config *c, enum param which)
{
    double d = c->hidden, key = c->head_size;
    switch (which) {
    case P_WORD:
        return 1;
    case P_Q_W:
    case P_CROSS_Q_W:
        return 1 / sqrt(d * key);
    case P_O_W:
    case P_CROSS_O_W:
        return 1 / sqrt((double)c->heads * key);
    case P_OUTER_W:
        return 1 / sqrt((double)c->inner);
    default:
        return 1 / sqrt(d);
    }
}

static bool is_scale(enum param which)
{
    return is_norm(which) && which != P_EMB_NORM_B && which != P_ATT_NORM_B &&
           which != P_OUT_NORM_B && which != P_MASK_NORM_B;
}

static void init_tensor(const struct trainable *t, const struct trainable_tensor *x, uint64_t seed,
                        double deviation, float *w)
{
    uint64_t stream = stream_of(x->name);
    bool xlnet_vector = x->which == P_R_W_BIAS || x->which == P_R_R_BIAS || x->which == P_R_S_BIAS;
    for (size_t i = 0; i < x->size; i++)
        if (is_scale(x->which))
            w[i] = 1.0f;
        else if (x->n_dims == 1 && !xlnet_vector)
            w[i] = 0.0f;
        else
            w[i] = (float)(deviation * rng_normal(seed, stream, i));
    /* [PAD] is no word. */
    if (x->which == P_WORD && t->cfg.family != FAMILY_T5 && t->cfg.family != FAMILY_XLNET)
        memset(w, 0, (size_t)x->dims[1] * sizeof *w);
}

void trainable_init(const struct trainable *t, uint64_t seed, double deviation, const bool *fresh,
                    float *w)
{
    if (!fresh)
        memset(w, 0, t->size * sizeof *w); /* what aligns, too */
    for (size_t i = 0; i < t->n; i++) {
        const struct trainable_tensor *x = &t->tensors[i];
        double d = t->cfg.family == FAMILY_T5 ? t5_deviation(&t->cfg, x->which) : deviation;
        if (!fresh || fresh[i])
            init_tensor(t, x, seed, d, w + x->offset);
    }
}

static enum head own_head(enum family f)
{
    switch (f) {
    case FAMILY_ELECTRA:
        return HEAD_ELECTRA;
    case FAMILY_XLNET:
        return HEAD_SUMMARY;
    case FAMILY_T5:
        return HEAD_T5;
    default:
        return HEAD_POOLED;
    }
}

static bool is_head(enum param which)
{
    return which == P_HEAD_DENSE_W || which == P_HEAD_DENSE_B || which == P_HEAD_W ||
           which == P_HEAD_B;
}

/* Copies what the file has of each tensor. */
static int load(const struct trainable *t, const struct params *p, bool take_head, float *w,
                bool *fresh, struct err *err)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct trainable_tensor *x = &t->tensors[i];
        const struct tensor *from = params_of(p, x->stack, x->which, x->layer);
        fresh[i] = !from || (is_head(x->which) && !take_head);
        if (!fresh[i] && tensor_to_f32(from, w + x->offset, err) != 0)
            return -1;
    }
    return 0;
}

/* Settles cfg's head. */
static int choose_head(struct transformer_config *cfg, const struct head_choice *head, bool *kept,
                       struct err *err)
{
    *kept = !head->masked && head->keep && cfg->head != HEAD_NONE && cfg->labels == head->labels;
    if (head->masked && !params_masks(cfg->family))
        return err_set(err, ERR_USAGE,
                       "models of %s family are not pre-trained by masked words; bert, ernie, "
                       "nezha and albert are",
                       family_name(cfg->family));
    if (!*kept)
        cfg->head = head->masked ? HEAD_MASKED : own_head(cfg->family);
    cfg->labels = head->masked ? 0 : head->labels;
    return 0;
}

static int read_set(const struct tensor_set *set, const json_t *config,
                    const struct head_choice *head, struct trainable **out, float **w, bool **fresh,
                    struct err *err)
{
    struct transformer_config cfg;
    struct params p = {0};
    if (transformer_config_read(config, set, &cfg, err) != 0)
        return err_prefix(err, "config.json");
    if (params_find(set, &cfg, HEAD_NONE, &p, err) != 0)
        return -1;
    bool keep, masked;
    int rc = choose_head(&cfg, head, &keep, err);
    if (rc == 0 && cfg.head == HEAD_POOLED)
        rc = params_find_pooler(set, &cfg, &p, err);
    if (rc == 0 && cfg.head == HEAD_MASKED)
        rc = params_find_masked(set, &cfg, &p, &masked, err);
    if (rc == 0) {
        *out = trainable_open(&cfg);
        *w = xcalloc((*out)->size + 1, sizeof **w);
        *fresh = xcalloc((*out)->n + 1, sizeof **fresh);
        rc = load(*out, &p, keep, *w, *fresh, err);
    }
    params_done(&p);
    return rc;
}

int trainable_read(const char *dir, const json_t *config, const struct head_choice *head,
                   struct trainable **out, float **w, bool **fresh, struct err *err)
{
    struct checkpoint *ck;
    *out = NULL;
    *w = NULL;
    *fresh = NULL;
    if (checkpoint_open(dir, &ck, err) != 0)
        return -1;
    int rc = read_set(checkpoint_tensors(ck), config, head, out, w, fresh, err);
    checkpoint_close(ck);
    if (rc != 0) {
        trainable_close(*out);
        free(*w);
        free(*fresh);
        *out = NULL;
        *w = NULL;
        *fresh = NULL;
    }
    return rc;
}

int trainable_make(const json_t *config, const struct head_choice *head, struct trainable **out,
                   struct err *err)
{
    struct transformer_config cfg;
    bool kept;
    if (transformer_config_read(config, NULL, &cfg, err) != 0)
        return err_prefix(err, "config.json");
    cfg.head = HEAD_NONE;
    if (choose_head(&cfg, head, &kept, err) != 0)
        return -1;
    *out = trainable_open(&cfg);
    return 0;
}
