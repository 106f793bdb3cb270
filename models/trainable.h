/* The weights of a transformer as training has them: one block of floats, a list of what lies where.
 * Gradients, moments and averages are blocks of the same layout.  Q, K and V of a layer lie one behind
 * the other, so that one product serves them where outputs come first; layers that share weights
 * (ALBERT's) share the place.  Const after making, shared by threads. */
#ifndef MODELS_TRAINABLE_H
#define MODELS_TRAINABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "models/params.h"
#include "models/transformer_config.h"

struct trainable_tensor {
    char *name; /* as transformers writes it */
    enum param which;
    enum stack stack;
    int32_t layer; /* the first that has it */
    int n_dims;
    int64_t dims[TENSOR_MAX_DIMS];
    size_t offset, size; /* in floats */
    bool decay;          /* neither a norm nor called a bias nor never used: weight decay applies */
};

struct trainable {
    struct transformer_config cfg; /* head and labels set */
    struct trainable_tensor *tensors;
    size_t n, size; /* size: floats of a block, the few that align it included */
    size_t *at;     /* by stack, layer and enum param; SIZE_MAX: none */
    int32_t layers[STACKS];
    int64_t parameters;
};

struct trainable *trainable_open(const struct transformer_config *cfg);
void trainable_close(struct trainable *t); /* NULL allowed */
/* Where a weight lies, SIZE_MAX when the model has none of it. */
size_t trainable_at(const struct trainable *t, enum stack stack, enum param which, int32_t layer);

/* Initial weights as transformers draws them: normal with the given deviation (T5: by shape), norms 1,
 * biases 0; from (seed, the tensor's name) alone.  fresh NULL: all of them, else those it marks. */
void trainable_init(const struct trainable *t, uint64_t seed, double deviation, const bool *fresh,
                    float *w);
/* What is trained: a masked-language model, whose head the checkpoint gives where it has it, or a classifier of
 * so many labels, with the checkpoint's own head when keep and it has one for that many, else the family's
 * own kind (BERT's and its like: pooled), fresh. */
struct head_choice {
    bool masked, keep;
    int32_t labels;
};

/* The weights of a checkpoint.  *w [size] and *fresh [n] are the caller's to free: fresh tensors are zeros
 * until trainable_init().  config is config.json's object. */
int trainable_read(const char *dir, const json_t *config, const struct head_choice *head,
                   struct trainable **out, float **w, bool **fresh, struct err *err);
/* The same without a checkpoint: all is fresh. */
int trainable_make(const json_t *config, const struct head_choice *head, struct trainable **out,
                   struct err *err);

#endif
