/* Forward and backward of a batch.  The pool's pieces are fixed (groups of titles, tiles of GEMMs,
 * blocks of filters) and no two of them add to the same place, so every bit of the result is the
 * same for any number of threads. */
#include "models/textcnn_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ops/dense.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/gemm.h"
#include "ops/rows.h"
#include "ops/softmax.h"

enum { TITLES = 8, FILTERS = 64 }; /* of one piece */

struct textcnn_train {
    struct textcnn_config cfg;
    struct convpool shape;
    int32_t max_titles, max_ids, max_rows;
    int n_features;   /* n_widths * F */
    int32_t *row_of;  /* [V] the id's row of P in this batch, -1 between calls */
    int32_t *ids;     /* [max_rows] the id of each row of P */
    int32_t *row;     /* [max_ids] */
    int32_t *start;   /* [max_titles + 1] of the group at hand, from 0 */
    float *e, *de;    /* [max_rows, E] */
    float *p, *dp;    /* [max_rows, taps]; the pages of dp are touched by training only */
    float *h, *dh;    /* [max_titles, n_features] features after dropout, and their gradients */
    int32_t *arg;     /* [max_titles, n_features] */
    float *dlogits;   /* [max_titles, n_labels]; logits on the way */
    double *loss;     /* [max_titles] */
    int32_t *correct; /* [max_titles] */
};

static void *array(size_t n, size_t size)
{
    return xmalloc((n ? n : 1) * size);
}

struct textcnn_train *textcnn_train_open_rows(const struct textcnn_config *cfg, int32_t max_titles,
                                              int32_t max_ids, int32_t max_rows)
{
    struct textcnn_train *t = xcalloc(1, sizeof *t);
    t->cfg = *cfg;
    t->shape = textcnn_shape(cfg);
    t->max_titles = max_titles;
    t->max_ids = max_ids;
    t->max_rows = max_rows;
    t->n_features = cfg->n_widths * cfg->n_filters;
    size_t rows = (size_t)max_rows, titles = (size_t)max_titles, v = (size_t)cfg->vocab_size;
    size_t taps = (size_t)t->shape.stride, features = (size_t)t->n_features;
    t->row_of = array(v, sizeof *t->row_of);
    for (size_t i = 0; i < v; i++)
        t->row_of[i] = -1;
    t->ids = array(rows, sizeof *t->ids);
    t->row = array((size_t)max_ids, sizeof *t->row);
    t->start = array(titles + 1, sizeof *t->start);
    t->e = array(rows * (size_t)cfg->embedding_size, sizeof(float));
    t->de = array(rows * (size_t)cfg->embedding_size, sizeof(float));
    t->p = array(rows * taps, sizeof(float));
    t->dp = array(rows * taps, sizeof(float));
    t->h = array(titles * features, sizeof(float));
    t->dh = array(titles * features, sizeof(float));
    t->arg = array(titles * features, sizeof *t->arg);
    t->dlogits = array(titles * (size_t)cfg->n_labels, sizeof(float));
    t->loss = array(titles, sizeof *t->loss);
    t->correct = array(titles, sizeof *t->correct);
    return t;
}

struct textcnn_train *textcnn_train_open(const struct textcnn_config *cfg, int32_t max_titles,
                                         int32_t max_ids)
{
    return textcnn_train_open_rows(cfg, max_titles, max_ids,
                                   max_ids < cfg->vocab_size ? max_ids : cfg->vocab_size);
}

void textcnn_train_close(struct textcnn_train *t)
{
    if (!t)
        return;
    void *const parts[] = {t->row_of, t->ids, t->row, t->start, t->e,       t->de,   t->p,
                           t->dp,     t->h,   t->dh,  t->arg,   t->dlogits, t->loss, t->correct};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
    free(t);
}

/* Gives the titles from `first` on rows of P, as many titles as max_rows can serve; returns how
 * many, and the rows in *n_rows. */
static int32_t number_rows(struct textcnn_train *t, const struct batch *b, int32_t first,
                           int32_t *n_rows)
{
    bool all = t->max_rows >= t->cfg.vocab_size || t->max_rows >= t->max_ids;
    int32_t rows = 0, n = 0, base = b->start[first];
    for (int32_t i = first; i < b->n; i++, n++) {
        if (!all && n && rows + (b->start[i + 1] - b->start[i]) > t->max_rows)
            break;
        for (int32_t k = b->start[i]; k < b->start[i + 1]; k++) {
            int32_t id = b->ids[k];
            if (t->row_of[id] < 0) {
                t->row_of[id] = rows;
                t->ids[rows++] = id;
            }
            t->row[k - base] = t->row_of[id];
        }
        t->start[n] = b->start[i] - base;
        t->start[n + 1] = b->start[i + 1] - base;
    }
    for (int32_t r = 0; r < rows; r++)
        t->row_of[t->ids[r]] = -1;
    *n_rows = rows;
    return n;
}

struct job {
    struct textcnn_train *t;
    struct textcnn_parts at;
    const float *w;
    float *grads;
    const int32_t *labels; /* NULL: no training */
    float *logits;         /* [n, n_labels] */
    int32_t n, n_rows;
    uint64_t seed, step;
    float label_smoothing;
    const struct teaching *teaching;
};

/* P of every character of the group, which the pooling reads. */
static void project(struct job *j, struct pool *pool)
{
    struct textcnn_train *t = j->t;
    int e = t->cfg.embedding_size, taps = t->shape.stride;
    embedding_forward(t->e, j->w, t->ids, j->n_rows, e);
    gemm_parallel(&(struct gemm){false, true, j->n_rows, taps, e, 1.0f, 0.0f, t->e,
                                 j->w + j->at.wall, t->p, e, e, taps},
                  pool);
}

static void title_forward(struct job *j, int32_t i)
{
    struct textcnn_train *t = j->t;
    size_t at = (size_t)i * (size_t)t->n_features;
    int32_t labels = t->cfg.n_labels, length = t->start[i + 1] - t->start[i];
    float *h = t->h + at, *logits = j->logits + (size_t)i * (size_t)labels;
    convpool_forward(&t->shape, t->p, t->row + t->start[i], length, h,
                     j->labels ? t->arg + at : NULL);
    rows()->bias_relu(h, h, j->w + j->at.conv_bias, t->n_features);
    if (j->labels)
        dropout_row(h, h, t->n_features, t->cfg.dropout, j->seed, j->step, (uint32_t)i);
    rows()->affine(logits, h, j->w + j->at.classifier, j->w + j->at.classifier_bias, t->n_features,
                   labels);
    if (!j->labels)
        return;
    int32_t best = 0;
    for (int32_t k = 1; k < labels; k++)
        best = logits[k] > logits[best] ? k : best;
    t->correct[i] = best == j->labels[i];
    const struct teaching *k = j->teaching;
    t->loss[i] = k ? softmax_taught(logits, logits, labels, j->labels[i], j->label_smoothing,
                                    1.0f / (float)j->n, k->taught + (size_t)i * (size_t)labels,
                                    k->temperature, k->part)
                   : softmax_cross_entropy(logits, logits, labels, j->labels[i], j->label_smoothing,
                                           1.0f / (float)j->n);
}

static void forward_piece(void *arg, int piece, int thread)
{
    (void)thread;
    struct job *j = arg;
    for (int32_t i = piece * TITLES; i < j->n && i < (piece + 1) * TITLES; i++)
        title_forward(j, i);
}

static int blocks_of_width(const struct job *j)
{
    return (j->t->shape.n_filters + FILTERS - 1) / FILTERS;
}

/* One block of filters, all titles: through dropout and ReLU (a feature is above zero where both
 * let it pass), into the filters' biases and into dP. */
static void backward_piece(void *arg, int piece, int thread)
{
    (void)thread;
    struct job *j = arg;
    struct textcnn_train *t = j->t;
    int wi = piece / blocks_of_width(j), f0 = piece % blocks_of_width(j) * FILTERS;
    int left = t->shape.n_filters - f0, n = left < FILTERS ? left : FILTERS;
    size_t column = (size_t)wi * (size_t)t->shape.n_filters + (size_t)f0;
    float scale = 1.0f / (1.0f - t->cfg.dropout), *bias = j->grads + j->at.conv_bias;
    for (int32_t i = 0; i < j->n; i++) {
        size_t at = (size_t)i * (size_t)t->n_features + column;
        for (int f = 0; f < n; f++) {
            float g = t->h[at + (size_t)f] > 0.0f ? scale * t->dh[at + (size_t)f] : 0.0f;
            t->dh[at + (size_t)f] = g;
            bias[column + (size_t)f] += g;
        }
    }
    convpool_backward(&t->shape, wi, f0, n, t->row, t->start, j->n, t->dh, t->arg, t->dp,
                      j->n_rows);
}

static void backward(struct job *j, struct pool *pool)
{
    struct textcnn_train *t = j->t;
    int e = t->cfg.embedding_size, taps = t->shape.stride;
    dense_backward(t->dh, j->grads + j->at.classifier, j->grads + j->at.classifier_bias, j->logits,
                   t->h, j->w + j->at.classifier, j->n, t->n_features, t->cfg.n_labels, pool);
    pool_run(pool, t->shape.n_widths * blocks_of_width(j), backward_piece, j);
    gemm_parallel(&(struct gemm){true, false, taps, e, j->n_rows, 1.0f, 1.0f, t->dp, t->e,
                                 j->grads + j->at.wall, taps, e, e},
                  pool);
    gemm_parallel(&(struct gemm){false, false, j->n_rows, e, taps, 1.0f, 0.0f, t->dp,
                                 j->w + j->at.wall, t->de, taps, e, e},
                  pool);
    embedding_backward(j->grads, t->de, t->ids, j->n_rows, e, VOCAB_PAD);
}

void textcnn_forward_backward(const struct textcnn_config *cfg, const float *w, float *grads,
                              struct textcnn_train *t, const struct batch *b, uint64_t seed,
                              uint64_t step, float label_smoothing, struct pool *pool,
                              struct textcnn_result *result)
{
    *result = (struct textcnn_result){0};
    if (b->n == 0)
        return;
    assert(b->n <= t->max_titles && b->start[b->n] <= t->max_ids);
    struct job j = {.t = t,
                    .at = textcnn_parts(cfg),
                    .w = w,
                    .grads = grads,
                    .labels = b->labels,
                    .logits = t->dlogits,
                    .seed = seed,
                    .step = step,
                    .label_smoothing = label_smoothing,
                    .teaching = b->teaching};
    j.n = number_rows(t, b, 0, &j.n_rows);
    assert(j.n == b->n);
    project(&j, pool);
    pool_run(pool, (j.n + TITLES - 1) / TITLES, forward_piece, &j);
    backward(&j, pool);
    for (int32_t i = 0; i < j.n; i++) {
        result->loss += t->loss[i] / (double)j.n;
        result->correct += t->correct[i];
    }
}

void textcnn_forward(const struct textcnn_config *cfg, const float *w, struct textcnn_train *t,
                     const struct batch *b, struct pool *pool, float *logits)
{
    struct job j = {.t = t, .at = textcnn_parts(cfg), .w = w};
    assert(b->n <= t->max_titles && b->start[b->n] <= t->max_ids);
    for (int32_t first = 0; first < b->n; first += j.n) {
        j.n = number_rows(t, b, first, &j.n_rows);
        j.logits = logits + (size_t)first * (size_t)cfg->n_labels;
        project(&j, pool);
        pool_run(pool, (j.n + TITLES - 1) / TITLES, forward_piece, &j);
    }
}
