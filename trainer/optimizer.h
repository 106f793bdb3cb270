/* What takes a transformer's weights on by a batch's gradients: clipping, AdamW by groups, the moving average.
 * The same for a classifier (transformer_step.h) and a masked-language model (pretrain_step.h).
 *
 * A step is a function of the gradients, the options and struct checkpoint, whatever the threads. */
#ifndef TRAINER_OPTIMIZER_H
#define TRAINER_OPTIMIZER_H

#include <stdint.h>

#include "base/options.h"
#include "base/pool.h"
#include "models/transformer_train.h"
#include "trainer/checkpoint.h"

struct optimizer {
    const struct options *o; /* rows of trainer/step_options.inc */
    const struct trainable *t;
    struct pool *pool;
    struct checkpoint c;
    float *g;                     /* [t->size] gradients; whoever computes them clears them */
    float *rate;                  /* [t->n] factor of the learning rate of each tensor */
    int64_t steps, total, warmup; /* steps: of an epoch */
    double ema;
};

/* w: initial weights, taken over.  titles: of an epoch.  head_rate: factor of the head's learning rate. */
void optimizer_open(struct optimizer *p, const struct options *o, const struct trainable *t,
                    float *w, size_t titles, double head_rate, struct pool *pool);
void optimizer_close(struct optimizer *p);

/* From p->g; loss: the batch's mean.  Refused, with the tensor and what to try: what is not a number. */
int optimizer_step(struct optimizer *p, double loss, struct err *err);
/* The weights that are judged and kept: the average, where there is one. */
const float *optimizer_weights(const struct optimizer *p);
/* Are they numbers?  The error says which are not, and what to try. */
int optimizer_check(const struct optimizer *p, struct err *err);
/* The learning rate of the next step. */
float optimizer_rate(const struct optimizer *p);

/* --hidden-dropout and --attention-dropout, where they are given, in the place of config.json's. */
void optimizer_set_dropout(const struct options *o, struct dropout_rates *drop);
/* Of the layers' products, by --precision. */
enum product_type optimizer_precision(const struct options *o);
/* What the console says of it, and where bf16 was asked for in vain. */
const char *optimizer_precision_told(const struct options *o);

#endif
