/* What config.json says of a transformer, in the house's words: one struct for all families, read
 * through one table of keys per family (models/transformer_config.c), missing keys at the family's
 * published defaults (those of its configuration class in Hugging Face transformers).
 *
 * Letters in comments and parameter tables: V vocabulary, E embedding size, C hidden size, H heads,
 * D head size, F inner size, P positions, Y token types, K task types, L layers, O labels. */
#ifndef MODELS_TRANSFORMER_CONFIG_H
#define MODELS_TRANSFORMER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "models/tensors.h"

enum family {
    FAMILY_BERT, /* RoBERTa-wwm-ext, MacBERT and Mengzi are BERT files */
    FAMILY_ERNIE,
    FAMILY_ELECTRA,
    FAMILY_ALBERT,
    FAMILY_NEZHA,
    FAMILY_XLNET,
    FAMILY_T5, /* and mT5 */
    FAMILIES
};

enum activation { ACT_GELU, ACT_GELU_TANH, ACT_RELU, ACT_TANH, ACTIVATIONS };

/* How a title's rows become logits. */
enum head {
    HEAD_NONE,    /* a bare encoder */
    HEAD_POOLED,  /* linear on tanh(pooler of the first row): BertForSequenceClassification's */
    HEAD_ROW,     /* linear on the first row (XLNet, T5: the last) */
    HEAD_ELECTRA, /* dense, gelu, out_proj on the first row */
    HEAD_SUMMARY, /* XLNet's: dense, tanh, logits_proj on the last row */
    HEAD_T5,      /* dense, tanh, out_proj on the decoder's row */
    HEAD_MASKED /* words of given rows: dense, activation, norm, the word table: BertForMaskedLM's */
};

struct transformer_config {
    enum family family;
    int32_t vocab_size, embedding_size, hidden, layers, heads, head_size, inner;
    int32_t positions;                                          /* P; 0: no table, any length */
    int32_t types, tasks;                                       /* tasks 0: none */
    int32_t groups, inner_layers;                               /* ALBERT's sharing */
    int32_t max_relative;                                       /* NEZHA's */
    int32_t decoder_layers, buckets, max_distance, start_token; /* T5's */
    enum activation act;
    bool gated;
    double eps;
    enum head head;
    bool single_start; /* T5: the decoder sees its start token only, not the shifted title */
    int32_t labels;    /* 0 with HEAD_NONE */
};

const char *family_name(enum family f);
/* By "model_type", with what the weights know better: a BERT with task_type_embeddings is ERNIE, one
 * with "use_relative_position" NEZHA.  Unknown families, activations, position and attention types
 * are refused by name, as are sizes that do not divide.  head and labels are left at 0: they
 * are the weights' to say. */
int transformer_config_read(const json_t *config, const struct tensor_set *weights,
                            struct transformer_config *cfg, struct err *err);
/* Is the key one that changes what the family computes (or says what it is)?  The others are
 * ignored, and listed by `inspect`. */
bool transformer_config_uses(enum family f, const char *key);

#endif
