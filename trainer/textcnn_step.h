/* One step of TextCNN training: a batch in the epoch's order, its gradient, AdamW, the moving
 * average of weights.
 *
 * A step is a function of the data, the options and struct checkpoint: the order of an epoch comes
 * from (seed, epoch), a dropout mask from (seed, iteration), sums are made in fixed pieces. So
 * neither the number of threads nor an interruption changes a bit. */
#ifndef TRAINER_TEXTCNN_STEP_H
#define TRAINER_TEXTCNN_STEP_H

#include <stdint.h>

#include "models/textcnn.h"
#include "trainer/checkpoint.h"
#include "trainer/fit.h"

struct stepper {
    const struct fit *f;
    struct textcnn_config cfg;
    struct textcnn_param params[TEXTCNN_MAX_PARAMS];
    int n_params;
    struct textcnn_train *ws; /* for batches and for max_titles titles of dev */
    struct checkpoint c;
    float *grads;
    uint32_t *order;                   /* of the epoch order_epoch */
    int64_t order_epoch, steps, total; /* iterations in an epoch, in the whole run */
    int32_t *ids, *start, *labels, batch;
    float *taught; /* [batch, labels], with a teacher */
    struct teaching teaching;
    uint64_t seed;
    double char_dropout, ema;
};

/* New weights, iteration 0; every block of c is owned and the log empty.  start: what the embedding begins with, and
 * then its size too; NULL: nothing. */
struct embedding_source;
void stepper_open(struct stepper *t, const struct fit *f, const struct embedding_source *start,
                  int32_t max_titles);
void stepper_close(struct stepper *t);

/* Takes iteration c.iteration (from 0), adds to c's sums and counts it. */
int stepper_step(struct stepper *t, struct err *err);

/* The weights that are judged and kept: the average when there is one. */
const float *stepper_weights(const struct stepper *t);
/* A maximum over time passes over NaN, so a finite loss does not show that all weights are. */
int stepper_check(const struct stepper *t, struct err *err);

/* The learning rate of the next step. */
float stepper_rate(const struct stepper *t);

#endif
