/* Forward and backward of the encoder in training: the families of models/encoder.c, on rows of a whole
 * batch at once.  For a head the last layer goes on with one row of each title, its first (XLNet: last);
 * the others are keys and values only.
 *
 * A struct encoder_train belongs to one thread at a time, which the pool helps. */
#ifndef MODELS_ENCODER_TRAIN_H
#define MODELS_ENCODER_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "data/batch.h"
#include "models/trainable.h"
#include "ops/linear.h"

struct train_dropout {
    float hidden, attention; /* of rows, of attention's probabilities */
    float feed_forward;      /* behind the activation: XLNet's and T5's */
    uint64_t seed, step;     /* step: of the optimiser */
};

struct encoder_train;
/* recompute: layers' inputs are kept alone, and the rest is computed again on the way back. */
struct encoder_train *encoder_train_open(const struct trainable *t, struct linear *products,
                                         struct linear *exact, int32_t max_titles, int32_t max_ids,
                                         int32_t max_tokens, bool recompute, struct pool *pool);
void encoder_train_close(struct encoder_train *e); /* NULL allowed */

/* What a pass runs with; all borrowed. */
struct encoder_pass {
    const float *w;     /* a block (models/trainable.h) */
    const uint16_t *wb; /* the same in bfloat16, or NULL */
    float *g;           /* gradients, added to; NULL forward */
    const struct batch *batch;
    bool all_rows; /* of the last layer; else the one row of a title that a head reads */
    struct train_dropout dropout; /* 0 to evaluate */
    const uint32_t *key;          /* [ids] numbers of rows, for dropout */
    const uint32_t *title_key;    /* [titles] and of titles */
};

/* Rows [m, C] of the last layer, until the next call: m titles, or ids with all_rows. */
const float *encoder_train_forward(struct encoder_train *e, const struct encoder_pass *p);
/* After forward() with the same pass; df [m, C] is overwritten. */
void encoder_train_backward(struct encoder_train *e, const struct encoder_pass *p, float *df);

#endif
