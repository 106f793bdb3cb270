/* Private to models/textcnn*.c: where the parts of the weights lie, the training workspace, the
 * files. */
#ifndef MODELS_TEXTCNN_PARTS_H
#define MODELS_TEXTCNN_PARTS_H

#include "base/json.h"
#include "models/textcnn.h"
#include "ops/convpool.h"

/* Where the parts begin in a block of weights or gradients, in floats. wall [taps, E] is all
 * convolutions, conv_bias [n_widths * F] all their biases. The embedding begins at 0. */
struct textcnn_parts {
    size_t wall, conv_bias, classifier, classifier_bias, size;
};
struct textcnn_parts textcnn_parts(const struct textcnn_config *cfg);
struct convpool textcnn_shape(const struct textcnn_config *cfg);

/* A training workspace that projects at most max_rows different characters at a time;
 * textcnn_forward then goes through a large batch in groups of titles. max_rows >= cfg->max_tokens;
 * training needs room for every character of the batch. */
struct textcnn_train *textcnn_train_open_rows(const struct textcnn_config *cfg, int32_t max_titles,
                                              int32_t max_ids, int32_t max_rows);

/* config.json's facts, all checked against their bounds. */
int textcnn_config_read(const json_t *config, struct textcnn_config *cfg, struct err *err);
/* The block of weights from an open file: every tensor of the table with its exact shape, finite,
 * none more; F32, F16 or BF16. */
int textcnn_weights_read(const struct tensor_set *set, const struct textcnn_config *cfg, float **w,
                         struct err *err);

#endif
