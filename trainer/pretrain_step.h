/* One step of masked-language-model pre-training: sequences in the epoch's order, their words masked anew,
 * gradients of parts, one after the other, and the optimiser (trainer/optimizer.h).
 *
 * A step is a function of the text, the options and struct checkpoint: neither threads nor an interruption
 * change a bit. */
#ifndef TRAINER_PRETRAIN_STEP_H
#define TRAINER_PRETRAIN_STEP_H

#include <stdint.h>

#include "models/masked_train.h"
#include "trainer/corpus.h"
#include "trainer/masking.h"
#include "trainer/optimizer.h"

struct pretrain_step {
    const struct options *o;
    const struct packed *text;
    const struct masking *masking;
    struct masked_train *mt;
    struct optimizer opt;
    uint32_t *train, *held; /* numbers of sequences */
    size_t n_train, n_held;
    uint32_t *order; /* of the epoch order_epoch: places in train */
    int64_t order_epoch;
    uint32_t *pick; /* of a batch */
    int32_t *ids, *start, *labels, *part_start, *row, *word;
    int32_t batch, part, max_tokens;
    uint64_t seed;
    const float *current; /* the weights that mt knows */
};

/* o: rows of step_options.inc.  w: initial weights, taken over.  n_held sequences, spread evenly, are not trained
 * on but judged. */
void pretrain_step_open(struct pretrain_step *s, const struct options *o, const struct trainable *t,
                        float *w, const struct dropout_rates *drop, const struct packed *text,
                        size_t n_held, const struct masking *masking, struct pool *pool);
void pretrain_step_close(struct pretrain_step *s);
int pretrain_step(struct pretrain_step *s, struct err *err);
/* What is held out, always masked alike: the mean loss of an asked word, and the share found. */
void pretrain_step_judge(struct pretrain_step *s, double *loss, double *accuracy);

#endif
