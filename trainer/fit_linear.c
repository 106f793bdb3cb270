/* `fit --arch linear`: the n-gram table of the training titles, their TF-IDF rows, one support
 * vector machine a class, and the scale that turns scores into probabilities.
 *
 * The scale must be judged on titles that the weights have not seen, as their scores are larger on
 * those they have. So a tenth of every class is held out, table and weights are made from the rest,
 * the scale that makes the held-out titles most likely is found, and then table and weights are
 * made again from everything. Nothing is learnt from dev. */
#include "trainer/fit.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "models/linear.h"
#include "trainer/history.h"
#include "trainer/liblinear.h"
#include "trainer/ngram_rows.h"
#include "trainer/progress.h"
#include "trainer/report.h"
#include "trainer/softmax_train.h"
#include "trainer/teacher.h"

enum { EPOCHS = 10 /* of a student */ };
#define RATE                                                                                       \
    4.0f /* of a student: 3 to 10 are within 0.03 points of dev on 236,000 headlines, 30 diverges */
#define STREAM_HELD_OUT 0x68656c64ULL /* rng stream */
#define CHUNK 1024                    /* titles whose scores one piece of work makes */

struct fitted {
    struct ngrams *ngrams;
    float *weight, *bias;
    struct linear_weights view;
};

static void fitted_done(struct fitted *m)
{
    ngrams_close(m->ngrams);
    free(m->weight);
    free(m->bias);
    *m = (struct fitted){0};
}

struct watcher {
    const struct fit *f;
    struct progress bar;
    int32_t done;
};

static void class_done(void *arg, int32_t label)
{
    struct watcher *w = arg;
    char detail[160];
    const struct classes *c = &w->f->corpus.classes;
    (void)snprintf(detail, sizeof detail, "%d of %d classes (%s), %.1f s", (int)++w->done,
                   (int)c->n, c->names[label], (double)(clock_ns() - w->bar.start_ns) / 1e9);
    if (w->bar.tty)
        progress_step(&w->bar, w->done, detail);
    else
        (void)fprintf(w->bar.out, "%-12s %s\n", w->bar.label, detail);
}

static int learn_labels(const struct fit *f, const struct sparse *x, const struct batch *b,
                        const char *stage, struct fitted *out, struct err *err)
{
    struct watcher watcher = {.f = f};
    progress_begin(&watcher.bar, f->console, stage, 0, f->corpus.classes.n);
    struct liblinear_options opt = {.c = options_real(f->o, "c"),
                                    .eps = options_real(f->o, "tolerance"),
                                    .done = class_done,
                                    .arg = &watcher};
    int rc = liblinear_fit(x, b->labels, f->corpus.classes.n, &opt, f->pool, out->weight, out->bias,
                           err);
    progress_clear(&watcher.bar);
    return rc;
}

static void epoch_done(void *arg, int32_t epochs)
{
    progress_step(arg, epochs, NULL);
}

/* pick: which titles b has; NULL: all. */
static int learn_taught(const struct fit *f, const struct sparse *x, const struct batch *b,
                        const uint32_t *pick, const char *stage, struct fitted *out)
{
    size_t labels = (size_t)f->corpus.classes.n, n = (size_t)b->n;
    float *picked = xmalloc(n * labels * sizeof *picked + 1);
    struct teaching teaching = {f->teacher->taught, f->teacher->temperature, f->teacher->part};
    struct progress bar;
    if (pick)
        teacher_pick(f->teacher, pick, b->n, picked, &teaching);
    progress_begin(&bar, f->console, stage, 0, EPOCHS);
    struct softmax_options opt = {.epochs = EPOCHS,
                                  .rate = RATE,
                                  .seed = (uint64_t)options_int(f->o, "seed"),
                                  .done = epoch_done,
                                  .arg = &bar};
    softmax_train(x, b->labels, &teaching, (int32_t)labels, &opt, out->weight, out->bias);
    progress_end(&bar, "%d passes, %.1f s", EPOCHS, (double)(clock_ns() - bar.start_ns) / 1e9);
    free(picked);
    return 0;
}

/* Table and weights from the titles of b, which are those of pick (NULL: all). stage names the work on the console. */
static int fit_titles(const struct fit *f, const struct batch *b, const uint32_t *pick,
                      const char *stage, struct fitted *out, struct err *err)
{
    *out = (struct fitted){0};
    struct progress bar;
    progress_begin(&bar, f->console, stage, 0, 0);
    if (ngrams_build(b, (int32_t)options_int(f->o, "min-df"), &out->ngrams, err) != 0)
        return -1;
    struct ngram_rows rows;
    ngram_rows_make(&rows, out->ngrams, b, f->pool);
    size_t columns = (size_t)ngrams_count(out->ngrams), labels = (size_t)f->corpus.classes.n;
    progress_end(&bar, "%d titles, %zu n-grams, %.1f s", (int)b->n, columns,
                 (double)(clock_ns() - bar.start_ns) / 1e9);

    out->weight = xmalloc(labels * columns * sizeof *out->weight);
    out->bias = xmalloc(labels * sizeof *out->bias);
    int rc = f->teacher ? learn_taught(f, &rows.x, b, pick, stage, out)
                        : learn_labels(f, &rows.x, b, stage, out, err);
    ngram_rows_done(&rows);
    if (rc != 0) {
        fitted_done(out);
        return -1;
    }
    out->view = (struct linear_weights){.ngrams = out->ngrams,
                                        .weight = out->weight,
                                        .bias = out->bias,
                                        .n_labels = (int32_t)labels,
                                        .max_tokens = (int32_t)options_int(f->o, "max-length"),
                                        .scale = 1};
    return 0;
}

struct score_job {
    const struct fitted *m;
    const struct batch *b;
    double *scores;
};

static void score_chunk(void *arg, int piece, int thread)
{
    (void)thread;
    const struct score_job *job = arg;
    const struct batch *b = job->b;
    int32_t first = piece * CHUNK, end = b->n - first > CHUNK ? first + CHUNK : b->n;
    int32_t index[LINEAR_MAX_NGRAM * LINEAR_MAX_TOKENS];
    float value[LINEAR_MAX_NGRAM * LINEAR_MAX_TOKENS];
    for (int32_t i = first; i < end; i++) {
        int32_t n = linear_features(job->m->ngrams, b->ids + b->start[i],
                                    b->start[i + 1] - b->start[i], index, value);
        linear_scores(&job->m->view, index, value, n,
                      job->scores + (int64_t)i * job->m->view.n_labels);
    }
}

/* scores[b->n][labels], malloc'd. */
static double *score_all(const struct fitted *m, const struct batch *b, struct pool *pool)
{
    struct score_job job = {m, b, NULL};
    job.scores = xmalloc((size_t)b->n * (size_t)m->view.n_labels * sizeof *job.scores);
    pool_run(pool, (b->n + CHUNK - 1) / CHUNK, score_chunk, &job);
    return job.scores;
}

/* Mean -ln softmax(scale * scores)[label]. */
static double mean_loss(const double *scores, const int32_t *labels, int32_t n, int32_t classes,
                        double scale)
{
    double sum = 0;
    for (int32_t i = 0; i < n; i++, scores += classes) {
        double most = scores[0], total = 0;
        for (int32_t c = 1; c < classes; c++)
            most = scores[c] > most ? scores[c] : most;
        for (int32_t c = 0; c < classes; c++)
            total += exp(scale * (scores[c] - most));
        sum += log(total) - scale * (scores[labels[i]] - most);
    }
    return n ? sum / n : 0;
}

/* The loss is convex in the scale, so it has one minimum over ln(scale) too: golden section within
 * e^-7 .. e^7. */
static double best_scale(const double *scores, const int32_t *labels, int32_t n, int32_t classes)
{
    const double golden = 0.6180339887498949;
    double low = -7, high = 7;
    double a = high - golden * (high - low), b = low + golden * (high - low);
    double fa = mean_loss(scores, labels, n, classes, exp(a));
    double fb = mean_loss(scores, labels, n, classes, exp(b));
    while (high - low > 1e-4) {
        if (fa <= fb) {
            high = b;
            b = a;
            fb = fa;
            a = high - golden * (high - low);
            fa = mean_loss(scores, labels, n, classes, exp(a));
        } else {
            low = a;
            a = b;
            fa = fb;
            b = low + golden * (high - low);
            fb = mean_loss(scores, labels, n, classes, exp(b));
        }
    }
    return exp((low + high) / 2);
}

/* The titles named by pick, as a batch with storage of its own. */
struct part {
    int32_t *ids, *start, *labels;
    uint32_t *pick; /* [batch.n] */
    struct batch batch;
};

static void part_make(struct part *p, const struct packed *all, const uint32_t *pick, int32_t n)
{
    size_t ids = 0;
    for (int32_t i = 0; i < n; i++)
        ids += (size_t)(all->start[pick[i] + 1] - all->start[pick[i]]);
    p->ids = xmalloc(ids * sizeof *p->ids);
    p->start = xmalloc(((size_t)n + 1) * sizeof *p->start);
    p->labels = xmalloc((size_t)n * sizeof *p->labels);
    p->pick = xmalloc((size_t)n * sizeof *p->pick + 1);
    memcpy(p->pick, pick, (size_t)n * sizeof *p->pick);
    packed_pick(all, pick, n, p->ids, p->start, p->labels);
    p->batch = (struct batch){.ids = p->ids, .start = p->start, .labels = p->labels, .n = n};
}

static void part_done(struct part *p)
{
    free(p->ids);
    free(p->start);
    free(p->labels);
    free(p->pick);
}

/* Puts a tenth of every class into held, the rest into kept, both in an order drawn from the seed.
 */
static void hold_out(const struct fit *f, struct part *kept, struct part *held)
{
    size_t n = f->corpus.train.n, labels = (size_t)f->corpus.classes.n;
    uint32_t *order = xmalloc(n * sizeof *order), *first = xmalloc(n * sizeof *first);
    size_t *quota = xcalloc(labels, sizeof *quota), n_kept = 0, n_held = 0;
    for (size_t i = 0; i < n; i++) {
        order[i] = (uint32_t)i;
        if (f->corpus.train.labels[i] >= 0)
            quota[f->corpus.train.labels[i]]++;
    }
    for (size_t c = 0; c < labels; c++)
        quota[c] /= 10;
    rng_shuffle(order, n, (uint64_t)options_int(f->o, "seed"), STREAM_HELD_OUT);
    for (size_t i = 0; i < n; i++) {
        int32_t label = f->corpus.train.labels[order[i]];
        if (label >= 0 && quota[label]) {
            quota[label]--;
            first[n_held++] = order[i];
        } else {
            order[n_kept++] = order[i];
        }
    }
    part_make(kept, &f->train, order, (int32_t)n_kept);
    part_make(held, &f->train, first, (int32_t)n_held);
    free(order);
    free(first);
    free(quota);
}

/* Finds the scale. A training set too small to hold anything out keeps scale 1. */
static int calibrate(const struct fit *f, struct buf *log, double *scale, struct err *err)
{
    struct part kept, held;
    struct fitted m;
    *scale = 1;
    hold_out(f, &kept, &held);
    int rc = 0;
    if (held.batch.n > 0)
        rc = fit_titles(f, &kept.batch, kept.pick, "calibration", &m, err);
    if (rc == 0 && held.batch.n > 0) {
        double *scores = score_all(&m, &held.batch, f->pool);
        int32_t n = held.batch.n, labels = m.view.n_labels;
        *scale = best_scale(scores, held.labels, n, labels);
        double before = mean_loss(scores, held.labels, n, labels, 1);
        double after = mean_loss(scores, held.labels, n, labels, *scale);
        (void)fprintf(f->console,
                      "%-12s scale %.4f: loss of %d held-out titles %.4f, unscaled %.4f\n",
                      "calibration", *scale, (int)n, after, before);
        buf_printf(log,
                   "{\"stage\":\"calibration\",\"titles\":%d,\"ngrams\":%lld,\"scale\":%.9g,"
                   "\"held_out_loss\":%.9g}\n",
                   (int)kept.batch.n, (long long)ngrams_count(m.ngrams), *scale, after);
        free(scores);
        fitted_done(&m);
    }
    part_done(&kept);
    part_done(&held);
    return rc;
}

static void judge_dev(const struct fit *f, const struct fitted *m, struct buf *log)
{
    int32_t labels = m->view.n_labels;
    double *scores = score_all(m, &f->dev.batch, f->pool), *row = scores;
    int64_t right = 0;
    for (int32_t i = 0; i < f->dev.batch.n; i++, row += labels) {
        int32_t best = 0;
        for (int32_t c = 1; c < labels; c++)
            best = row[c] > row[best] ? c : best;
        right += best == f->dev.batch.labels[i];
    }
    double loss =
        mean_loss(scores, f->dev.batch.labels, f->dev.batch.n, labels, (double)m->view.scale);
    buf_printf(log,
               "{\"stage\":\"final\",\"titles\":%d,\"ngrams\":%lld,\"dev_loss\":%.9g,"
               "\"dev_accuracy\":%.9g}\n",
               (int)f->train.batch.n, (long long)ngrams_count(m->ngrams), loss,
               (double)right / f->dev.batch.n);
    free(scores);
}

int fit_linear(struct fit *f, struct err *err)
{
    struct buf log;
    struct fitted m = {0};
    double scale;
    buf_init(&log, (size_t)1 << 20);
    int rc = calibrate(f, &log, &scale, err);
    if (rc == 0)
        rc = fit_titles(f, &f->train.batch, NULL, "training", &m, err);
    if (rc == 0) {
        m.view.scale = (float)scale;
        judge_dev(f, &m, &log);
        rc = linear_save(f->out.staging, fit_model_name(f), &m.view, f->vocab, &f->corpus.classes,
                         fit_dtype(f->o), err);
        if (rc == 0)
            rc = history_write(f->out.staging, &log, err);
        if (rc == 0)
            rc = fit_write_log(f, &log, err);
        if (rc == 0)
            rc = outdir_commit(&f->out, err);
        fitted_done(&m);
    }
    buf_done(&log);
    return rc;
}
