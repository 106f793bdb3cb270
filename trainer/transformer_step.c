#include "trainer/transformer_step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/adamw.h"
#include "trainer/processes.h"
#include "trainer/stepping.h"

#define LOG_MAX ((size_t)1 << 28)

static bool is_head(enum param which)
{
    return which == P_POOL_W || which == P_POOL_B || which == P_HEAD_DENSE_W ||
           which == P_HEAD_DENSE_B || which == P_HEAD_W || which == P_HEAD_B;
}

/* Layer-wise decay (Clark et al., arXiv:2003.10555): 1 at the head, one factor a layer down, one more
 * for the embeddings.  T5's decoder stands above its encoder. */
static void set_rates(struct transformer_step *s)
{
    const struct options *o = s->f->o;
    double decay = options_real(o, "layer-decay"), head = options_real(o, "head-lr"),
           lr = options_real(o, "lr");
    const struct trainable *t = s->t;
    int32_t encoder = t->layers[STACK_ENCODER], all = encoder + t->layers[STACK_DECODER];
    s->rate = xcalloc(t->n, sizeof *s->rate);
    for (size_t i = 0; i < t->n; i++) {
        const struct trainable_tensor *x = &t->tensors[i];
        int32_t height = x->which < P_FIRST_OF_LAYER
                             ? (x->stack == STACK_DECODER ? encoder : -1)
                             : x->layer + (x->stack == STACK_DECODER ? encoder : 0);
        if (x->which == P_FINAL_NORM_W)
            height = x->stack == STACK_DECODER ? all - 1 : encoder - 1;
        double factor = pow(decay, (double)(all - height));
        s->rate[i] = (float)(is_head(x->which) ? (head > 0 ? head / lr : 1) : factor);
    }
}

static void set_class_weights(struct transformer_step *s)
{
    const struct dataset *d = &s->f->corpus.train;
    int32_t n = s->f->corpus.classes.n;
    if (strcmp(options_str(s->f->o, "class-weights"), "balanced") != 0)
        return;
    s->class_weights = xcalloc((size_t)n, sizeof *s->class_weights);
    for (size_t i = 0; i < d->n; i++)
        s->class_weights[d->labels[i]] += 1;
    for (int32_t c = 0; c < n; c++)
        s->class_weights[c] =
            s->class_weights[c] > 0 ? (float)d->n / ((float)n * s->class_weights[c]) : 1.0f;
}

static enum product_type type_of(const struct fit *f)
{
    const char *precision = options_str(f->o, "precision");
    return strcmp(precision, "fp32") != 0 && product_has(PRODUCT_BF16) ? PRODUCT_BF16
                                                                       : PRODUCT_FP32;
}

void transformer_step_open(struct transformer_step *s, const struct fit *f,
                           const struct trainable *t, float *w, const struct dropout_rates *drop,
                           int32_t max_tokens, int32_t max_titles)
{
    const struct options *o = f->o;
    *s = (struct transformer_step){.f = f, .t = t, .order_epoch = -1, .max_tokens = max_tokens};
    s->seed = (uint64_t)options_int(o, "seed");
    s->batch = (int32_t)options_int(o, "batch");
    s->part = (int32_t)options_int(o, "micro-batch");
    if (s->part == 0 || s->part > s->batch) /* a part for each process */
        s->part = (s->batch + processes_count() - 1) / processes_count();
    s->ema = options_real(o, "ema");
    s->steps = ((int64_t)f->corpus.train.n + s->batch - 1) / s->batch;
    s->total = s->steps * options_int(o, "epochs");
    s->warmup = (int64_t)ceil(options_real(o, "warmup-share") * (double)s->total);
    int32_t twice = options_real(o, "r-drop") > 0 ? 2 : 1, titles = twice * s->part;
    titles = titles > max_titles ? titles : max_titles;
    struct transformer_train_options opt = {.type = type_of(f),
                                            .max_titles = titles,
                                            .max_ids = titles * max_tokens,
                                            .max_tokens = max_tokens,
                                            .recompute = options_bool(o, "recompute"),
                                            .dropout = *drop};
    s->tt = transformer_train_open(t, &opt, f->pool);
    size_t size = t->size, room = (size_t)titles;
    s->g = xmalloc(size * sizeof *s->g);
    s->order = xmalloc(f->corpus.train.n * sizeof *s->order);
    s->ids = xmalloc(room * (size_t)max_tokens * sizeof *s->ids);
    s->start = xmalloc((room + 1) * sizeof *s->start);
    s->labels = xmalloc(room * sizeof *s->labels);
    s->c = (struct checkpoint){.size = size, .best_loss = INFINITY, .best_accuracy = -1, .w = w};
    s->c.m = xcalloc(size, sizeof(float));
    s->c.v = xcalloc(size, sizeof(float));
    s->c.best = xcalloc(size, sizeof(float));
    if (s->ema > 0) {
        s->c.ema = xmalloc(size * sizeof(float));
        memcpy(s->c.ema, w, size * sizeof(float));
    }
    size_t words = trainable_at(t, STACK_ENCODER, P_WORD, 0);
    if (options_real(o, "fgm") > 0)
        for (size_t i = 0; i < t->n; i++)
            if (t->tensors[i].offset == words)
                s->words = xmalloc(t->tensors[i].size * sizeof *s->words);
    set_rates(s);
    set_class_weights(s);
    buf_init(&s->c.log, LOG_MAX);
}

void transformer_step_close(struct transformer_step *s)
{
    void *const parts[] = {s->g,   s->words,  s->rate,   s->class_weights, s->order,
                           s->ids, s->start,  s->labels, s->c.w,           s->c.m,
                           s->c.v, s->c.best, s->c.ema};
    transformer_train_close(s->tt);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
    buf_done(&s->c.log);
}

const float *transformer_step_weights(const struct transformer_step *s)
{
    return s->c.ema ? s->c.ema : s->c.w;
}

static const char *bad_tensor(const struct trainable *t, const float *block)
{
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = 0; k < t->tensors[i].size; k++)
            if (!isfinite(block[t->tensors[i].offset + k]))
                return t->tensors[i].name;
    return NULL;
}

int transformer_step_check(const struct transformer_step *s, struct err *err)
{
    const char *bad = bad_tensor(s->t, s->c.w);
    return !bad ? 0
                : err_set(err, ERR_NUMERIC,
                          "iteration %lld: %s holds what is not a number; try a smaller --lr (it "
                          "is %s), a longer --warmup-share or --precision fp32",
                          (long long)s->c.iteration, bad, options_str(s->f->o, "lr"));
}

float transformer_step_rate(const struct transformer_step *s)
{
    return stepping_rate(s->f->o, s->c.iteration, s->warmup, s->total);
}

static void order_titles(struct transformer_step *s)
{
    int64_t epoch = s->c.iteration / s->steps;
    if (epoch == s->order_epoch)
        return;
    stepping_order(s->order, s->f->corpus.train.n, s->seed, epoch);
    s->order_epoch = epoch;
}

/* The weights have changed, or others are asked about. */
static void show_weights(struct transformer_step *s, const float *w, bool changed)
{
    if (changed || s->current != w)
        transformer_train_weights(s->tt, w);
    s->current = w;
}

/* Titles `from` .. `from + n` of the step's batch; with R-Drop each of them twice. */
static struct batch part_of(struct transformer_step *s, size_t first, int32_t from, int32_t n,
                            bool twice)
{
    packed_pick(&s->f->train, s->order + first + from, n, s->ids, s->start, s->labels);
    if (twice) {
        int32_t len = s->start[n];
        memcpy(s->ids + len, s->ids, (size_t)len * sizeof *s->ids);
        memcpy(s->labels + n, s->labels, (size_t)n * sizeof *s->labels);
        for (int32_t i = 0; i <= n; i++)
            s->start[n + i] = len + s->start[i];
        n *= 2;
    }
    return (struct batch){.ids = s->ids, .start = s->start, .labels = s->labels, .n = n};
}

/* Gradients of the whole batch are added to s->g. */
static struct train_result all_parts(struct transformer_step *s, size_t first, int32_t count,
                                     uint64_t pass)
{
    struct train_result sum = {0}, one;
    struct loss loss = {.smoothing = (float)options_real(s->f->o, "label-smoothing"),
                        .class_weights = s->class_weights,
                        .scale = 1.0f / (float)count,
                        .r_drop = (float)options_real(s->f->o, "r-drop"),
                        .second = (uint32_t)s->batch};
    bool twice = loss.r_drop > 0;
    for (int32_t from = 0, number = 0; from < count; from += s->part, number++) {
        if (number % processes_count() != processes_rank())
            continue;
        int32_t n = count - from < s->part ? count - from : s->part;
        struct batch b = part_of(s, first, from, n, twice);
        transformer_train_gradients(s->tt, s->c.w, s->g, &b, &loss, s->seed,
                                    (uint64_t)s->c.iteration * 2 + pass, (uint32_t)from, &one);
        sum.loss += one.loss;
        sum.correct += one.correct;
    }
    double shared[] = {sum.loss, (double)sum.correct};
    processes_add_doubles(shared, 2);
    return (struct train_result){shared[0], (int64_t)shared[1]};
}

/* FGM (Miyato et al., arXiv:1605.07725): the gradient at words moved a step up the slope is added. */
static void adversarial(struct transformer_step *s, size_t first, int32_t count)
{
    size_t at = trainable_at(s->t, STACK_ENCODER, P_WORD, 0), n = 0;
    for (size_t i = 0; i < s->t->n; i++)
        if (s->t->tensors[i].offset == at)
            n = s->t->tensors[i].size;
    /* The slope of the whole batch; each process goes on with its own share of it. */
    float *own = processes_count() > 1 ? xmalloc(n * sizeof *own) : NULL;
    if (own) {
        memcpy(own, s->g + at, n * sizeof *own);
        processes_add_floats(s->g + at, n);
    }
    double norm = grad_norm(s->g + at, n, s->f->pool);
    bool moves = norm > 0 && isfinite(norm);
    float step = moves ? (float)(options_real(s->f->o, "fgm") / norm) : 0.0f;
    memcpy(s->words, s->c.w + at, n * sizeof *s->words);
    for (size_t i = 0; i < n; i++)
        s->c.w[at + i] += step * s->g[at + i];
    if (own)
        memcpy(s->g + at, own, n * sizeof *own);
    free(own);
    if (moves)
        (void)all_parts(s, first, count, 1);
    memcpy(s->c.w + at, s->words, n * sizeof *s->words);
}

static void update_weights(struct transformer_step *s, double norm)
{
    const struct options *o = s->f->o;
    double clip = options_real(o, "clip");
    float lr = transformer_step_rate(s), decay = (float)options_real(o, "weight-decay");
    bool corrects = strcmp(options_str(o, "optimizer"), "bertadam") != 0;
    struct adamw base = {.beta1 = 0.9f,
                         .beta2 = 0.999f,
                         .eps = (float)options_real(o, "adam-epsilon"),
                         .grad_scale = clip > 0 && norm > clip ? (float)(clip / norm) : 1.0f};
    for (size_t i = 0; i < s->t->n; i++) {
        const struct trainable_tensor *x = &s->t->tensors[i];
        base.lr = lr * s->rate[i];
        base.weight_decay = x->decay ? decay : 0;
        struct adamw at = adamw_at(&base, s->c.iteration + 1);
        if (!corrects)
            at.correct1 = at.correct2 = 1;
        adamw_step(&at, s->c.w + x->offset, s->g + x->offset, s->c.m + x->offset,
                   s->c.v + x->offset, x->size, s->f->pool);
    }
}

int transformer_step(struct transformer_step *s, struct err *err)
{
    order_titles(s);
    size_t first = (size_t)(s->c.iteration % s->steps) * (size_t)s->batch, n = s->f->corpus.train.n;
    int32_t count = n - first < (size_t)s->batch ? (int32_t)(n - first) : s->batch;
    memset(s->g, 0, s->c.size * sizeof *s->g);
    show_weights(s, s->c.w, true);
    struct train_result r = all_parts(s, first, count, 0);
    if (s->words)
        adversarial(s, first, count);
    processes_add_floats(s->g, s->c.size);
    double norm = grad_norm(s->g, s->c.size, s->f->pool);
    if (!isfinite(r.loss) || !isfinite(norm)) {
        const char *bad = bad_tensor(s->t, s->g);
        return err_set(err, ERR_NUMERIC,
                       "iteration %lld: the training loss is %g%s%s; try a smaller --lr (it is "
                       "%s), a longer --warmup-share or --precision fp32",
                       (long long)s->c.iteration + 1, r.loss / count,
                       bad ? ", and not a number is the gradient of " : "", bad ? bad : "",
                       options_str(s->f->o, "lr"));
    }
    update_weights(s, norm);
    s->c.iteration++;
    s->current = NULL;
    stepping_average(&s->c, s->ema, s->f->pool);
    s->c.loss_sum += r.loss;
    s->c.correct += r.correct;
    s->c.seen += count;
    return 0;
}

void transformer_step_logits(struct transformer_step *s, const struct batch *b, float *logits)
{
    const float *w = transformer_step_weights(s);
    show_weights(s, w, false);
    transformer_train_logits(s->tt, w, b, logits);
}
