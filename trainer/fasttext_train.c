#include "trainer/fasttext_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/rng.h"
#include "models/fasttext_tree.h"
#include "ops/rows.h"
#include "ops/softmax.h"

#define STREAM_INIT                                                                                \
    0x66747866ULL /* rng streams; the epoch is added to the high half of the second */
#define STREAM_ORDER 0x66746f72ULL
enum { BATCH = 64, INIT_PIECE = 1 << 16, AHEAD = 6, SHARES = 8 /* of rows, for one thread each */ };

void fasttext_lines_done(struct fasttext_lines *l)
{
    free(l->rows);
    free(l->start);
    free(l->label);
    free(l->title);
    free(l->tokens);
    *l = (struct fasttext_lines){0};
}

void fasttext_weights_done(struct fasttext_weights *w)
{
    free(w->input);
    free(w->output);
    *w = (struct fasttext_weights){0};
}

struct training {
    const struct fasttext_dict *d;
    const struct fasttext_lines *l;
    const struct teaching *teaching;
    struct fasttext_weights w;
    struct pool *pool;
    struct fasttext_tree *tree; /* hs */
    uint64_t seed;
    size_t dim, stride; /* stride: of hidden and gradient, whole vectors */
    int64_t rows;
    uint32_t *order;
    const uint32_t *titles; /* of the batch */
    int32_t n;
    float *hidden, *gradient; /* [BATCH, stride] */
    float *output;            /* [labels] */
    double loss;              /* sum so far */
    int64_t seen;
};

static void init_piece(void *arg, int piece, int thread)
{
    const struct training *t = arg;
    size_t n = (size_t)t->rows * t->dim, from = (size_t)piece * INIT_PIECE,
           end = n - from < INIT_PIECE ? n : from + INIT_PIECE;
    float bound = 1.0f / (float)t->dim;
    (void)thread;
    for (size_t i = from; i < end; i += 4) {
        uint32_t bits[4];
        rng_block(t->seed, STREAM_INIT, i, bits);
        for (size_t k = 0; k < 4 && i + k < end; k++)
            t->w.input[i + k] = bound * ((float)(bits[k] >> 8) * 0x1p-23f - 1.0f);
    }
}

/* The mean of a title's rows. */
static void mean_of(void *arg, int i, int thread)
{
    const struct training *t = arg;
    int32_t from = t->l->start[t->titles[i]], to = t->l->start[t->titles[i] + 1];
    float *h = t->hidden + (size_t)i * t->stride;
    (void)thread;
    memset(h, 0, t->stride * sizeof *h);
    for (int32_t k = from; k < to; k++) {
        if (k + AHEAD < to) {
            const float *next = t->w.input + (size_t)t->l->rows[k + AHEAD] * t->dim;
            for (size_t j = 0; j < t->dim; j += 16)
                __builtin_prefetch(next + j);
        }
        rows()->add(h, h, t->w.input + (size_t)t->l->rows[k] * t->dim, (int)t->dim);
    }
    rows()->scale(h, h, 1.0f / (float)(to - from), (int)t->dim);
}

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* One row of the output matrix moves by a, and gives its part to the gradient. */
static void push(struct training *t, int32_t row, float a, const float *h, float *g)
{
    float *w = t->w.output + (size_t)row * t->dim;
    rows()->add_scaled(g, w, a, (int)t->dim);
    rows()->add_scaled(w, h, a, (int)t->dim);
}

static double decide(struct training *t, int32_t row, bool yes, float lr, const float *h, float *g)
{
    float score = sigmoid(rows()->dot(t->w.output + (size_t)row * t->dim, h, (int)t->dim));
    push(t, row, lr * ((yes ? 1.0f : 0.0f) - score), h, g);
    return -log((double)(yes ? score : 1.0f - score) + 1e-5);
}

static double softmax_loss(struct training *t, int32_t label, float lr, const float *h, float *g)
{
    int32_t n = t->d->n_labels;
    float *p = t->output;
    for (int32_t o = 0; o < n; o++)
        p[o] = rows()->dot(t->w.output + (size_t)o * t->dim, h, (int)t->dim);
    float sum = rows()->exp_sum(p, p, rows()->max(p, n), n);
    for (int32_t o = 0; o < n; o++)
        push(t, o, lr * ((o == label ? 1.0f : 0.0f) - p[o] / sum), h, g);
    return -log((double)(p[label] / sum) + 1e-5);
}

static double taught_loss(struct training *t, uint32_t line, float lr, const float *h, float *g)
{
    int32_t n = t->d->n_labels;
    const struct teaching *from = t->teaching;
    float *x = t->output;
    for (int32_t o = 0; o < n; o++)
        x[o] = rows()->dot(t->w.output + (size_t)o * t->dim, h, (int)t->dim);
    double loss = softmax_taught(x, x, n, t->l->label[line], 0, -lr,
                                 from->taught + (size_t)t->l->title[line] * (size_t)n,
                                 from->temperature, from->part);
    for (int32_t o = 0; o < n; o++)
        push(t, o, x[o], h, g);
    return loss;
}

static double tree_loss(struct training *t, int32_t label, float lr, const float *h, float *g)
{
    double loss = 0;
    for (const struct fasttext_step *s = fasttext_tree_path(t->tree, label); s->row >= 0; s++)
        loss += decide(t, s->row, s->right, lr, h, g);
    return loss;
}

static double all_loss(struct training *t, int32_t label, float lr, const float *h, float *g)
{
    double loss = 0;
    for (int32_t o = 0; o < t->d->n_labels; o++)
        loss += decide(t, o, o == label, lr, h, g);
    return loss;
}

/* The batch's titles through the output matrix; gradients of their rows. */
static void judge(struct training *t, float lr)
{
    for (int32_t i = 0; i < t->n; i++) {
        const float *h = t->hidden + (size_t)i * t->stride;
        float *g = t->gradient + (size_t)i * t->stride;
        uint32_t title = t->titles[i];
        int32_t label = t->l->label[title];
        memset(g, 0, t->stride * sizeof *g);
        t->loss += t->teaching                           ? taught_loss(t, title, lr, h, g)
                   : t->d->args.loss == FASTTEXT_HS      ? tree_loss(t, label, lr, h, g)
                   : t->d->args.loss == FASTTEXT_SOFTMAX ? softmax_loss(t, label, lr, h, g)
                                                         : all_loss(t, label, lr, h, g);
        rows()->scale(g, g, 1.0f / (float)(t->l->start[title + 1] - t->l->start[title]),
                      (int)t->dim);
    }
    t->seen += t->n;
}

/* Rows whose number is `share` modulo SHARES. */
static void move_rows(void *arg, int share, int thread)
{
    const struct training *t = arg;
    (void)thread;
    for (int32_t i = 0; i < t->n; i++) {
        const float *g = t->gradient + (size_t)i * t->stride;
        for (int32_t k = t->l->start[t->titles[i]]; k < t->l->start[t->titles[i] + 1]; k++)
            if (t->l->rows[k] % SHARES == share) {
                float *row = t->w.input + (size_t)t->l->rows[k] * t->dim;
                rows()->add(row, row, g, (int)t->dim);
            }
    }
}

static void step(struct training *t, float lr)
{
    pool_run(t->pool, t->n, mean_of, t);
    judge(t, lr);
    pool_run(t->pool, SHARES, move_rows, t);
}

static void open_training(struct training *t)
{
    size_t n = (size_t)t->rows * t->dim;
    t->w.input = xmalloc((n + ROWS_PAD) * sizeof *t->w.input);
    t->w.output = xcalloc((size_t)t->d->n_labels * t->dim + ROWS_PAD, sizeof *t->w.output);
    t->hidden = xcalloc(BATCH * t->stride + ROWS_PAD, sizeof *t->hidden);
    t->gradient = xcalloc(BATCH * t->stride + ROWS_PAD, sizeof *t->gradient);
    t->output = xcalloc((size_t)t->d->n_labels + ROWS_PAD, sizeof *t->output);
    t->order = xmalloc(((size_t)t->l->n + 1) * sizeof *t->order);
    if (t->d->args.loss == FASTTEXT_HS)
        t->tree = fasttext_tree_open(t->d);
    pool_run(t->pool, (int)((n + INIT_PIECE - 1) / INIT_PIECE), init_piece, t);
}

static void close_training(struct training *t)
{
    free(t->hidden);
    free(t->gradient);
    free(t->output);
    free(t->order);
    fasttext_tree_close(t->tree);
}

static bool report(struct training *t, double done, double lr, int64_t start, double words,
                   fasttext_watch *watch, void *arg)
{
    struct fasttext_progress p = {done, (double)(clock_ns() - start) * 1e-9, words, lr,
                                  t->seen ? t->loss / (double)t->seen : 0};
    return watch && watch(arg, &p);
}

bool fasttext_train(const struct fasttext_dict *d, const struct fasttext_lines *l,
                    const struct teaching *teaching, double lr, int32_t epochs, uint64_t seed,
                    struct pool *pool, fasttext_watch *watch, void *arg, struct fasttext_weights *w)
{
    struct training t = {.d = d, .l = l, .teaching = teaching, .pool = pool, .seed = seed};
    int64_t start = clock_ns(), told = start;
    double words = 0, all = (double)l->n * epochs, rate = lr;
    bool ended = false;
    t.dim = (size_t)d->args.dim;
    t.stride = (t.dim + ROWS_PAD - 1) / ROWS_PAD * ROWS_PAD;
    t.rows = fasttext_dict_rows(d);
    open_training(&t);
    for (int32_t epoch = 0; epoch < epochs && !ended; epoch++) {
        for (int32_t i = 0; i < l->n; i++)
            t.order[i] = (uint32_t)i;
        rng_shuffle(t.order, (size_t)l->n, seed, STREAM_ORDER + ((uint64_t)epoch << 32));
        for (int32_t from = 0; from < l->n && !ended; from += BATCH) {
            double done = ((double)epoch * l->n + from) / all;
            t.titles = t.order + from;
            t.n = l->n - from < BATCH ? l->n - from : BATCH;
            rate = lr * (1 - done);
            step(&t, (float)rate);
            for (int32_t i = 0; i < t.n; i++)
                words += l->tokens[t.titles[i]];
            if (clock_ns() - told > 100000000) {
                told = clock_ns();
                ended = report(&t, done, rate, start, words, watch, arg);
            }
        }
    }
    if (!ended)
        ended = report(&t, 1, rate, start, words, watch, arg);
    close_training(&t);
    *w = t.w;
    return !ended;
}
