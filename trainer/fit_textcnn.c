/* `fit --arch textcnn`: steps of training (textcnn_step.h) in the loop that all share (fit_loop.h). */
#include "trainer/fit_loop.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "trainer/embedding_source.h"
#include "trainer/teacher.h"
#include "trainer/textcnn_step.h"

enum { DEV_CHUNK = 1024 /* titles evaluated at a time */ };

static int step(void *self, struct err *err)
{
    return stepper_step(self, err);
}

static int check(const void *self, struct err *err)
{
    return stepper_check(self, err);
}

static const float *weights(const void *self)
{
    return stepper_weights(self);
}

static double rate(const void *self)
{
    return (double)stepper_rate(self);
}

static void logits(void *self, const struct batch *b, float *out)
{
    struct stepper *s = self;
    textcnn_forward(&s->cfg, stepper_weights(s), s->ws, b, s->f->pool, out);
}

static void judge(void *self, double *loss, double *accuracy)
{
    fit_judge(((struct stepper *)self)->f, logits, self, DEV_CHUNK, loss, accuracy);
}

static int save(const void *self, const char *dir, const float *w, struct err *err)
{
    const struct stepper *s = self;
    const struct fit *f = s->f;
    enum dtype dtype = strcmp(options_str(f->o, "dtype"), "f16") == 0 ? DT_F16 : DT_F32;
    return textcnn_save(dir, fit_model_name(f), &s->cfg, w, f->vocab, &f->corpus.classes, dtype,
                        err);
}

int fit_textcnn(struct fit *f, struct err *err)
{
    struct stepper s;
    struct embedding_source e = {0};
    const char *from = options_str(f->o, "embedding");
    if (from && embedding_source_read(&e, from, f->vocab, err) != 0)
        return -1;
    if (from)
        (void)fprintf(f->console, "%-12s %d of %d characters begin as in %s\n", "embedding",
                      (int)e.found, (int)vocab_size(f->vocab) - VOCAB_FIRST, from);
    stepper_open(&s, f, from ? &e : NULL, DEV_CHUNK);
    char *settings =
        file_path("teacher = %s\nembedding = %s\n", f->teacher ? f->teacher->digest : "", e.sha256);
    memcpy(f->from, e.sha256, sizeof f->from);
    embedding_source_done(&e);
    struct trainee t = {.self = &s,
                        .c = &s.c,
                        .steps = s.steps,
                        .total = s.total,
                        .settings = settings,
                        .step = step,
                        .check = check,
                        .judge = judge,
                        .weights = weights,
                        .rate = rate,
                        .save = save};
    int rc = fit_loop(f, &t, err);
    stepper_close(&s);
    free(settings);
    return rc;
}
