#include "trainer/softmax_train.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/rng.h"
#include "ops/rows.h"
#include "ops/softmax.h"

#define STREAM_ORDER 0x736f6674ULL /* rng stream; the epoch is added to the high half */

struct student {
    const struct sparse *x;
    float *w; /* [columns + 1][stride], the last row the bias */
    size_t labels, stride;
    float *logits;
};

static void add_row(struct student *s, int64_t row)
{
    const struct sparse *x = s->x;
    memcpy(s->logits, s->w + (size_t)x->columns * s->stride, s->stride * sizeof *s->logits);
    for (int64_t j = x->start[row]; j < x->start[row] + x->count[row]; j++)
        rows()->add_scaled(s->logits, s->w + (size_t)x->index[j] * s->stride, x->value[j],
                           (int)s->labels);
}

static void move_row(struct student *s, int64_t row, float rate)
{
    const struct sparse *x = s->x;
    for (int64_t j = x->start[row]; j < x->start[row] + x->count[row]; j++)
        rows()->add_scaled(s->w + (size_t)x->index[j] * s->stride, s->logits, -rate * x->value[j],
                           (int)s->labels);
    /* In every row: a tenth, or it would follow the last titles. */
    rows()->add_scaled(s->w + (size_t)x->columns * s->stride, s->logits, -0.1f * rate,
                       (int)s->labels);
}

void softmax_train(const struct sparse *x, const int32_t *labels, const struct teaching *teaching,
                   int32_t n_labels, const struct softmax_options *opt, float *weight, float *bias)
{
    size_t n = (size_t)x->rows, columns = (size_t)x->columns;
    struct student s = {.x = x, .labels = (size_t)n_labels};
    s.stride = (s.labels + 3) / 4 * 4;
    s.w = xcalloc((columns + 1) * s.stride + ROWS_PAD, sizeof *s.w);
    s.logits = xcalloc(s.stride + ROWS_PAD, sizeof *s.logits);
    uint32_t *order = xmalloc(n * sizeof *order + 1);
    double all = (double)n * opt->epochs;
    for (int32_t epoch = 0; epoch < opt->epochs; epoch++) {
        for (size_t i = 0; i < n; i++)
            order[i] = (uint32_t)i;
        rng_shuffle(order, n, opt->seed, STREAM_ORDER + ((uint64_t)epoch << 32));
        for (size_t i = 0; i < n; i++) {
            size_t row = order[i];
            double done = ((double)epoch * (double)n + (double)i) / all;
            add_row(&s, (int64_t)row);
            (void)softmax_taught(s.logits, s.logits, n_labels, labels[row], 0, 1,
                                 teaching->taught + row * s.labels, teaching->temperature,
                                 teaching->part);
            move_row(&s, (int64_t)row, opt->rate * (float)(1 - done));
        }
        if (opt->done)
            opt->done(opt->arg, epoch + 1);
    }
    for (size_t k = 0; k < s.labels; k++) {
        for (size_t j = 0; j < columns; j++)
            weight[k * columns + j] = s.w[j * s.stride + k];
        bias[k] = s.w[columns * s.stride + k];
    }
    free(order);
    free(s.logits);
    free(s.w);
}
