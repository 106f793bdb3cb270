#include "trainer/fit_loop.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "trainer/history.h"
#include "trainer/processes.h"
#include "trainer/progress.h"
#include "trainer/stop.h"
#include "trainer/tensorboard.h"

struct run {
    struct fit *f;
    const struct trainee *s;
    struct checkpoint *c;
    int64_t start_ns;
    struct progress bar;
    struct tensorboard *board; /* or NULL */
    int64_t first;             /* iteration that this run began with */
    char *settings;
};

/* What may not change when a checkpoint is resumed. */
static char *settings_text(const struct fit *f, const char *more)
{
    const char *arch = options_str(f->o, "arch");
    struct buf text;
    buf_init(&text, 1 << 16);
    buf_printf(&text, "arch = %s\n", arch);
    for (size_t i = 0; i < fit_n_options; i++)
        if (fit_options[i].role == FIT_COURSE && fit_option_applies(&fit_options[i], arch) &&
            options_known(f->o, fit_options[i].name) && options_str(f->o, fit_options[i].name))
            buf_printf(&text, "%s = %s\n", fit_options[i].name,
                       options_str(f->o, fit_options[i].name));
    buf_printf(&text, "data = %s\n%s", f->corpus.digest, more ? more : "");
    return buf_take(&text);
}

static double elapsed(const struct run *t)
{
    return t->c->seconds + (double)(clock_ns() - t->start_ns) / 1e9;
}

static int publish(struct run *t, struct err *err)
{
    if (processes_rank() > 0)
        return 0;
    if (t->s->save(t->s->self, t->f->out.staging, t->c->best, err) != 0 ||
        history_write(t->f->out.staging, &t->c->log, err) != 0)
        return -1;
    return outdir_commit(&t->f->out, err);
}

static int write_checkpoint(struct run *t, struct err *err)
{
    struct checkpoint c = *t->c;
    c.seconds = elapsed(t);
    if (t->s->check(t->s->self, err) != 0)
        return -1;
    if (processes_rank() > 0)
        return 0;
    return checkpoint_write(t->f->out.checkpoint, &c, t->settings, err);
}

static int show_board(const struct run *t, double train_loss, double train_accuracy,
                      double dev_loss, double dev_accuracy, struct err *err)
{
    const struct {
        const char *tag;
        double value;
    } all[] = {{"loss/train", train_loss},
               {"loss/dev", dev_loss},
               {"accuracy/train", train_accuracy},
               {"accuracy/dev", dev_accuracy},
               {"learning_rate", t->s->rate(t->s->self)}};
    int rc = 0;
    for (size_t i = 0; t->board && i < sizeof all / sizeof *all && rc == 0; i++)
        rc = tensorboard_scalar(t->board, all[i].tag, t->c->iteration, all[i].value, err);
    return rc;
}

/* A part of few titles may have none that counts. */
static double share(double sum, int64_t n)
{
    return n ? sum / (double)n : 0;
}

static int evaluate(struct run *t, struct err *err)
{
    struct checkpoint *c = t->c;
    double loss, accuracy;
    t->s->judge(t->s->self, &loss, &accuracy);
    if (!isfinite(loss))
        return err_set(err, ERR_NUMERIC, "iteration %lld: the dev loss is %g; try a smaller --lr",
                       (long long)c->iteration, loss);
    if (t->s->check(t->s->self, err) != 0)
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
        memcpy(c->best, t->s->weights(t->s->self), c->size * sizeof *c->best);
    }
    double train_loss = share(c->loss_sum, c->seen);
    double train_accuracy = share((double)c->correct, c->labelled);
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
    if (show_board(t, train_loss, train_accuracy, loss, accuracy, err) != 0)
        return -1;
    c->loss_sum = 0;
    c->seen = c->labelled = c->correct = 0;
    /* The log first: after a kill in between, --resume writes again the log that belongs to the
     * checkpoint. */
    if (fit_write_log(t->f, &c->log, err) != 0 || write_checkpoint(t, err) != 0)
        return -1;
    return best && c->publish ? publish(t, err) : 0;
}

static void run_open(struct run *t, struct fit *f, const struct trainee *s)
{
    *t = (struct run){.f = f,
                      .s = s,
                      .c = s->c,
                      .settings = settings_text(f, s->settings),
                      .start_ns = clock_ns()};
    /* An old model is replaced when the new one is finished; where there is none, the best so far
     * is better than nothing. */
    t->c->publish = !f->out.has_model;
}

static void run_close(struct run *t)
{
    free(t->settings);
    tensorboard_close(t->board);
}

/* What the first process read, for all. */
static void share_checkpoint(struct checkpoint *c)
{
    size_t block = c->size * sizeof(float);
    float *const blocks[] = {c->w, c->m, c->v, c->best, c->ema};
    struct {
        void *at;
        size_t size;
    } const numbers[] = {{&c->iteration, sizeof c->iteration},
                         {&c->best_iteration, sizeof c->best_iteration},
                         {&c->improved, sizeof c->improved},
                         {&c->best_loss, sizeof c->best_loss},
                         {&c->best_accuracy, sizeof c->best_accuracy},
                         {&c->loss_sum, sizeof c->loss_sum},
                         {&c->seen, sizeof c->seen},
                         {&c->labelled, sizeof c->labelled},
                         {&c->correct, sizeof c->correct}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        processes_share(numbers[i].at, numbers[i].size);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (blocks[i])
            processes_share(blocks[i], block);
}

static int resume(struct run *t, struct err *err)
{
    if (!t->f->out.has_checkpoint) {
        buf_printf(&t->c->log,
                   "{\"arch\":\"%s\",\"seed\":%ld,\"titles\":%zu,\"iterations\":%lld}\n",
                   options_str(t->f->o, "arch"), options_int(t->f->o, "seed"), t->f->corpus.train.n,
                   (long long)t->s->total);
        return 0;
    }
    if (checkpoint_read(t->f->out.checkpoint, t->c, t->settings, err) != 0)
        return -1;
    if (t->c->iteration > t->s->total)
        return err_set(err, ERR_FORMAT, "%s: iteration %lld of %lld", t->f->out.checkpoint,
                       (long long)t->c->iteration, (long long)t->s->total);
    (void)fprintf(t->f->console, "%-12s from iteration %lld\n", "resumed",
                  (long long)t->c->iteration);
    return fit_write_log(t->f, &t->c->log, err);
}

static void begin_epoch(struct run *t)
{
    char label[48];
    (void)snprintf(label, sizeof label, "epoch %lld/%lld",
                   (long long)(t->c->iteration / t->s->steps + 1),
                   (long long)(t->s->total / t->s->steps));
    progress_begin(&t->bar, t->f->console, label, t->c->iteration % t->s->steps, t->s->steps);
}

/* After a step: done is 1 .. steps within the epoch. */
static void show_step(struct run *t)
{
    int64_t done = (t->c->iteration - 1) % t->s->steps + 1;
    double rate = progress_rate(&t->bar, done);
    char detail[120], s[24];
    if (done == t->s->steps) {
        progress_end(&t->bar, "%lld iterations, %.1f it/s", (long long)t->s->steps, rate);
    } else if (t->bar.tty) {
        (void)snprintf(detail, sizeof detail,
                       "%lld/%lld  %.1f it/s  loss %.4f  acc %.2f %%  left %s", (long long)done,
                       (long long)t->s->steps, rate, share(t->c->loss_sum, t->c->seen),
                       100 * share((double)t->c->correct, t->c->labelled),
                       progress_duration(progress_left(&t->bar, done), s));
        progress_step(&t->bar, done, detail);
    }
}

static bool out_of_patience(const struct run *t)
{
    int64_t patience = options_int(t->f->o, "patience");
    return patience > 0 && t->c->iteration - t->c->improved > patience &&
           t->c->iteration % options_int(t->f->o, "eval-every") == 0;
}

static int stopped(struct run *t, int signal_number, struct err *err)
{
    progress_clear(&t->bar);
    if (write_checkpoint(t, err) != 0)
        return -1;
    (void)processes_greatest(0); /* the first's is whole before anybody ends */
    (void)fprintf(t->f->console, "stopped at iteration %lld of %lld%s\n",
                  (long long)t->c->iteration, (long long)t->s->total,
                  t->f->can_resume ? "; the same command with --resume goes on" : "");
    return 128 + signal_number;
}

static int train_all(struct run *t, struct err *err)
{
    int64_t every = options_int(t->f->o, "eval-every");
    int64_t between = options_int(t->f->o, "checkpoint-every");
    bool fresh = true;
    while (t->c->iteration < t->s->total && !out_of_patience(t)) {
        if (fresh || t->c->iteration % t->s->steps == 0)
            begin_epoch(t);
        fresh = false;
        if (t->s->step(t->s->self, err) != 0) {
            progress_clear(&t->bar);
            return -1;
        }
        show_step(t);
        int rc = 0;
        if (t->c->iteration % every == 0 || t->c->iteration == t->s->total)
            rc = evaluate(t, err);
        else if (between && t->c->iteration % between == 0)
            rc = write_checkpoint(t, err);
        if (rc != 0)
            return rc;
        int signal_number = processes_greatest(stop_signal());
        if (signal_number)
            return stopped(t, signal_number, err);
    }
    return 0;
}

static int finish(struct run *t, struct err *err)
{
    struct checkpoint *c = t->c;
    bool early = c->iteration < t->s->total;
    if (early)
        (void)fprintf(t->f->console, "early stopping: no better dev loss for %lld iterations\n",
                      (long long)(c->iteration - c->improved));
    (void)fprintf(t->f->console, "best weights: iteration %lld\n", (long long)c->best_iteration);
    if (processes_count() > 1)
        (void)fprintf(
            t->f->console,
            "%d processes: %.1f titles/s together, sums over them took %.1f %% of the time\n",
            processes_count(),
            (double)(c->iteration - t->first) * (double)options_int(t->f->o, "batch") /
                ((double)(clock_ns() - t->start_ns) * 1e-9),
            processes_seconds() * 1e11 / (double)(clock_ns() - t->start_ns));
    buf_printf(&c->log, "{\"stopped\":\"%s\",\"iteration\":%lld,\"best_iteration\":%lld}\n",
               early ? "early" : "end", (long long)c->iteration, (long long)c->best_iteration);
    return publish(t, err) != 0 ? -1 : fit_write_log(t->f, &c->log, err);
}

int fit_loop(struct fit *f, const struct trainee *s, struct err *err)
{
    struct run t;
    run_open(&t, f, s);
    const char *board = options_str(f->o, "tensorboard");
    int rc = resume(&t, err);
    if (rc == 0)
        share_checkpoint(t.c);
    t.first = t.c->iteration;
    if (rc == 0 && board && processes_rank() == 0)
        rc = tensorboard_open(board, &t.board, err);
    if (rc == 0)
        rc = train_all(&t, err);
    if (rc == 0)
        rc = finish(&t, err);
    run_close(&t);
    return rc;
}
