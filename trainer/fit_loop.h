/* Training in steps, whatever is trained: epochs with a bar, evaluations on dev every so often, the best
 * weights kept, checkpoints, early stopping, signals. */
#ifndef TRAINER_FIT_LOOP_H
#define TRAINER_FIT_LOOP_H

#include "trainer/checkpoint.h"
#include "trainer/fit.h"

/* What is trained; the functions get self. */
struct trainee {
    void *self;
    struct checkpoint *c; /* new weights, iteration 0, the log empty */
    int64_t steps, total; /* iterations in an epoch, in the whole run */
    const char *settings; /* further "key = value" lines that the result depends on, or NULL */
    /* Takes iteration c->iteration (from 0), adds to c's sums and counts it. */
    int (*step)(void *self, struct err *err);
    /* Are the weights numbers?  The error says which are not, and what to try. */
    int (*check)(const void *self, struct err *err);
    /* The weights that are judged and kept (the average, where there is one), and what they do on dev. */
    const float *(*weights)(const void *self);
    void (*judge)(void *self, double *loss, double *accuracy);
    double (*rate)(const void *self); /* the learning rate now */
    /* The model's files but for history.json. */
    int (*save)(const void *self, const char *dir, const float *weights, struct err *err);
};

/* Goes on from a checkpoint where there is one and f->resume.  Returns as fit_textcnn(). */
int fit_loop(struct fit *f, const struct trainee *s, struct err *err);

/* What a classifier does on dev's titles, chunk of them at a time. */
typedef void fit_logits(void *self, const struct batch *b, float *logits);
void fit_judge(const struct fit *f, fit_logits *logits, void *self, int32_t chunk, double *loss,
               double *accuracy);

#endif
