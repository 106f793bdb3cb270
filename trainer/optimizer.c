#include "trainer/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/adamw.h"
#include "trainer/stepping.h"

#define LOG_MAX ((size_t)1 << 28)

static bool is_head(enum param which)
{
    return which < P_FIRST_OF_LAYER && which >= P_POOL_W;
}

/* Layer-wise decay (Clark et al., arXiv:2003.10555): 1 at the head, one factor a layer down, one more
 * for the embeddings.  T5's decoder stands above its encoder. */
/* Layers of a stack that have weights of their own: ALBERT's are one. */
static int32_t own_layers(const struct trainable *t, int stack)
{
    int32_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        if ((int)t->tensors[i].stack == stack && t->tensors[i].which >= P_FIRST_OF_LAYER &&
            t->tensors[i].layer >= n)
            n = t->tensors[i].layer + 1;
    return n;
}

static void set_rates(struct optimizer *p, double head_rate)
{
    double decay = options_real(p->o, "layer-decay");
    const struct trainable *t = p->t;
    int32_t encoder = own_layers(t, STACK_ENCODER), all = encoder + own_layers(t, STACK_DECODER);
    p->rate = xcalloc(t->n, sizeof *p->rate);
    for (size_t i = 0; i < t->n; i++) {
        const struct trainable_tensor *x = &t->tensors[i];
        int32_t height = x->which < P_FIRST_OF_LAYER
                             ? (x->stack == STACK_DECODER ? encoder : -1)
                             : x->layer + (x->stack == STACK_DECODER ? encoder : 0);
        if (x->which == P_FINAL_NORM_W)
            height = x->stack == STACK_DECODER ? all - 1 : encoder - 1;
        p->rate[i] = (float)(is_head(x->which) ? head_rate : pow(decay, (double)(all - height)));
    }
}

void optimizer_open(struct optimizer *p, const struct options *o, const struct trainable *t,
                    float *w, size_t titles, double head_rate, struct pool *pool)
{
    int64_t batch = options_int(o, "batch");
    size_t size = t->size;
    *p = (struct optimizer){.o = o, .t = t, .pool = pool, .ema = options_real(o, "ema")};
    p->steps = ((int64_t)titles + batch - 1) / batch;
    p->total = p->steps * options_int(o, "epochs");
    p->warmup = (int64_t)ceil(options_real(o, "warmup-share") * (double)p->total);
    p->g = xcalloc(size, sizeof *p->g);
    p->c = (struct checkpoint){.size = size, .best_loss = INFINITY, .best_accuracy = -1, .w = w};
    p->c.m = xcalloc(size, sizeof(float));
    p->c.v = xcalloc(size, sizeof(float));
    p->c.best = xcalloc(size, sizeof(float));
    if (p->ema > 0) {
        p->c.ema = xmalloc(size * sizeof(float));
        memcpy(p->c.ema, w, size * sizeof(float));
    }
    set_rates(p, head_rate);
    buf_init(&p->c.log, LOG_MAX);
}

void optimizer_close(struct optimizer *p)
{
    void *const parts[] = {p->g, p->rate, p->c.w, p->c.m, p->c.v, p->c.best, p->c.ema};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
    buf_done(&p->c.log);
}

const float *optimizer_weights(const struct optimizer *p)
{
    return p->c.ema ? p->c.ema : p->c.w;
}

static const char *bad_tensor(const struct trainable *t, const float *block)
{
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = 0; k < t->tensors[i].size; k++)
            if (!isfinite(block[t->tensors[i].offset + k]))
                return t->tensors[i].name;
    return NULL;
}

int optimizer_check(const struct optimizer *p, struct err *err)
{
    const char *bad = bad_tensor(p->t, p->c.w);
    return !bad ? 0
                : err_set(err, ERR_NUMERIC,
                          "iteration %lld: %s holds what is not a number; try a smaller --lr (it "
                          "is %s), a longer --warmup-share or --precision fp32",
                          (long long)p->c.iteration, bad, options_str(p->o, "lr"));
}

float optimizer_rate(const struct optimizer *p)
{
    return stepping_rate(p->o, p->c.iteration, p->warmup, p->total);
}

enum product_type optimizer_precision(const struct options *o)
{
    const char *precision = options_str(o, "precision");
    return strcmp(precision, "fp32") != 0 && product_has(PRODUCT_BF16) ? PRODUCT_BF16
                                                                       : PRODUCT_FP32;
}

const char *optimizer_precision_told(const struct options *o)
{
    if (optimizer_precision(o) == PRODUCT_BF16)
        return "bf16";
    return strcmp(options_str(o, "precision"), "bf16") == 0
               ? "fp32 (--precision bf16: this processor does not multiply it)"
               : "fp32";
}

void optimizer_set_dropout(const struct options *o, struct dropout_rates *drop)
{
    if (options_str(o, "hidden-dropout"))
        drop->hidden = drop->head = drop->head_in = (float)options_real(o, "hidden-dropout");
    if (options_str(o, "attention-dropout"))
        drop->attention = (float)options_real(o, "attention-dropout");
}

static void update(struct optimizer *p, double norm)
{
    double clip = options_real(p->o, "clip");
    float lr = optimizer_rate(p), decay = (float)options_real(p->o, "weight-decay");
    bool corrects = strcmp(options_str(p->o, "optimizer"), "bertadam") != 0;
    struct adamw base = {.beta1 = 0.9f,
                         .beta2 = 0.999f,
                         .eps = (float)options_real(p->o, "adam-epsilon"),
                         .grad_scale = clip > 0 && norm > clip ? (float)(clip / norm) : 1.0f};
    for (size_t i = 0; i < p->t->n; i++) {
        const struct trainable_tensor *x = &p->t->tensors[i];
        base.lr = lr * p->rate[i];
        base.weight_decay = x->decay ? decay : 0;
        struct adamw at = adamw_at(&base, p->c.iteration + 1);
        if (!corrects)
            at.correct1 = at.correct2 = 1;
        adamw_step(&at, p->c.w + x->offset, p->g + x->offset, p->c.m + x->offset,
                   p->c.v + x->offset, x->size, p->pool);
    }
}

int optimizer_step(struct optimizer *p, double loss, struct err *err)
{
    double norm = grad_norm(p->g, p->c.size, p->pool);
    if (!isfinite(loss) || !isfinite(norm)) {
        const char *bad = bad_tensor(p->t, p->g);
        return err_set(err, ERR_NUMERIC,
                       "iteration %lld: the training loss is %g%s%s; try a smaller --lr (it is "
                       "%s), a longer --warmup-share or --precision fp32",
                       (long long)p->c.iteration + 1, loss,
                       bad ? ", and not a number is the gradient of " : "", bad ? bad : "",
                       options_str(p->o, "lr"));
    }
    update(p, norm);
    p->c.iteration++;
    stepping_average(&p->c, p->ema, p->pool);
    return 0;
}
