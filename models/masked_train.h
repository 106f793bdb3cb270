/* A masked-language model in training (Devlin et al., arXiv:1810.04805): of some rows of each sequence the
 * encoder says which word stood there.
 *
 *     x = norm(act(dense(row))),  logits [V] = x · word table^T + bias
 *
 * as BertForMaskedLM and AlbertForMaskedLM have it; the word table is the encoder's own and gets gradients
 * from both ends.  The result depends on the weights, the batch and the numbers that dropout counts by,
 * not on the number of threads.  A struct masked_train belongs to one thread at a time, which the
 * pool helps. */
#ifndef MODELS_MASKED_TRAIN_H
#define MODELS_MASKED_TRAIN_H

#include <stdint.h>

#include "models/transformer_train.h"

/* What the model sees, and what it is asked: word[i] stood in row[i] of the batch's ids. */
struct masked_batch {
    struct batch batch; /* ids as they are seen; no labels */
    const int32_t *row, *word;
    int32_t n;
};

struct masked_result {
    double loss;     /* sum of -ln p(word) over what is asked, not scaled */
    int64_t correct; /* asked words that are the best */
};

struct masked_train;
/* t: with HEAD_MASKED.  max_asked: rows asked of a batch. */
struct masked_train *masked_train_open(const struct trainable *t,
                                       const struct transformer_train_options *opt,
                                       int32_t max_asked, struct pool *pool);
void masked_train_close(struct masked_train *mt); /* NULL allowed */

/* Must be called whenever the weights have changed: takes their rounded copy. */
void masked_train_weights(struct masked_train *mt, const float *w);
/* Nothing dropped. */
void masked_train_judge(struct masked_train *mt, const float *w, const struct masked_batch *b,
                        struct masked_result *r);
/* Adds the gradients of scale times the loss to g.  Dropout counts by (seed, step) and the number of
 * each sequence, from first on. */
void masked_train_gradients(struct masked_train *mt, const float *w, float *g,
                            const struct masked_batch *b, float scale, uint64_t seed, uint64_t step,
                            uint32_t first, struct masked_result *r);

#endif
