#include "trainer/pretrain_step.h"

#include <stdlib.h>
#include <string.h>

#include "trainer/stepping.h"

#define DRAW_HELD UINT32_MAX /* of masks: no iteration of training has this number */

static void split(struct pretrain_step *s, size_t n, size_t n_held)
{
    s->train = xmalloc(n * sizeof *s->train);
    s->held = xmalloc((n_held + 1) * sizeof *s->held);
    for (size_t i = 0; i < n; i++)
        if ((i + 1) * n_held / n != i * n_held / n)
            s->held[s->n_held++] = (uint32_t)i;
        else
            s->train[s->n_train++] = (uint32_t)i;
}

void pretrain_step_open(struct pretrain_step *s, const struct options *o, const struct trainable *t,
                        float *w, const struct dropout_rates *drop, const struct packed *text,
                        size_t n_held, const struct masking *masking, struct pool *pool)
{
    *s = (struct pretrain_step){.o = o, .text = text, .masking = masking, .order_epoch = -1};
    s->seed = (uint64_t)options_int(o, "seed");
    s->batch = (int32_t)options_int(o, "batch");
    s->part = (int32_t)options_int(o, "micro-batch");
    s->part = s->part == 0 || s->part > s->batch ? s->batch : s->part;
    s->max_tokens = (int32_t)options_int(o, "max-length");
    split(s, (size_t)text->batch.n, n_held);
    optimizer_open(&s->opt, o, t, w, s->n_train, 1, pool);
    struct transformer_train_options opt = {.type = optimizer_precision(o),
                                            .max_titles = s->part,
                                            .max_ids = s->part * s->max_tokens,
                                            .max_tokens = s->max_tokens,
                                            .recompute = options_bool(o, "recompute"),
                                            .dropout = *drop};
    s->mt = masked_train_open(t, &opt, masking_room(masking, opt.max_ids, opt.max_titles), pool);
    size_t room = (size_t)s->batch, ids = room * (size_t)s->max_tokens;
    s->order = xmalloc(s->n_train * sizeof *s->order);
    s->pick = xmalloc(room * sizeof *s->pick);
    s->ids = xmalloc(ids * sizeof *s->ids);
    s->start = xmalloc((room + 1) * sizeof *s->start);
    s->labels = xmalloc(room * sizeof *s->labels);
    s->part_start = xmalloc((room + 1) * sizeof *s->part_start);
    s->row = xmalloc(ids * sizeof *s->row);
    s->word = xmalloc(ids * sizeof *s->word);
}

void pretrain_step_close(struct pretrain_step *s)
{
    void *const parts[] = {s->train, s->held,   s->order,      s->pick, s->ids,
                           s->start, s->labels, s->part_start, s->row,  s->word};
    masked_train_close(s->mt);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
    optimizer_close(&s->opt);
}

static void order_text(struct pretrain_step *s)
{
    int64_t epoch = s->opt.c.iteration / s->opt.steps;
    if (epoch == s->order_epoch)
        return;
    stepping_order(s->order, s->n_train, s->seed, epoch);
    s->order_epoch = epoch;
}

static void show_weights(struct pretrain_step *s, const float *w, bool changed)
{
    if (changed || s->current != w)
        masked_train_weights(s->mt, w);
    s->current = w;
}

/* Sequences from .. from + n of those in s->ids as a batch of their own, from row number `asked` on. */
static struct masked_batch part_of(struct pretrain_step *s, int32_t from, int32_t n, int32_t asked,
                                   int32_t n_asked)
{
    for (int32_t i = 0; i <= n; i++)
        s->part_start[i] = s->start[from + i] - s->start[from];
    return (struct masked_batch){
        .batch = {.ids = s->ids + s->start[from], .start = s->part_start, .n = n},
        .row = s->row + asked,
        .word = s->word + asked,
        .n = n_asked};
}

/* Masks sequences from .. from + n, whose rows count from the first of them; numbers from `number` on. */
static int32_t draw(struct pretrain_step *s, int32_t from, int32_t n, uint64_t which,
                    uint32_t number, int32_t asked)
{
    int32_t before = asked;
    for (int32_t i = from; i < from + n; i++)
        asked += masking_draw(s->masking, s->ids + s->start[i], s->start[i + 1] - s->start[i],
                              s->seed, which, number + (uint32_t)(i - from),
                              s->start[i] - s->start[from], s->row + asked, s->word + asked);
    return asked - before;
}

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Gradients of the batch in s->ids, whose words are masked part by part so that the mean is over all. */
static struct masked_result all_parts(struct pretrain_step *s, int32_t count, int32_t *asked)
{
    struct masked_result sum = {0}, one;
    uint64_t iteration = (uint64_t)s->opt.c.iteration;
    int32_t n_parts = (count + s->part - 1) / s->part, *n = xmalloc((size_t)n_parts * sizeof *n);
    *asked = 0;
    for (int32_t i = 0, from = 0; i < n_parts; i++, from += s->part) {
        n[i] = draw(s, from, least(s->part, count - from), iteration, (uint32_t)from, *asked);
        *asked += n[i];
    }
    for (int32_t i = 0, from = 0, at = 0; i < n_parts; at += n[i], i++, from += s->part) {
        struct masked_batch b = part_of(s, from, least(s->part, count - from), at, n[i]);
        masked_train_gradients(s->mt, s->opt.c.w, s->opt.g, &b, 1.0f / (float)*asked, s->seed,
                               iteration, (uint32_t)from, &one);
        sum.loss += one.loss;
        sum.correct += one.correct;
    }
    free(n);
    return sum;
}

int pretrain_step(struct pretrain_step *s, struct err *err)
{
    int32_t asked;
    order_text(s);
    size_t first = (size_t)(s->opt.c.iteration % s->opt.steps) * (size_t)s->batch,
           left = s->n_train - first;
    int32_t count = left < (size_t)s->batch ? (int32_t)left : s->batch;
    for (int32_t i = 0; i < count; i++)
        s->pick[i] = s->train[s->order[first + (size_t)i]];
    packed_pick(s->text, s->pick, count, s->ids, s->start, s->labels);
    memset(s->opt.g, 0, s->opt.c.size * sizeof *s->opt.g);
    show_weights(s, s->opt.c.w, true);
    struct masked_result r = all_parts(s, count, &asked);
    if (optimizer_step(&s->opt, asked ? r.loss / asked : 0, err) != 0)
        return -1;
    s->current = NULL;
    s->opt.c.loss_sum += r.loss;
    s->opt.c.correct += r.correct;
    s->opt.c.seen += asked;
    s->opt.c.labelled += asked;
    return 0;
}

void pretrain_step_judge(struct pretrain_step *s, double *loss, double *accuracy)
{
    const float *w = optimizer_weights(&s->opt);
    struct masked_result one;
    int64_t right = 0, all = 0;
    double sum = 0;
    show_weights(s, w, false);
    for (size_t from = 0; from < s->n_held; from += (size_t)s->part) {
        size_t left = s->n_held - from;
        int32_t n = left < (size_t)s->part ? (int32_t)left : s->part;
        packed_pick(s->text, s->held + from, n, s->ids, s->start, s->labels);
        int32_t asked = draw(s, 0, n, DRAW_HELD, (uint32_t)from, 0);
        struct masked_batch b = part_of(s, 0, n, 0, asked);
        masked_train_judge(s->mt, w, &b, &one);
        sum += one.loss;
        right += one.correct;
        all += asked;
    }
    *loss = all ? sum / (double)all : 0;
    *accuracy = all ? (double)right / (double)all : 0;
}
