#include "trainer/transformer_step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/adamw.h"
#include "trainer/processes.h"
#include "trainer/stepping.h"
#include "trainer/teacher.h"

static void set_class_weights(struct transformer_step *s)
{
    const struct dataset *d = &s->f->corpus.train;
    int32_t n = s->f->corpus.classes.n;
    if (strcmp(options_str(s->f->o, "class-weights"), "balanced") != 0)
        return;
    s->class_weights = xcalloc((size_t)n, sizeof *s->class_weights);
    size_t labelled = 0;
    for (size_t i = 0; i < d->n; i++)
        if (d->labels[i] >= 0) {
            s->class_weights[d->labels[i]] += 1;
            labelled++;
        }
    for (int32_t c = 0; c < n; c++)
        s->class_weights[c] =
            s->class_weights[c] > 0 ? (float)labelled / ((float)n * s->class_weights[c]) : 1.0f;
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
    double head = options_real(o, "head-lr");
    optimizer_open(&s->opt, o, t, w, f->corpus.train.n, head > 0 ? head / options_real(o, "lr") : 1,
                   f->pool);
    int32_t twice = options_real(o, "r-drop") > 0 ? 2 : 1, titles = twice * s->part;
    titles = titles > max_titles ? titles : max_titles;
    struct transformer_train_options opt = {.type = optimizer_precision(o),
                                            .max_titles = titles,
                                            .max_ids = titles * max_tokens,
                                            .max_tokens = max_tokens,
                                            .recompute = options_bool(o, "recompute"),
                                            .dropout = *drop};
    s->tt = transformer_train_open(t, &opt, f->pool);
    size_t room = (size_t)titles;
    s->order = xmalloc(f->corpus.train.n * sizeof *s->order);
    s->ids = xmalloc(room * (size_t)max_tokens * sizeof *s->ids);
    s->start = xmalloc((room + 1) * sizeof *s->start);
    s->labels = xmalloc(room * sizeof *s->labels);
    s->taught = f->teacher ? xmalloc(room * (size_t)t->cfg.labels * sizeof *s->taught) : NULL;
    size_t words = trainable_at(t, STACK_ENCODER, P_WORD, 0);
    if (options_real(o, "fgm") > 0)
        for (size_t i = 0; i < t->n; i++)
            if (t->tensors[i].offset == words)
                s->words = xmalloc(t->tensors[i].size * sizeof *s->words);
    set_class_weights(s);
}

void transformer_step_close(struct transformer_step *s)
{
    void *const parts[] = {s->words, s->class_weights, s->order, s->ids,
                           s->start, s->labels,        s->taught};
    transformer_train_close(s->tt);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
    optimizer_close(&s->opt);
}

static void order_titles(struct transformer_step *s)
{
    int64_t epoch = s->opt.c.iteration / s->opt.steps;
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
    if (s->f->teacher)
        teacher_pick(s->f->teacher, s->order + first + from, n, s->taught, &s->teaching);
    if (twice && s->f->teacher)
        memcpy(s->taught + (size_t)n * (size_t)s->t->cfg.labels, s->taught,
               (size_t)n * (size_t)s->t->cfg.labels * sizeof *s->taught);
    if (twice) {
        int32_t len = s->start[n];
        memcpy(s->ids + len, s->ids, (size_t)len * sizeof *s->ids);
        memcpy(s->labels + n, s->labels, (size_t)n * sizeof *s->labels);
        for (int32_t i = 0; i <= n; i++)
            s->start[n + i] = len + s->start[i];
        n *= 2;
    }
    return (struct batch){.ids = s->ids,
                          .start = s->start,
                          .labels = s->labels,
                          .n = n,
                          .teaching = s->f->teacher ? &s->teaching : NULL};
}

/* Gradients of the whole batch are added to s->opt.g. */
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
        transformer_train_gradients(s->tt, s->opt.c.w, s->opt.g, &b, &loss, s->seed,
                                    (uint64_t)s->opt.c.iteration * 2 + pass, (uint32_t)from, &one);
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
        memcpy(own, s->opt.g + at, n * sizeof *own);
        processes_add_floats(s->opt.g + at, n);
    }
    double norm = grad_norm(s->opt.g + at, n, s->f->pool);
    bool moves = norm > 0 && isfinite(norm);
    float step = moves ? (float)(options_real(s->f->o, "fgm") / norm) : 0.0f;
    memcpy(s->words, s->opt.c.w + at, n * sizeof *s->words);
    for (size_t i = 0; i < n; i++)
        s->opt.c.w[at + i] += step * s->opt.g[at + i];
    if (own)
        memcpy(s->opt.g + at, own, n * sizeof *own);
    free(own);
    if (moves)
        (void)all_parts(s, first, count, 1);
    memcpy(s->opt.c.w + at, s->words, n * sizeof *s->words);
}

int transformer_step(struct transformer_step *s, struct err *err)
{
    order_titles(s);
    size_t first = (size_t)(s->opt.c.iteration % s->opt.steps) * (size_t)s->batch,
           n = s->f->corpus.train.n;
    int32_t count = n - first < (size_t)s->batch ? (int32_t)(n - first) : s->batch;
    memset(s->opt.g, 0, s->opt.c.size * sizeof *s->opt.g);
    show_weights(s, s->opt.c.w, true);
    struct train_result r = all_parts(s, first, count, 0);
    if (s->words)
        adversarial(s, first, count);
    processes_add_floats(s->opt.g, s->opt.c.size);
    if (optimizer_step(&s->opt, r.loss / count, err) != 0)
        return -1;
    s->current = NULL;
    s->opt.c.loss_sum += r.loss;
    s->opt.c.correct += r.correct;
    s->opt.c.seen += count;
    s->opt.c.labelled += stepping_labelled(&s->f->corpus.train, s->order + first, count);
    return 0;
}

void transformer_step_logits(struct transformer_step *s, const struct batch *b, float *logits)
{
    const float *w = optimizer_weights(&s->opt);
    show_weights(s, w, false);
    transformer_train_logits(s->tt, w, b, logits);
}
