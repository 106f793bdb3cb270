/* Writes a transformer's directory as transformers does: config.json, model.safetensors and the
 * tokenizer's files, and labels.txt. */
#ifndef MODELS_TRANSFORMER_SAVE_H
#define MODELS_TRANSFORMER_SAVE_H

#include "base/json.h"
#include "data/dataset.h"
#include "models/tensors.h"
#include "models/trainable.h"

/* from: the directory whose tokenizer it keeps; config: its config.json, of which a copy gets the
 * labels (classes NULL: a masked-language model, it has none), the class of model and the type of numbers.  w: a block of t.  dtype: F32, F16 or BF16.
 * dir is made where it is missing; config.json comes last. */
int transformer_save(const char *dir, const char *from, const json_t *config, const char *name,
                     const struct trainable *t, const float *w, const struct classes *classes,
                     enum dtype dtype, struct err *err);
/* vocab.txt, spiece.model and what transformers says of them, as far as they are in from. */
int transformer_copy_tokenizer(const char *from, const char *dir, struct err *err);

#endif
