/* `fit --arch textcnn`: steps of training (textcnn_step.h), evaluated on dev every so often, the
 * best weights kept. */
#include "trainer/fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "trainer/history.h"
#include "trainer/progress.h"
#include "trainer/stop.h"
#include "trainer/textcnn_step.h"

#define DEV_CHUNK 1024 /* titles evaluated at a time */

struct run {
    struct fit *f;
    struct stepper s;
    float *logits; /* [DEV_CHUNK][labels] */
    int64_t start_ns;
    struct progress bar;
    char *settings;
};

/* What may not change when a checkpoint is resumed. */
static char *settings_text(const struct fit *f)
{
    struct buf text;
    buf_init(&text, 1 << 16);
    buf_puts(&text, "arch = textcnn\n");
    for (size_t i = 0; i < fit_n_options; i++)
        if (fit_options[i].role == FIT_COURSE && fit_option_applies(&fit_options[i], "textcnn"))
            buf_printf(&text, "%s = %s\n", fit_options[i].name,
                       options_str(f->o, fit_options[i].name));
    buf_printf(&text, "data = %s\n", f->corpus.digest);
    return buf_take(&text);
}

static double elapsed(const struct run *t)
{
    return t->s.c.seconds + (double)(clock_ns() - t->start_ns) / 1e9;
}

static void judge_dev(struct run *t, double *loss, double *accuracy)
{
    const struct batch *dev = &t->f->dev.batch;
    int32_t labels = t->s.cfg.n_labels;
    int64_t right = 0;
    double sum = 0;
    int32_t start[DEV_CHUNK + 1];
    for (int32_t first = 0; first < dev->n; first += DEV_CHUNK) {
        int32_t n = dev->n - first < DEV_CHUNK ? dev->n - first : DEV_CHUNK;
        for (int32_t i = 0; i <= n; i++)
            start[i] = dev->start[first + i] - dev->start[first];
        struct batch b = {.ids = dev->ids + dev->start[first], .start = start, .n = n};
        textcnn_forward(&t->s.cfg, stepper_weights(&t->s), t->s.ws, &b, t->f->pool, t->logits);
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

static int publish(struct run *t, struct err *err)
{
    const struct fit *f = t->f;
    enum dtype dtype = strcmp(options_str(f->o, "dtype"), "f16") == 0 ? DT_F16 : DT_F32;
    if (textcnn_save(f->out.staging, fit_model_name(f), &t->s.cfg, t->s.c.best, f->vocab,
                     &f->corpus.classes, dtype, err) != 0 ||
        history_write(f->out.staging, &t->s.c.log, err) != 0)
        return -1;
    return outdir_commit(&t->f->out, err);
}

static int write_checkpoint(struct run *t, struct err *err)
{
    struct checkpoint c = t->s.c;
    c.seconds = elapsed(t);
    if (stepper_check(&t->s, err) != 0)
        return -1;
    return checkpoint_write(t->f->out.checkpoint, &c, t->settings, err);
}

static int evaluate(struct run *t, struct err *err)
{
    struct checkpoint *c = &t->s.c;
    double loss, accuracy;
    judge_dev(t, &loss, &accuracy);
    if (!isfinite(loss))
        return err_set(err, ERR_NUMERIC, "iteration %lld: the dev loss is %g; try a smaller --lr",
                       (long long)c->iteration, loss);
    if (stepper_check(&t->s, err) != 0)
        return -1;
    bool by_loss = strcmp(options_str(t->f->o, "keep"), "loss") == 0;
    bool lower = loss < c->best_loss;
    bool higher = accuracy > c->best_accuracy;
    bool best = by_loss ? lower : higher;
    if (lower)
        c->best_loss = loss;
    if (higher)
        c->best_accuracy = accuracy;
    if (lower || best)
        c->improved = c->iteration;
    if (best) {
        c->best_iteration = c->iteration;
        memcpy(c->best, stepper_weights(&t->s), c->size * sizeof *c->best);
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
    /* The log first: after a kill in between, --resume writes again the log that belongs to the
     * checkpoint. */
    if (fit_write_log(t->f, &c->log, err) != 0 || write_checkpoint(t, err) != 0)
        return -1;
    return best && c->publish ? publish(t, err) : 0;
}

static void run_open(struct run *t, struct fit *f)
{
    *t = (struct run){.f = f, .settings = settings_text(f), .start_ns = clock_ns()};
    stepper_open(&t->s, f, DEV_CHUNK);
    t->logits = xmalloc((size_t)DEV_CHUNK * (size_t)t->s.cfg.n_labels * sizeof *t->logits);
    /* An old model is replaced when the new one is finished; where there is none, the best so far
     * is better than nothing. */
    t->s.c.publish = !f->out.has_model;
}

static void run_close(struct run *t)
{
    stepper_close(&t->s);
    free(t->logits);
    free(t->settings);
}

static int resume(struct run *t, struct err *err)
{
    if (!t->f->out.has_checkpoint) {
        buf_printf(&t->s.c.log,
                   "{\"arch\":\"textcnn\",\"seed\":%llu,\"titles\":%zu,\"iterations\":%lld}\n",
                   (unsigned long long)t->s.seed, t->f->corpus.train.n, (long long)t->s.total);
        return 0;
    }
    if (checkpoint_read(t->f->out.checkpoint, &t->s.c, t->settings, err) != 0)
        return -1;
    if (t->s.c.iteration > t->s.total)
        return err_set(err, ERR_FORMAT, "%s: iteration %lld of %lld", t->f->out.checkpoint,
                       (long long)t->s.c.iteration, (long long)t->s.total);
    (void)fprintf(t->f->console, "%-12s from iteration %lld\n", "resumed",
                  (long long)t->s.c.iteration);
    return fit_write_log(t->f, &t->s.c.log, err);
}

static void begin_epoch(struct run *t)
{
    char label[48];
    (void)snprintf(label, sizeof label, "epoch %lld/%lld",
                   (long long)(t->s.c.iteration / t->s.steps + 1),
                   (long long)(t->s.total / t->s.steps));
    progress_begin(&t->bar, t->f->console, label, t->s.c.iteration % t->s.steps, t->s.steps);
}

/* After a step: done is 1 .. steps within the epoch. */
static void show_step(struct run *t)
{
    int64_t done = (t->s.c.iteration - 1) % t->s.steps + 1;
    double rate = progress_rate(&t->bar, done);
    char detail[120], s[24];
    if (done == t->s.steps) {
        progress_end(&t->bar, "%lld iterations, %.1f it/s", (long long)t->s.steps, rate);
    } else if (t->bar.tty && t->s.c.seen) {
        (void)snprintf(detail, sizeof detail,
                       "%lld/%lld  %.1f it/s  loss %.4f  acc %.2f %%  left %s", (long long)done,
                       (long long)t->s.steps, rate, t->s.c.loss_sum / (double)t->s.c.seen,
                       100 * (double)t->s.c.correct / (double)t->s.c.seen,
                       progress_duration(progress_left(&t->bar, done), s));
        progress_step(&t->bar, done, detail);
    }
}

static bool out_of_patience(const struct run *t)
{
    int64_t patience = options_int(t->f->o, "patience");
    return patience > 0 && t->s.c.iteration - t->s.c.improved > patience &&
           t->s.c.iteration % options_int(t->f->o, "eval-every") == 0;
}

static int stopped(struct run *t, int signal_number, struct err *err)
{
    progress_clear(&t->bar);
    if (write_checkpoint(t, err) != 0)
        return -1;
    (void)fprintf(t->f->console, "stopped at iteration %lld of %lld%s\n",
                  (long long)t->s.c.iteration, (long long)t->s.total,
                  t->f->can_resume ? "; the same command with --resume goes on" : "");
    return 128 + signal_number;
}

static int train_all(struct run *t, struct err *err)
{
    int64_t every = options_int(t->f->o, "eval-every");
    int64_t between = options_int(t->f->o, "checkpoint-every");
    bool fresh = true;
    while (t->s.c.iteration < t->s.total && !out_of_patience(t)) {
        if (fresh || t->s.c.iteration % t->s.steps == 0)
            begin_epoch(t);
        fresh = false;
        if (stepper_step(&t->s, err) != 0) {
            progress_clear(&t->bar);
            return -1;
        }
        show_step(t);
        int rc = 0;
        if (t->s.c.iteration % every == 0 || t->s.c.iteration == t->s.total)
            rc = evaluate(t, err);
        else if (between && t->s.c.iteration % between == 0)
            rc = write_checkpoint(t, err);
        if (rc != 0)
            return rc;
        int signal_number = stop_signal();
        if (signal_number)
            return stopped(t, signal_number, err);
    }
    return 0;
}

static int finish(struct run *t, struct err *err)
{
    struct checkpoint *c = &t->s.c;
    bool early = c->iteration < t->s.total;
    if (early)
        (void)fprintf(t->f->console, "early stopping: no better dev loss for %lld iterations\n",
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
    struct run t;
    run_open(&t, f);
    int rc = resume(&t, err);
    if (rc == 0)
        rc = train_all(&t, err);
    if (rc == 0)
        rc = finish(&t, err);
    run_close(&t);
    return rc;
}
