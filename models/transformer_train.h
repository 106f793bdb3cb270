/* A transformer in training: ids to a loss and its gradients.  Bodies (models/encoder_train.h) turn ids
 * into the row that a head reads; heads, losses and what is the same for all stand here.
 *
 * The result depends on the weights, the batch and the numbers that dropout counts by, not on the number
 * of threads.  A struct transformer_train belongs to one thread at a time, which the pool helps. */
#ifndef MODELS_TRANSFORMER_TRAIN_H
#define MODELS_TRANSFORMER_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/pool.h"
#include "data/batch.h"
#include "models/trainable.h"
#include "ops/product.h"

/* Rates of dropout. */
struct dropout_rates {
    float hidden;       /* of rows behind embeddings, attention and feed-forward */
    float attention;    /* of attention's probabilities */
    float feed_forward; /* behind the activation */
    float head_in;      /* before the head's dense layer, where it has one of its own */
    float head;         /* before the outputs */
};
/* What config.json says (hidden_dropout_prob, attention_probs_dropout_prob, classifier_dropout and
 * their like of each family), else the family's published defaults. */
int dropout_rates_read(const json_t *config, const struct transformer_config *cfg,
                       struct dropout_rates *out, struct err *err);

struct transformer_train_options {
    enum product_type type; /* of the layers' products: FP32 or BF16 */
    int32_t max_titles, max_ids, max_tokens;
    bool recompute; /* keep layers' inputs alone */
    struct dropout_rates dropout;
};

/* What is made of a batch's logits. */
struct loss {
    float smoothing;            /* of labels */
    const float *class_weights; /* [labels] or NULL: 1 */
    float scale;                /* of every title's loss: 1 / titles for a mean */
    /* R-Drop (Liang et al., arXiv:2106.14448): the batch holds every title twice, one half behind the
     * other; to the mean of both losses comes r_drop times the mean of both divergences. 0: off */
    float r_drop;
    uint32_t second; /* R-Drop: what is added to a title's number for its second copy */
};

struct train_result {
    double loss;     /* sum over titles, not scaled; without R-Drop's part */
    int64_t correct; /* titles (R-Drop: of the first half) whose label is the best */
};

struct transformer_train;
struct transformer_train *transformer_train_open(const struct trainable *t,
                                                 const struct transformer_train_options *opt,
                                                 struct pool *pool);
void transformer_train_close(struct transformer_train *tt); /* NULL allowed */

/* Must be called whenever the weights have changed: takes their rounded copy. */
void transformer_train_weights(struct transformer_train *tt, const float *w);
/* logits [n, labels], nothing dropped. */
void transformer_train_logits(struct transformer_train *tt, const float *w, const struct batch *b,
                              float *logits);
/* Adds the gradients of the scaled loss to g.  Dropout counts by (seed, step) and the number of each
 * title, from first_title on (R-Drop: second copies from first_title + loss->second on). */
void transformer_train_gradients(struct transformer_train *tt, const float *w, float *g,
                                 const struct batch *b, const struct loss *loss, uint64_t seed,
                                 uint64_t step, uint32_t first_title, struct train_result *r);

#endif
