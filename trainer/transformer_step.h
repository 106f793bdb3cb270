/* One step of a transformer's training: a batch in the epoch's order, its gradients (of parts, one after
 * the other, where the batch is cut), R-Drop and FGM, clipping, AdamW by groups, the moving average.
 *
 * A step is a function of the data, the options and struct checkpoint, as TextCNN's is
 * (trainer/textcnn_step.h): neither threads nor an interruption change a bit. */
#ifndef TRAINER_TRANSFORMER_STEP_H
#define TRAINER_TRANSFORMER_STEP_H

#include <stdint.h>

#include "models/transformer_train.h"
#include "trainer/checkpoint.h"
#include "trainer/fit.h"

struct transformer_step {
    const struct fit *f;
    const struct trainable *t;
    struct transformer_train *tt;
    struct checkpoint c;
    float *g, *words;     /* words: FGM's copy of the word table, or NULL */
    float *rate;          /* [t->n] factor of the learning rate of each tensor */
    float *class_weights; /* or NULL */
    uint32_t *order;      /* of the epoch order_epoch */
    int64_t order_epoch, steps, total;
    int32_t *ids, *start, *labels; /* of a part */
    int32_t batch, part, max_tokens;
    int64_t warmup;
    uint64_t seed;
    double ema;
    const float *current; /* the weights that tt knows */
};

/* w: initial weights, taken over.  max_titles: of dev at a time. */
void transformer_step_open(struct transformer_step *s, const struct fit *f,
                           const struct trainable *t, float *w, const struct dropout_rates *drop,
                           int32_t max_tokens, int32_t max_titles);
void transformer_step_close(struct transformer_step *s);
int transformer_step(struct transformer_step *s, struct err *err);
const float *transformer_step_weights(const struct transformer_step *s);
int transformer_step_check(const struct transformer_step *s, struct err *err);
/* Of the judged weights. */
void transformer_step_logits(struct transformer_step *s, const struct batch *b, float *logits);

/* The learning rate of the next step. */
float transformer_step_rate(const struct transformer_step *s);

#endif
