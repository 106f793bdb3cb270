#include "trainer/fasttext_tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "models/fasttext.h"
#include "models/fasttext_tree.h"
#include "ops/rows.h"
#include "trainer/progress.h"

static const uint64_t stream_tune = 0x74756e65; /* rng streams, one for each choice */
#define GIB ((int64_t)1 << 30)
enum { MOST_BYTES_GIB = 4 /* of a trial's input matrix */ };

struct trial {
    const struct fasttext_search *s;
    int64_t end_ns;
    int number;
    double best;
    struct progress bar;
};

static double part_done(const struct trial *t)
{
    double left = (double)(t->end_ns - clock_ns()) * 1e-9;
    return fmin(1, fmax(0, 1 - left / t->s->seconds));
}

static bool watch(void *arg, const struct fasttext_progress *p)
{
    struct trial *t = arg;
    char detail[120], left[24];
    (void)snprintf(detail, sizeof detail, "trial %d  best %.2f %%  ETA %s", t->number,
                   100 * fmax(t->best, 0),
                   progress_duration((t->end_ns - clock_ns()) / 1000000000, left));
    progress_step(&t->bar, (int64_t)(part_done(t) * 1000), detail);
    return clock_ns() > t->end_ns || !isfinite(p->loss) || (t->s->stop && t->s->stop());
}

/* Right answers among lines, by the weights as they are. */
static double accuracy_of(const struct fasttext_dict *d, const struct fasttext_lines *l,
                          const struct fasttext_weights *w)
{
    size_t dim = (size_t)d->args.dim;
    bool hs = d->args.loss == FASTTEXT_HS;
    struct fasttext_tree *tree = hs ? fasttext_tree_open(d) : NULL;
    float *h = xcalloc(dim + ROWS_PAD, sizeof *h),
          *logits = xcalloc((size_t)d->n_labels + ROWS_PAD, sizeof *logits),
          *p = xcalloc((size_t)d->n_labels + ROWS_PAD, sizeof *p);
    int64_t right = 0;
    for (int32_t i = 0; i < l->n; i++) {
        memset(h, 0, dim * sizeof *h);
        for (int32_t k = l->start[i]; k < l->start[i + 1]; k++)
            rows()->add(h, h, w->input + (size_t)l->rows[k] * dim, (int)dim);
        rows()->scale(h, h, 1.0f / (float)(l->start[i + 1] - l->start[i]), (int)dim);
        for (int32_t o = 0; o < d->n_labels - hs; o++)
            logits[o] = rows()->dot(w->output + (size_t)o * dim, h, (int)dim);
        const float *scores = logits;
        if (hs) {
            fasttext_tree_probabilities(tree, logits, p);
            scores = p;
        }
        int32_t best = 0;
        for (int32_t o = 1; o < d->n_labels; o++)
            best = scores[o] > scores[best] ? o : best;
        right += best == l->label[i];
    }
    free(h);
    free(logits);
    free(p);
    fasttext_tree_close(tree);
    return l->n ? (double)right / l->n : 0;
}

/* Returns the accuracy, or -1 when it was ended. */
static int try(struct trial *t, const struct fasttext_choice *c, double *accuracy, struct err *err)
{
    const struct fasttext_search *s = t->s;
    struct fasttext_dict d;
    struct fasttext_lines train, held = {0};
    struct fasttext_weights w = {0};
    struct fasttext_args args = c->args;
    if (args.word_ngrams <= 1 && args.maxn == 0)
        args.bucket = 0; /* no rows for what there is none of */
    int rc = fasttext_corpus_make(s->train, s->classes, &args, s->words, &d, &train, err);
    *accuracy = -1;
    if (rc == 0)
        rc = fasttext_corpus_lines(s->held, s->classes, s->words, &d, &held, err);
    if (rc == 0) {
        if (fasttext_train(&d, &train, NULL, c->lr, c->args.epoch, s->seed, s->pool, watch, t, &w))
            *accuracy = accuracy_of(&d, &held, &w);
    }
    fasttext_weights_done(&w);
    fasttext_lines_done(&train);
    fasttext_lines_done(&held);
    fasttext_dict_done(&d);
    return rc;
}

/* A random step of a number on a logarithmic scale. */
static double step(const struct trial *t, uint64_t which, double now, double wide, double min,
                   double max)
{
    double spread = wide * fmax(0.1, 1 - part_done(t));
    double x = now * exp(spread * rng_normal(t->s->seed, stream_tune + which, (uint64_t)t->number));
    return fmin(max, fmax(min, x));
}

/* One in a few trials changes what has steps of its own. */
static uint64_t dice(const struct trial *t, uint64_t which, uint64_t sides)
{
    return rng_u64(t->s->seed, stream_tune + 16 + which, (uint64_t)t->number) % sides;
}

static struct fasttext_choice change(const struct trial *t, const struct fasttext_choice *best)
{
    static const int32_t subwords[][2] = {{0, 0}, {1, 2}, {2, 3}, {2, 4}, {3, 6}};
    const struct fasttext_fixed *f = &t->s->fixed;
    struct fasttext_choice c = *best;
    if (!f->epoch)
        c.args.epoch = (int32_t)lround(step(t, 0, c.args.epoch, 0.7, 1, 100));
    if (!f->lr)
        c.lr = step(t, 1, c.lr, 0.7, 0.01, 5);
    if (!f->dim && dice(t, 0, 3) == 0)
        c.args.dim = (int32_t)lround(step(t, 2, c.args.dim, 0.7, 8, 400) / 4) * 4;
    if (!f->word_ngrams && dice(t, 1, 3) == 0)
        c.args.word_ngrams = 1 + (int32_t)dice(t, 2, 5);
    if (!f->subwords && dice(t, 3, 4) == 0) {
        const int32_t *pair = subwords[dice(t, 4, sizeof subwords / sizeof *subwords)];
        c.args.minn = pair[0];
        c.args.maxn = pair[1];
    }
    if (!f->bucket && dice(t, 5, 4) == 0)
        c.args.bucket = (int32_t)step(t, 3, fmax(c.args.bucket, 100000), 1, 100000, 4000000);
    while (!f->bucket && (int64_t)c.args.bucket * c.args.dim * 4 > MOST_BYTES_GIB * GIB)
        c.args.bucket /= 2;
    return c;
}

static void tell(const struct trial *t, const struct fasttext_choice *c, double accuracy)
{
    (void)fprintf(t->s->console,
                  "trial %3d  %.2f %%  --epochs %d --lr %.4g --dim %d --word-ngrams %d --minn %d "
                  "--maxn %d --bucket %d  *\n",
                  t->number, 100 * accuracy, (int)c->args.epoch, c->lr, (int)c->args.dim,
                  (int)c->args.word_ngrams, (int)c->args.minn, (int)c->args.maxn,
                  (int)c->args.bucket);
    (void)fflush(t->s->console);
}

int fasttext_tune(const struct fasttext_search *s, struct fasttext_choice *best, double *accuracy,
                  struct err *err)
{
    struct trial t = {.s = s, .end_ns = clock_ns() + (int64_t)(s->seconds * 1e9), .best = -1};
    struct fasttext_choice c = *best;
    int rc = 0;
    progress_begin(&t.bar, s->console, "tune", 0, 1000);
    while (rc == 0 && clock_ns() < t.end_ns && !(s->stop && s->stop())) {
        double got;
        rc = try(&t, &c, &got, err);
        if (rc != 0 &&
            t.best >= 0) { /* too many n-grams for these titles, say: no reason to lose the best */
            progress_clear(&t.bar);
            (void)fprintf(s->console, "trial %3d  failed: %s\n", t.number, err->msg);
            got = -1;
            rc = 0;
        }
        if (rc == 0 && got > t.best) {
            t.best = got;
            *best = c;
            progress_clear(&t.bar);
            tell(&t, &c, got);
        }
        t.number++;
        c = change(&t, best);
    }
    progress_clear(&t.bar);
    *accuracy = t.best;
    if (rc == 0 && t.best < 0)
        rc = err_set(err, ERR_USAGE,
                     "no trial came to its end: give it more --seconds, or fewer --epochs");
    if (rc == 0)
        (void)fprintf(s->console, "tune: %d trials\n", t.number);
    return rc;
}
