#include "trainer/textcnn_step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "ops/adamw.h"
#include "trainer/embedding_source.h"
#include "trainer/stepping.h"
#include "trainer/teacher.h"

#define STREAM_CHARS 0x63686172ULL /* an rng stream; the iteration is added to the high half */
#define LOG_MAX ((size_t)1 << 28)

static void begin_with(struct stepper *t, const struct embedding_source *e, float deviation)
{
    size_t size = (size_t)e->size;
    for (size_t i = VOCAB_FIRST; i < (size_t)t->cfg.vocab_size; i++)
        for (size_t k = i * size; e->known[i] && k < (i + 1) * size; k++)
            t->c.w[k] = deviation * e->rows[k]; /* the embedding is the first parameter */
}

void stepper_open(struct stepper *t, const struct fit *f, const struct embedding_source *start,
                  int32_t max_titles)
{
    const struct options *o = f->o;
    *t = (struct stepper){.f = f, .order_epoch = -1};
    t->cfg = textcnn_config_default(vocab_size(f->vocab), f->corpus.classes.n);
    if (start)
        t->cfg.embedding_size = start->size;
    t->cfg.max_tokens = (int32_t)options_int(o, "max-length");
    t->cfg.dropout = (float)options_real(o, "dropout");
    t->n_params = textcnn_params(&t->cfg, t->params);
    t->seed = (uint64_t)options_int(o, "seed");
    t->batch = (int32_t)options_int(o, "batch");
    t->char_dropout = options_real(o, "char-dropout");
    t->ema = options_real(o, "ema");
    t->steps = ((int64_t)f->corpus.train.n + t->batch - 1) / t->batch;
    t->total = t->steps * options_int(o, "epochs");

    size_t size = textcnn_size(&t->cfg), rows = (size_t)t->batch;
    if (max_titles < t->batch)
        max_titles = t->batch;
    t->ws = textcnn_train_open(&t->cfg, max_titles, max_titles * t->cfg.max_tokens);
    t->grads = xmalloc(size * sizeof *t->grads);
    t->order = xmalloc(f->corpus.train.n * sizeof *t->order);
    t->ids = xmalloc(rows * (size_t)t->cfg.max_tokens * sizeof *t->ids);
    t->start = xmalloc((rows + 1) * sizeof *t->start);
    t->labels = xmalloc(rows * sizeof *t->labels);
    t->taught = f->teacher ? xmalloc(rows * (size_t)t->cfg.n_labels * sizeof *t->taught) : NULL;
    t->c = (struct checkpoint){.size = size, .best_loss = INFINITY, .best_accuracy = -1};
    t->c.w = xmalloc(size * sizeof(float));
    t->c.m = xcalloc(size, sizeof(float));
    t->c.v = xcalloc(size, sizeof(float));
    t->c.best = xcalloc(size, sizeof(float));
    float deviation = (float)options_real(o, "embedding-std");
    textcnn_init(&t->cfg, t->seed, deviation, t->c.w);
    if (start)
        begin_with(t, start, deviation);
    if (t->ema > 0) {
        t->c.ema = xmalloc(size * sizeof(float));
        memcpy(t->c.ema, t->c.w, size * sizeof(float));
    }
    buf_init(&t->c.log, LOG_MAX);
}

void stepper_close(struct stepper *t)
{
    textcnn_train_close(t->ws);
    free(t->grads);
    free(t->order);
    free(t->ids);
    free(t->start);
    free(t->labels);
    free(t->taught);
    free(t->c.w);
    free(t->c.m);
    free(t->c.v);
    free(t->c.best);
    free(t->c.ema);
    buf_done(&t->c.log);
}

const float *stepper_weights(const struct stepper *t)
{
    return t->c.ema ? t->c.ema : t->c.w;
}

int stepper_check(const struct stepper *t, struct err *err)
{
    bool good = true;
    for (size_t i = 0; good && i < t->c.size; i++)
        good = isfinite(t->c.w[i]);
    return good
               ? 0
               : err_set(err, ERR_NUMERIC,
                         "iteration %lld: a weight is not a number; try a smaller --lr (it is %s), "
                         "a longer --warmup or another --seed",
                         (long long)t->c.iteration, options_str(t->f->o, "lr"));
}

float stepper_rate(const struct stepper *t)
{
    return stepping_rate(t->f->o, t->c.iteration, options_int(t->f->o, "warmup"), t->total);
}

static struct batch next_batch(struct stepper *t, size_t first)
{
    int64_t epoch = t->c.iteration / t->steps;
    size_t n = t->f->corpus.train.n;
    if (epoch != t->order_epoch) {
        stepping_order(t->order, n, t->seed, epoch);
        t->order_epoch = epoch;
    }
    int32_t count = n - first < (size_t)t->batch ? (int32_t)(n - first) : t->batch;
    packed_pick(&t->f->train, t->order + first, count, t->ids, t->start, t->labels);
    for (int32_t i = 0; t->char_dropout > 0 && i < t->start[count]; i++)
        if (rng_uniform(t->seed, STREAM_CHARS + ((uint64_t)t->c.iteration << 32), (uint64_t)i) <
            t->char_dropout)
            t->ids[i] = VOCAB_UNK;
    struct batch b = {.ids = t->ids, .start = t->start, .labels = t->labels, .n = count};
    if (t->f->teacher) {
        teacher_pick(t->f->teacher, t->order + first, count, t->taught, &t->teaching);
        b.teaching = &t->teaching;
    }
    return b;
}

static void update_weights(struct stepper *t)
{
    struct adamw base = {
        .lr = stepper_rate(t), .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .grad_scale = 1};
    float decay = (float)options_real(t->f->o, "weight-decay");
    for (int i = 0; i < t->n_params; i++) {
        const struct textcnn_param *p = &t->params[i];
        base.weight_decay = p->decay ? decay : 0;
        struct adamw at = adamw_at(&base, t->c.iteration + 1);
        adamw_step(&at, t->c.w + p->offset, t->grads + p->offset, t->c.m + p->offset,
                   t->c.v + p->offset, p->size, t->f->pool);
    }
}

int stepper_step(struct stepper *t, struct err *err)
{
    size_t first = (size_t)(t->c.iteration % t->steps) * (size_t)t->batch;
    struct batch b = next_batch(t, first);
    struct textcnn_result result;
    memset(t->grads, 0, t->c.size * sizeof *t->grads);
    textcnn_forward_backward(&t->cfg, t->c.w, t->grads, t->ws, &b, t->seed,
                             (uint64_t)t->c.iteration,
                             (float)options_real(t->f->o, "label-smoothing"), t->f->pool, &result);
    if (!isfinite(result.loss))
        return err_set(err, ERR_NUMERIC,
                       "iteration %lld: the training loss is %g; try a smaller --lr (it is %s), a "
                       "longer --warmup or another --seed",
                       (long long)t->c.iteration + 1, result.loss, options_str(t->f->o, "lr"));
    update_weights(t);
    t->c.iteration++;
    stepping_average(&t->c, t->ema, t->f->pool);
    t->c.loss_sum += result.loss * b.n;
    t->c.correct += result.correct;
    t->c.seen += b.n;
    t->c.labelled += stepping_labelled(&t->f->corpus.train, t->order + first, b.n);
    return 0;
}
