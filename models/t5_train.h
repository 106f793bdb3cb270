/* Forward and backward of T5's two stacks in training, on rows of a whole batch at once: models/t5.h says
 * what is computed.  Every row goes through every layer.
 *
 * A struct t5_train belongs to one thread at a time, which the pool helps. */
#ifndef MODELS_T5_TRAIN_H
#define MODELS_T5_TRAIN_H

#include "models/encoder_train.h"

struct t5_train;
struct t5_train *t5_train_open(const struct trainable *t, struct linear *products,
                               int32_t max_titles, int32_t max_ids, int32_t max_tokens,
                               bool recompute, struct pool *pool);
void t5_train_close(struct t5_train *t); /* NULL allowed */

/* The decoder's row of each title [titles, C] that the head reads, until the next call. */
const float *t5_train_forward(struct t5_train *t, const struct encoder_pass *p);
/* After forward() with the same pass: df [titles, C]. */
void t5_train_backward(struct t5_train *t, const struct encoder_pass *p, const float *df);

#endif
