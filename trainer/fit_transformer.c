/* `fit --arch bert` and its like: a checkpoint's weights go on (or new ones begin) in steps
 * (transformer_step.h) in the loop that all share (fit_loop.h). */
#include "trainer/fit_loop.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "models/transformer_save.h"
#include "trainer/encoder_source.h"
#include "trainer/teacher.h"
#include "trainer/transformer_step.h"

enum { DEV_CHUNK = 64 /* titles evaluated at a time */ };

struct run {
    struct transformer_step s;
    const struct encoder_source *from;
};

static int step(void *self, struct err *err)
{
    return transformer_step(&((struct run *)self)->s, err);
}

static int check(const void *self, struct err *err)
{
    return optimizer_check(&((const struct run *)self)->s.opt, err);
}

static const float *weights(const void *self)
{
    return optimizer_weights(&((const struct run *)self)->s.opt);
}

static double rate(const void *self)
{
    return (double)optimizer_rate(&((const struct run *)self)->s.opt);
}

static void logits(void *self, const struct batch *b, float *out)
{
    transformer_step_logits(&((struct run *)self)->s, b, out);
}

static void judge(void *self, double *loss, double *accuracy)
{
    fit_judge(((struct run *)self)->s.f, logits, self, DEV_CHUNK, loss, accuracy);
}

static int save(const void *self, const char *dir, const float *w, struct err *err)
{
    const struct run *r = self;
    const struct fit *f = r->s.f;
    return transformer_save(dir, r->from->dir, r->from->config, fit_model_name(f), r->from->t, w,
                            &f->corpus.classes, fit_dtype(f->o), err);
}

static int train(struct fit *f, struct encoder_source *src, struct err *err)
{
    struct dropout_rates drop;
    struct run r = {.from = src};
    int32_t max = (int32_t)options_int(f->o, "max-length");
    if (dropout_rates_read(src->config, &src->t->cfg, &drop, err) != 0)
        return -1;
    optimizer_set_dropout(f->o, &drop);
    transformer_step_open(&r.s, f, src->t, src->w, &drop, max, DEV_CHUNK);
    src->w = NULL; /* the step's now */
    (void)fprintf(f->console, "%-12s %s, %.1f ids a title, %d classes, %d threads\n", "training",
                  optimizer_precision_told(f->o),
                  (double)f->train.start[f->train.batch.n] / f->train.batch.n,
                  (int)f->corpus.classes.n, pool_threads(f->pool));
    char *settings =
        file_path("from = %s\nteacher = %s\n", src->digest, f->teacher ? f->teacher->digest : "");
    struct trainee t = {.self = &r,
                        .c = &r.s.opt.c,
                        .steps = r.s.opt.steps,
                        .total = r.s.opt.total,
                        .settings = settings,
                        .step = step,
                        .check = check,
                        .judge = judge,
                        .weights = weights,
                        .rate = rate,
                        .save = save};
    int rc = fit_loop(f, &t, err);
    transformer_step_close(&r.s);
    free(settings);
    return rc;
}

int fit_transformer(struct fit *f, struct err *err)
{
    struct encoder_source src = {0};
    int32_t max = (int32_t)options_int(f->o, "max-length");
    int rc = encoder_source_open(&src, f->o, f->out.path, &f->corpus.train, &f->corpus.classes,
                                 f->console, err);
    if (rc == 0) {
        memcpy(f->from, src.digest, sizeof f->from);
        rc = packed_make(&f->train, &f->corpus.train, packed_by_tokenizer, src.tokenizer, max, max,
                         err);
    }
    if (rc == 0)
        rc =
            packed_make(&f->dev, &f->corpus.dev, packed_by_tokenizer, src.tokenizer, max, max, err);
    if (rc == 0)
        rc = train(f, &src, err);
    encoder_source_close(&src);
    return rc;
}
