/* TextCNN: Yoon Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014
 * (arXiv:1408.5882), over characters: embedding, filters of several widths, bias, ReLU, max over
 * time, dropout (training only), linear.
 *
 * Short titles: every title is followed by (widest filter - 1) zero vectors, so a title of T >= 1
 * characters has exactly T windows for each width, whatever the width.  The embedding row of [PAD]
 * is zero, gets no gradient and is never else used.
 *
 * The embedding is folded into the convolution: P = E · Wall^T holds for every character what each
 * tap of each filter makes of it, P[char][width][tap][filter] (sum of widths times n_filters
 * columns).  Then
 *
 *     conv[t][f] = sum over taps j, t + j < T, of P[c(t + j)][w][j][f]
 *     h[f]       = relu(max over t of conv[t][f] + bias[f])
 *
 * It is the same sum in another order: exact up to rounding.
 *
 * Weights are ONE block of floats, walked by the parameter table (textcnn_params): size, init,
 * files, optimiser groups.  Gradients and optimiser moments are blocks of the same layout.
 * Functions without an err cannot fail.  Results are bit-identical for every number of threads. */
#ifndef MODELS_TEXTCNN_H
#define MODELS_TEXTCNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "data/batch.h"
#include "data/dataset.h"
#include "data/vocab.h"
#include "models/safetensors.h"

#define TEXTCNN_MAX_WIDTHS 8 /* different widths */
#define TEXTCNN_MAX_WIDTH 16 /* characters under the widest filter */

struct textcnn_config {
    int32_t vocab_size, embedding_size;
    int32_t n_filters; /* of each width */
    int32_t n_widths, widths[TEXTCNN_MAX_WIDTHS];
    int32_t n_labels, max_tokens;
    float dropout; /* [0, 1), of the pooled features */
};

/* Embedding 300, 512 filters of widths 2, 3, 4, dropout 0.5, titles of up to 64 characters. */
struct textcnn_config textcnn_config_default(int32_t vocab_size, int32_t n_labels);

/* One row per tensor.  dims is the shape in the file, which is PyTorch's:
 *
 *     embedding.weight    [V, E]
 *     convs.I.weight      [F, E, width]            torch.nn.Conv1d's; in memory [width][F][E]
 *     convs.I.bias        [F]
 *     classifier.weight   [n_labels, n_widths * F] features in the order of widths, as torch.cat
 *     classifier.bias     [n_labels] */
struct textcnn_param {
    char name[32];
    int n_dims;
    int64_t dims[3];
    size_t offset, size; /* floats from the start of the block */
    bool decay;          /* weight decay applies: matrices, not biases and not the embedding */
};
#define TEXTCNN_MAX_PARAMS (2 * TEXTCNN_MAX_WIDTHS + 3)
int textcnn_params(const struct textcnn_config *cfg,
                   struct textcnn_param p[TEXTCNN_MAX_PARAMS]); /* how many */
size_t textcnn_size(const struct textcnn_config *cfg);          /* floats in the block */

/* Fills w[textcnn_size]: embedding normal(0, embedding_std) with a zero [PAD] row, the rest uniform
 * within ±1/sqrt(fan in) (PyTorch's default for Conv1d and Linear).  Depends on the arguments
 * alone. */
void textcnn_init(const struct textcnn_config *cfg, uint64_t seed, float embedding_std, float *w);

/* Training workspace for batches of up to max_titles titles and max_ids ids in all; serves both
 * calls below. */
struct textcnn_train;
struct textcnn_train *textcnn_train_open(const struct textcnn_config *cfg, int32_t max_titles,
                                         int32_t max_ids);
void textcnn_train_close(struct textcnn_train *ws); /* NULL allowed */

struct textcnn_result {
    double loss;     /* mean over the batch, with label smoothing when asked for */
    int32_t correct; /* titles whose best logit is the label (lowest index wins ties) */
};

/* One batch: loss, and its gradients ADDED to grads (a block like w).  b->labels is needed.  The
 * dropout mask depends on (seed, step, title's row in the batch, feature).  pool NULL: this thread
 * alone.  b->n == 0 is a no-op. */
void textcnn_forward_backward(const struct textcnn_config *cfg, const float *w, float *grads,
                              struct textcnn_train *ws, const struct batch *b, uint64_t seed,
                              uint64_t step, float label_smoothing, struct pool *pool,
                              struct textcnn_result *result);

/* logits[n][n_labels] without dropout.  Cheaper per title the larger the batch (a character is
 * projected once a batch). */
void textcnn_forward(const struct textcnn_config *cfg, const float *w, struct textcnn_train *ws,
                     const struct batch *b, struct pool *pool, float *logits);

/* Writes config.json, model.safetensors (dtype DT_F32 or DT_F16; a weight that F16 cannot hold is
 * refused by name), vocab.txt and labels.txt into dir, which is made when missing.  name:
 * config.json "model_name".  classes->n == cfg->n_labels and vocab_size(v) == cfg->vocab_size. */
int textcnn_save(const char *dir, const char *name, const struct textcnn_config *cfg,
                 const float *w, const struct vocab *v, const struct classes *classes,
                 enum dtype dtype, struct err *err);

/* Reads config.json and the weights of dir for training on: *w is malloc'd (textcnn_size floats),
 * the caller frees.  Refused, by name: a missing tensor, another shape or type, NaN or infinity, a
 * tensor more than the table has, a non-zero [PAD] row. */
int textcnn_load(const char *dir, struct textcnn_config *cfg, float **w, struct err *err);

#endif
