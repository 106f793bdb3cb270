/* The names and shapes of every family's weights, as Hugging Face transformers writes them: one row a
 * weight, once for all layers.  models/params.c finds them in a file. */
#ifndef MODELS_PARAMS_TABLE_H
#define MODELS_PARAMS_TABLE_H

#include <stddef.h>

#include "models/params.h"
#include "models/transformer_config.h"

/* In names, # is the layer, @ ALBERT's group and % its layer within the group.  Shapes are letters:
 * V E C F P Y K O as in models/transformer_config.h, H heads, D head size, A all heads (H D), B
 * buckets, 1 one, 2 two. */
struct param_row {
    enum param which;
    const char *dims, *name;
};

struct stack_rows {
    const struct param_row *rows;
    size_t n;
};

/* A family's encoder. */
struct base_rows {
    struct stack_rows stack;
    const char *anchor; /* the name that tells the prefix of all */
    const char *prefix; /* what transformers' classifiers write before each */
};
extern const struct base_rows params_bases[FAMILIES];
extern const struct stack_rows params_t5_decoder;
extern const struct param_row params_pooler[2], params_albert_pooler[2];

/* Heads stand outside the base model's prefix.  The first one that the file has is its own. */
struct head_rows {
    enum head head;
    struct param_row rows[4];
};
enum { PARAMS_DENSE_HEADS = 3, PARAMS_PLAIN_HEADS = 5 };
extern const struct head_rows params_dense_heads[PARAMS_DENSE_HEADS];
extern const struct param_row params_plain_heads[PARAMS_PLAIN_HEADS][2];

/* The masked-language model's head; NULL for families that have none.  Its last matrix is the word table. */
enum { PARAMS_MASKED_ROWS = 5 };
extern const struct param_row *const params_masked_heads[FAMILIES];

#endif
