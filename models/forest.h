/* A random forest (Breiman 2001) over the TF-IDF features that the linear model has (models/linear.h): each
 * tree asks one n-gram's value after another, x <= threshold left, else right, and ends at a distribution over the
 * labels; the probabilities are the mean over the trees, as scikit-learn's RandomForestClassifier has it.
 *
 * Files as a linear model's, config.json with model_type "forest", "num_trees", "ngram_max" 3, "num_features",
 * "max_length".  Tensors, F features, Q questions that differ, N nodes of all trees, D distributions:
 *
 *     ngrams              I64 [F]          keys, ascending
 *     idf                 F32 [F]
 *     question_feature    I32 [Q]
 *     question_threshold  F32 [Q]          0 or more
 *     node                U8  [N, 3]       numbers of 24 bits, lowest byte first: a question, or behind 8,388,608 of them a
 *                                          row of leaf; tree after tree, each question before its left
 *                                          subtree, that before its right one, so that three bytes say it all
 *     leaf                F32 [D, labels]  rows sum to 1 */
#ifndef MODELS_FOREST_H
#define MODELS_FOREST_H

#include <stdint.h>

#include "base/err.h"
#include "data/dataset.h"
#include "data/vocab.h"
#include "models/linear.h"
#include "models/tensors.h"

enum { FOREST_MAX_TREES = 10000 };

struct forest_node { /* a question */
    int32_t feature;
    float threshold;
    int32_t child[2]; /* left, right: a question, or -1 - row of leaf */
};

struct forest {
    int32_t trees, nodes, leaves, labels;
    int32_t *root;            /* [trees]: a question, or -1 - row of leaf */
    struct forest_node *node; /* [nodes] */
    float *leaf;              /* [leaves][labels] */
};
void forest_done(struct forest *f); /* frees its arrays; safe on a zeroed one */

/* A title's features laid out one for each of the forest's: bits say which are there, as nearly all are not and the
 * values of all would not fit a cache. */
struct forest_row {
    float *x;      /* [features]; of those that are absent any number */
    uint64_t *bit; /* [features / 64 + 1] */
};
struct forest_row forest_row_open(int64_t features);
void forest_row_close(struct forest_row *r);
void forest_row_put(struct forest_row *r, const int32_t *index, const float *value, int32_t n);
void forest_row_clear(struct forest_row *r, const int32_t *index, int32_t n); /* what was put */

/* Adds to sum[labels] the leaf that the row comes to in each of `n` trees from `first` on.  Thresholds are not
 * below 0, so what is absent goes left. */
void forest_add(const struct forest *f, const struct forest_row *r, int32_t first, int32_t n,
                double *sum);

/* Refused: over 8,388,608 questions that differ, or distributions. */
int forest_save(const char *dir, const char *name, const struct forest *f, const struct ngrams *g,
                int32_t max_tokens, const struct vocab *v, const struct classes *classes,
                struct err *err);
/* f: trees and labels set.  What the tensors say is checked; on an error nothing is left in f. */
int forest_read(const struct tensor_set *weights, int32_t features, struct forest *f,
                struct err *err);

#endif
