/* A linear model over TF-IDF of character 1–3-grams, one-vs-rest; its probabilities are
 * softmax(scale * scores).
 *
 * Features equal scikit-learn's TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2,
 * sublinear_tf=True) on normalised titles (ops/tfidf.h has the formulas and an n-gram's key).
 * An n-gram is made of vocabulary ids; [UNK] breaks it (it matches nothing).  scale > 0 is the
 * calibration found on held-out titles; it changes no argmax.
 *
 * Thread rule: what is const once made or opened is shared by threads.  Functions without an err
 * cannot fail. */
#ifndef MODELS_LINEAR_H
#define MODELS_LINEAR_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "data/batch.h"
#include "data/dataset.h"
#include "data/vocab.h"
#include "models/tensors.h"

#define LINEAR_MAX_NGRAM 3 /* characters */
#define LINEAR_MAX_TOKENS 1024

/* The n-gram table: sorted keys, their idf, and an index for look-up. */
struct ngrams;

/* Counts the document frequencies of all n-grams in the titles (labels not needed) and keeps those
 * with df >= min_df, sorted by key.  Needs about 50 bytes a character while it runs.  Refused: no
 * n-gram left. */
int ngrams_build(const struct batch *titles, int32_t min_df, struct ngrams **out, struct err *err);
/* From arrays of n (copied): keys must be well-formed, ascending and unique; idf finite and
 * positive. name goes into messages. */
int ngrams_from(const char *name, const int64_t *keys, const float *idf, int64_t n,
                struct ngrams **out, struct err *err);
void ngrams_close(struct ngrams *g); /* NULL allowed */
int64_t ngrams_count(const struct ngrams *g);
const int64_t *ngrams_keys(const struct ngrams *g);       /* [count] ascending */
const float *ngrams_idf(const struct ngrams *g);          /* [count] */
int64_t ngrams_find(const struct ngrams *g, int64_t key); /* its row, -1 when absent */

/* The title's features: ascending rows of the table in index, L2-normed values in value (room for 3
 * * n each).  Returns how many (0: none of its n-grams is known).  n <= LINEAR_MAX_TOKENS.  No
 * allocation. */
int32_t linear_features(const struct ngrams *g, const int32_t *ids, int32_t n, int32_t *index,
                        float *value);

/* A fitted model, as the trainer hands it over for saving; everything is borrowed. */
struct linear_weights {
    const struct ngrams *ngrams;
    const float *weight; /* [n_labels][count] */
    const float *bias;   /* [n_labels] */
    int32_t n_labels;
    int32_t max_tokens; /* longer titles are cut here; <= LINEAR_MAX_TOKENS */
    float scale;
};

/* scores[n_labels] = weight · features + bias, in double; for the fitter's own checks and
 * calibration. */
void linear_scores(const struct linear_weights *lw, const int32_t *index, const float *value,
                   int32_t n, double *scores);

/* Writes config.json, model.safetensors, vocab.txt and labels.txt into dir, which is made when
 * missing.  Tensors:
 *
 *     ngrams   I64 [F]             keys, ascending
 *     idf      F32 [F]
 *     weight   F32 [n_labels, F]
 *     bias     F32 [n_labels]
 *
 * dtype: weight's and bias's in the file, F32, F16 (refused where a number is beyond it) or BF16.
 * config.json: model_type "linear", model_name, vocab_size, num_labels, ngram_max 3, num_features,
 * max_length, scale, id2label. */
int linear_save(const char *dir, const char *name, const struct linear_weights *lw,
                const struct vocab *v, const struct classes *classes, enum dtype dtype,
                struct err *err);

#endif
