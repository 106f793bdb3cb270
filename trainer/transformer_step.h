/* One step of a transformer's training: a batch in the epoch's order, its gradients (of parts, one after
 * the other, where the batch is cut), R-Drop and FGM, clipping, AdamW by groups, the moving average.
 *
 * A step is a function of the data, the options and struct checkpoint, as TextCNN's is
 * (trainer/textcnn_step.h): neither threads nor an interruption change a bit. */
#ifndef TRAINER_TRANSFORMER_STEP_H
#define TRAINER_TRANSFORMER_STEP_H

#include <stdint.h>

#include "models/transformer_train.h"
#include "trainer/fit.h"
#include "trainer/optimizer.h"

struct transformer_step {
    const struct fit *f;
    const struct trainable *t;
    struct transformer_train *tt;
    struct optimizer opt;
    float *words;         /* FGM's copy of the word table, or NULL */
    float *class_weights; /* or NULL */
    uint32_t *order;      /* of the epoch order_epoch */
    int64_t order_epoch;
    int32_t *ids, *start, *labels; /* of a part */
    float *taught;                 /* [part, labels], with a teacher; R-Drop: twice */
    struct teaching teaching;
    int32_t batch, part, max_tokens;
    uint64_t seed;
    const float *current; /* the weights that tt knows */
};

/* w: initial weights, taken over.  max_titles: of dev at a time. */
void transformer_step_open(struct transformer_step *s, const struct fit *f,
                           const struct trainable *t, float *w, const struct dropout_rates *drop,
                           int32_t max_tokens, int32_t max_titles);
void transformer_step_close(struct transformer_step *s);
int transformer_step(struct transformer_step *s, struct err *err);
/* Of the judged weights. */
void transformer_step_logits(struct transformer_step *s, const struct batch *b, float *logits);

#endif
