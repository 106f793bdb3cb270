/* `fit --arch textcnn`: AdamW over shuffled batches, evaluated on dev every so often, the best weights kept.
 *
 * A run is a function of the data and the options that settings_text() lists. The order of an epoch comes from (seed, epoch), a
 * dropout mask from (seed, iteration), sums are made in fixed pieces, and everything else a step needs is in struct checkpoint:
 * so neither the number of threads nor an interruption changes a bit of the model or of the log. */
#include "trainer/fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "models/textcnn.h"
#include "ops/adamw.h"
#include "trainer/checkpoint.h"
#include "trainer/progress.h"
#include "trainer/stop.h"

#define STREAM_ORDER 0x6f726472ULL /* rng streams; the epoch is added to the high half */
#define STREAM_CHARS 0x63686172ULL
#define DEV_CHUNK 1024 /* titles evaluated at a time */
#define LOG_MAX ((size_t)1 << 28)

struct trainer {
    struct fit *f;
    struct textcnn_config cfg;
    struct textcnn_param params[TEXTCNN_MAX_PARAMS];
    int n_params;
    struct textcnn_train *ws;
    struct checkpoint c;
    float *grads, *logits;
    uint32_t *order; /* of the epoch order_epoch */
    int64_t order_epoch, steps, total; /* iterations in an epoch, in the whole run */
    int32_t *ids, *start, *labels, batch;
    uint64_t seed;
    double char_dropout, ema;
    int64_t start_ns;
    struct progress bar;
    char *settings;
};

/* Everything that the result depends on, for the checkpoint. */
static char *settings_text(const struct fit *f)
{
    static const char *const names[] = {
        "arch",      "seed",       "max-length",   "min-count",       "epochs",  "batch",
        "lr",        "schedule",   "warmup",       "weight-decay",    "dropout", "label-smoothing",
        "char-dropout", "embedding-std", "ema",    "eval-every",      "patience", "keep"};
    struct buf text;
    buf_init(&text, 1 << 16);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        buf_printf(&text, "%s = %s\n", names[i], options_str(f->o, names[i]));
    buf_printf(&text, "data = %s\n", f->corpus.digest);
    return buf_take(&text);
}

static double elapsed(const struct trainer *t)
{
    return t->c.seconds + (double)(clock_ns() - t->start_ns) / 1e9;
}

/* ---- one step ---- */

static float learning_rate(const struct trainer *t, int64_t iteration)
{
    const struct options *o = t->f->o;
    const char *schedule = options_str(o, "schedule");
    double lr = options_real(o, "lr");
    int64_t warmup = options_int(o, "warmup");
    if (iteration < warmup)
        return (float)(lr * (double)(iteration + 1) / (double)warmup);
    double part = (double)(iteration - warmup) / (double)(t->total - warmup);
    if (strcmp(schedule, "linear") == 0)
        return (float)(lr * (1 - part));
    if (strcmp(schedule, "cosine") == 0)
        return (float)(lr * 0.5 * (1 + cos(M_PI * part)));
    return (float)lr;
}

static struct batch next_batch(struct trainer *t)
{
    int64_t epoch = t->c.iteration / t->steps, step = t->c.iteration % t->steps;
    size_t n = t->f->corpus.train.n;
    if (epoch != t->order_epoch) {
        for (size_t i = 0; i < n; i++)
            t->order[i] = (uint32_t)i;
        rng_shuffle(t->order, n, t->seed, STREAM_ORDER + ((uint64_t)epoch << 32));
        t->order_epoch = epoch;
    }
    size_t first = (size_t)step * (size_t)t->batch;
    int32_t count = n - first < (size_t)t->batch ? (int32_t)(n - first) : t->batch;
    packed_pick(&t->f->train, t->order + first, count, t->ids, t->start, t->labels);
    for (int32_t i = 0; t->char_dropout > 0 && i < t->start[count]; i++)
        if (rng_uniform(t->seed, STREAM_CHARS + ((uint64_t)t->c.iteration << 32), (uint64_t)i) <
            t->char_dropout)
            t->ids[i] = VOCAB_UNK;
    return (struct batch){.ids = t->ids, .start = t->start, .labels = t->labels, .n = count};
}

static void update_weights(struct trainer *t)
{
    struct adamw base = {.lr = learning_rate(t, t->c.iteration),
                         .beta1 = 0.9f,
                         .beta2 = 0.999f,
                         .eps = 1e-8f,
                         .grad_scale = 1};
    float decay = (float)options_real(t->f->o, "weight-decay");
    for (int i = 0; i < t->n_params; i++) {
        const struct textcnn_param *p = &t->params[i];
        base.weight_decay = p->decay ? decay : 0;
        struct adamw at = adamw_at(&base, t->c.iteration + 1);
        adamw_step(&at, t->c.w + p->offset, t->grads + p->offset, t->c.m + p->offset,
                   t->c.v + p->offset, p->size, t->f->pool);
    }
}

#define EMA_PIECE 65536

static void average_piece(void *arg, int piece, int thread)
{
    (void)thread;
    struct trainer *t = arg;
    size_t first = (size_t)piece * EMA_PIECE;
    size_t end = t->c.size - first > EMA_PIECE ? first + EMA_PIECE : t->c.size;
    /* A short memory at first, so that the random start is forgotten. */
    double k = (double)t->c.iteration, grown = (1 + k) / (10 + k);
    float rest = (float)(1 - (grown < t->ema ? grown : t->ema));
    for (size_t i = first; i < end; i++)
        t->c.ema[i] += rest * (t->c.w[i] - t->c.ema[i]);
}

static int train_step(struct trainer *t, struct err *err)
{
    struct batch b = next_batch(t);
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
    if (t->c.ema)
        pool_run(t->f->pool, (int)((t->c.size + EMA_PIECE - 1) / EMA_PIECE), average_piece, t);
    t->c.loss_sum += result.loss * b.n;
    t->c.correct += result.correct;
    t->c.seen += b.n;
    return 0;
}

/* ---- evaluation ---- */

static void judge_dev(struct trainer *t, double *loss, double *accuracy)
{
    const struct batch *dev = &t->f->dev.batch;
    int32_t labels = t->cfg.n_labels;
    int64_t right = 0;
    double sum = 0;
    int32_t start[DEV_CHUNK + 1];
    for (int32_t first = 0; first < dev->n; first += DEV_CHUNK) {
        int32_t n = dev->n - first < DEV_CHUNK ? dev->n - first : DEV_CHUNK;
        for (int32_t i = 0; i <= n; i++)
            start[i] = dev->start[first + i] - dev->start[first];
        struct batch b = {.ids = dev->ids + dev->start[first], .start = start, .n = n};
        textcnn_forward(&t->cfg, t->c.ema ? t->c.ema : t->c.w, t->ws, &b, t->f->pool, t->logits);
        for (int32_t i = 0; i < n; i++) {
            const float *row = t->logits + (size_t)i * (size_t)labels;
            int32_t best = 0, label = dev->labels[first + i];
            double total = 0;
            for (int32_t c = 1; c < labels; c++)
                best = row[c] > row[best] ? c : best;
            for (int32_t c = 0; c < labels; c++)
                total += exp((double)row[c] - (double)row[best]);
            sum += log(total) - ((double)row[label] - (double)row[best]);
            right += best == label;
        }
    }
    *loss = sum / dev->n;
    *accuracy = (double)right / dev->n;
}

static int publish(struct trainer *t, struct err *err)
{
    const struct fit *f = t->f;
    enum dtype dtype = strcmp(options_str(f->o, "dtype"), "f16") == 0 ? DT_F16 : DT_F32;
    if (textcnn_save(f->out.staging, fit_model_name(f), &t->cfg, t->c.best, f->vocab,
                     &f->corpus.classes, dtype, err) != 0)
        return -1;
    return outdir_commit(&t->f->out, err);
}

/* The log first: after a kill, --resume writes again the log that belongs to the checkpoint. */
static int write_checkpoint(struct trainer *t, struct err *err)
{
    struct checkpoint c = t->c;
    c.seconds = elapsed(t);
    return checkpoint_write(t->f->out.checkpoint, &c, t->settings, err);
}

static int evaluate(struct trainer *t, struct err *err)
{
    struct checkpoint *c = &t->c;
    double loss, accuracy;
    judge_dev(t, &loss, &accuracy);
    if (!isfinite(loss))
        return err_set(err, ERR_NUMERIC, "iteration %lld: the dev loss is %g; try a smaller --lr",
                       (long long)c->iteration, loss);
    bool by_loss = strcmp(options_str(t->f->o, "keep"), "loss") == 0;
    bool lower = loss < c->best_loss, higher = accuracy > c->best_accuracy;
    bool best = by_loss ? lower : higher;
    if (lower)
        c->best_loss = loss;
    if (higher)
        c->best_accuracy = accuracy;
    if (lower || best)
        c->improved = c->iteration;
    if (best) {
        c->best_iteration = c->iteration;
        memcpy(c->best, c->ema ? c->ema : c->w, c->size * sizeof *c->best);
    }
    double train_loss = c->loss_sum / (double)c->seen;
    double train_accuracy = (double)c->correct / (double)c->seen;
    char s[24];
    progress_clear(&t->bar);
    (void)fprintf(t->f->console,
                  "iter %6lld  train loss %.4f  acc %6.2f %%  dev loss %.4f  acc %6.2f %%  %s%s\n",
                  (long long)c->iteration, train_loss, 100 * train_accuracy, loss, 100 * accuracy,
                  progress_duration((int64_t)elapsed(t), s), best ? "  *" : "");
    (void)fflush(t->f->console);
    buf_printf(&c->log,
               "{\"iteration\":%lld,\"train_loss\":%.9g,\"train_accuracy\":%.9g,\"dev_loss\":%.9g,"
               "\"dev_accuracy\":%.9g,\"best\":%s}\n",
               (long long)c->iteration, train_loss, train_accuracy, loss, accuracy,
               best ? "true" : "false");
    c->loss_sum = 0;
    c->seen = c->correct = 0;
    if (fit_write_log(t->f, &c->log, err) != 0 || write_checkpoint(t, err) != 0)
        return -1;
    return best && c->publish ? publish(t, err) : 0;
}

/* ---- the run ---- */

static void trainer_open(struct trainer *t, struct fit *f)
{
    const struct options *o = f->o;
    *t = (struct trainer){.f = f, .order_epoch = -1};
    t->cfg = textcnn_config_default(vocab_size(f->vocab), f->corpus.classes.n);
    t->cfg.max_tokens = (int32_t)options_int(o, "max-length");
    t->cfg.dropout = (float)options_real(o, "dropout");
    t->n_params = textcnn_params(&t->cfg, t->params);
    t->seed = (uint64_t)options_int(o, "seed");
    t->batch = (int32_t)options_int(o, "batch");
    t->char_dropout = options_real(o, "char-dropout");
    t->ema = options_real(o, "ema");
    t->steps = ((int64_t)f->corpus.train.n + t->batch - 1) / t->batch;
    t->total = t->steps * options_int(o, "epochs");
    t->settings = settings_text(f);

    size_t size = textcnn_size(&t->cfg), rows = (size_t)t->batch;
    int32_t titles = t->batch > DEV_CHUNK ? t->batch : DEV_CHUNK;
    t->ws = textcnn_train_open(&t->cfg, titles, titles * t->cfg.max_tokens);
    t->grads = xmalloc(size * sizeof *t->grads);
    t->logits = xmalloc((size_t)DEV_CHUNK * (size_t)t->cfg.n_labels * sizeof *t->logits);
    t->order = xmalloc(f->corpus.train.n * sizeof *t->order);
    t->ids = xmalloc(rows * (size_t)t->cfg.max_tokens * sizeof *t->ids);
    t->start = xmalloc((rows + 1) * sizeof *t->start);
    t->labels = xmalloc(rows * sizeof *t->labels);
    t->c = (struct checkpoint){.size = size, .best_loss = INFINITY, .best_accuracy = -1};
    /* An old model is replaced when the new one is finished; where there is none, the best so far is better than nothing. */
    t->c.publish = !f->out.has_model;
    t->c.w = xmalloc(size * sizeof(float));
    t->c.m = xcalloc(size, sizeof(float));
    t->c.v = xcalloc(size, sizeof(float));
    t->c.best = xcalloc(size, sizeof(float));
    textcnn_init(&t->cfg, t->seed, (float)options_real(o, "embedding-std"), t->c.w);
    if (t->ema > 0) {
        t->c.ema = xmalloc(size * sizeof(float));
        memcpy(t->c.ema, t->c.w, size * sizeof(float));
    }
    buf_init(&t->c.log, LOG_MAX);
    t->start_ns = clock_ns();
}

static void trainer_close(struct trainer *t)
{
    textcnn_train_close(t->ws);
    free(t->grads);
    free(t->logits);
    free(t->order);
    free(t->ids);
    free(t->start);
    free(t->labels);
    free(t->c.w);
    free(t->c.m);
    free(t->c.v);
    free(t->c.best);
    free(t->c.ema);
    buf_done(&t->c.log);
    free(t->settings);
}

static int resume(struct trainer *t, struct err *err)
{
    if (!t->f->out.has_checkpoint) {
        buf_printf(&t->c.log, "{\"arch\":\"textcnn\",\"seed\":%llu,\"titles\":%zu,\"iterations\":%lld}\n",
                   (unsigned long long)t->seed, t->f->corpus.train.n, (long long)t->total);
        return 0;
    }
    if (checkpoint_read(t->f->out.checkpoint, &t->c, t->settings, err) != 0)
        return -1;
    if (t->c.iteration > t->total)
        return err_set(err, ERR_FORMAT, "%s: iteration %lld of %lld", t->f->out.checkpoint,
                       (long long)t->c.iteration, (long long)t->total);
    (void)fprintf(t->f->console, "%-12s from iteration %lld\n", "resumed",
                  (long long)t->c.iteration);
    return fit_write_log(t->f, &t->c.log, err);
}

static void begin_epoch(struct trainer *t)
{
    char label[48];
    (void)snprintf(label, sizeof label, "epoch %lld/%lld", (long long)(t->c.iteration / t->steps + 1),
                   (long long)(t->total / t->steps));
    progress_begin(&t->bar, t->f->console, label, t->c.iteration % t->steps, t->steps);
}

/* After a step: done is 1 .. steps within the epoch. */
static void show_step(struct trainer *t)
{
    int64_t done = (t->c.iteration - 1) % t->steps + 1;
    double rate = progress_rate(&t->bar, done);
    char detail[120], s[24];
    if (done == t->steps) {
        progress_end(&t->bar, "%lld iterations, %.1f it/s", (long long)t->steps, rate);
    } else if (t->bar.tty && t->c.seen) {
        (void)snprintf(detail, sizeof detail,
                       "%lld/%lld  %.1f it/s  loss %.4f  acc %.2f %%  left %s", (long long)done,
                       (long long)t->steps, rate, t->c.loss_sum / (double)t->c.seen,
                       100 * (double)t->c.correct / (double)t->c.seen,
                       progress_duration(progress_left(&t->bar, done), s));
        progress_step(&t->bar, done, detail);
    }
}

static bool out_of_patience(const struct trainer *t)
{
    int64_t patience = options_int(t->f->o, "patience");
    return patience > 0 && t->c.iteration - t->c.improved > patience &&
           t->c.iteration % options_int(t->f->o, "eval-every") == 0;
}

static int stopped(struct trainer *t, int signal_number, struct err *err)
{
    progress_clear(&t->bar);
    if (write_checkpoint(t, err) != 0)
        return -1;
    (void)fprintf(t->f->console,
                  "stopped at iteration %lld of %lld; the same command with --resume goes on\n",
                  (long long)t->c.iteration, (long long)t->total);
    return 128 + signal_number;
}

static int train_all(struct trainer *t, struct err *err)
{
    int64_t every = options_int(t->f->o, "eval-every");
    int64_t between = options_int(t->f->o, "checkpoint-every");
    bool fresh = true;
    while (t->c.iteration < t->total && !out_of_patience(t)) {
        if (fresh || t->c.iteration % t->steps == 0)
            begin_epoch(t);
        fresh = false;
        if (train_step(t, err) != 0) {
            progress_clear(&t->bar);
            return -1;
        }
        show_step(t);
        int rc = 0;
        if (t->c.iteration % every == 0 || t->c.iteration == t->total)
            rc = evaluate(t, err);
        else if (between && t->c.iteration % between == 0)
            rc = write_checkpoint(t, err);
        if (rc != 0)
            return rc;
        if (stop_signal())
            return stopped(t, stop_signal(), err);
    }
    return 0;
}

static int finish(struct trainer *t, struct err *err)
{
    struct checkpoint *c = &t->c;
    bool early = c->iteration < t->total;
    if (early)
        (void)fprintf(t->f->console,
                      "early stopping: no better dev loss for %lld iterations\n",
                      (long long)(c->iteration - c->improved));
    (void)fprintf(t->f->console, "best weights: iteration %lld\n", (long long)c->best_iteration);
    buf_printf(&c->log, "{\"stopped\":\"%s\",\"iteration\":%lld,\"best_iteration\":%lld}\n",
               early ? "early" : "end", (long long)c->iteration, (long long)c->best_iteration);
    if (publish(t, err) != 0 || fit_write_log(t->f, &c->log, err) != 0)
        return -1;
    return outdir_complete(&t->f->out, err);
}

int fit_textcnn(struct fit *f, struct err *err)
{
    struct trainer t;
    trainer_open(&t, f);
    stop_catch();
    int rc = resume(&t, err);
    if (rc == 0)
        rc = train_all(&t, err);
    if (rc == 0)
        rc = finish(&t, err);
    stop_release();
    trainer_close(&t);
    return rc;
}
