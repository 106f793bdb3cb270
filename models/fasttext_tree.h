/* Huffman's tree over a dictionary's labels by their counts, as fastText builds it for hierarchical softmax: inner
 * node k (from 0, the root last) decides by row k of the output matrix. */
#ifndef MODELS_FASTTEXT_TREE_H
#define MODELS_FASTTEXT_TREE_H

#include "data/fasttext_dict.h"

struct fasttext_tree;
struct fasttext_tree *fasttext_tree_open(const struct fasttext_dict *d);
void fasttext_tree_close(struct fasttext_tree *t); /* NULL allowed */

/* p [labels] from the inner nodes' logits: a label's product of decisions. */
void fasttext_tree_probabilities(const struct fasttext_tree *t, const float *logits, float *p);

/* The decisions that lead to a label, ended by row -1. */
struct fasttext_step {
    int32_t row;
    bool right;
};
const struct fasttext_step *fasttext_tree_path(const struct fasttext_tree *t, int32_t label);

#endif
