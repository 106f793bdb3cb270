/* A random forest at inference: the title's features are laid out one for each n-gram of the table, every tree is
 * walked, the features are cleared again. */
#include "models/forest_arch.h"

#include <stdlib.h>
#include <string.h>

#include "models/forest.h"
#include "ops/tfidf.h"

enum { MAX_FEATURES = 1 << 28 };

struct forest_model {
    struct forest f;
    struct ngrams *ngrams;
};

struct forest_ws {
    struct forest_row row; /* empty between titles */
    int32_t index[LINEAR_MAX_NGRAM * LINEAR_MAX_TOKENS];
    float value[LINEAR_MAX_NGRAM * LINEAR_MAX_TOKENS];
    double *sum; /* [labels] */
};

static int read_ngrams(const struct arch_source *src, int32_t features, struct ngrams **out,
                       struct err *err)
{
    const int64_t f = features;
    const struct tensor *keys, *idf;
    if (tensor_set_need(src->weights, "ngrams", 1, &f, &keys, err) != 0 ||
        tensor_set_need(src->weights, "idf", 1, &f, &idf, err) != 0)
        return -1;
    if (keys->dtype != DT_I64)
        return err_set(err, ERR_FORMAT, "tensor \"ngrams\": type %s, expected I64",
                       dtype_name(keys->dtype));
    int64_t *k = xmalloc(keys->bytes + 1);
    float *x = xmalloc((size_t)f * sizeof *x + 1);
    memcpy(k, keys->data, keys->bytes);
    int rc = tensor_to_f32(idf, x, err);
    for (int64_t i = 0; i < f && rc == 0; i++)
        if (!tfidf_key_valid(k[i], src->vocab_size, VOCAB_UNK))
            rc = err_set(err, ERR_FORMAT,
                         "tensor \"ngrams\": value %lld, %lld, is no n-gram of a vocabulary of %d",
                         (long long)i, (long long)k[i], (int)src->vocab_size);
    if (rc == 0)
        rc = ngrams_from("tensor \"ngrams\"", k, x, f, out, err);
    free(k);
    free(x);
    return rc;
}

static void forest_close(void *impl)
{
    struct forest_model *m = impl;
    if (!m)
        return;
    forest_done(&m->f);
    ngrams_close(m->ngrams);
    free(m);
}

static int forest_open(const struct arch_source *src, void **impl, struct arch_facts *facts,
                       struct err *err)
{
    int32_t features, max_tokens, ngram_max, trees;
    if (arch_need_int(src->config, "num_features", 1, MAX_FEATURES, &features, err) != 0 ||
        arch_need_int(src->config, "num_trees", 1, FOREST_MAX_TREES, &trees, err) != 0 ||
        arch_need_int(src->config, "max_length", 1, LINEAR_MAX_TOKENS, &max_tokens, err) != 0 ||
        arch_need_int(src->config, "ngram_max", TFIDF_NGRAM, TFIDF_NGRAM, &ngram_max, err) != 0)
        return err_prefix(err, "%s", src->config_path);
    if (src->vocab_size > TFIDF_MAX_ID + 1)
        return err_set(err, ERR_FORMAT, "a vocabulary of %d, at most %d", (int)src->vocab_size,
                       TFIDF_MAX_ID + 1);
    struct forest_model *m = xcalloc(1, sizeof *m);
    m->f.trees = trees;
    m->f.labels = src->n_labels;
    if (read_ngrams(src, features, &m->ngrams, err) != 0 ||
        forest_read(src->weights, features, &m->f, err) != 0) {
        forest_close(m);
        return -1;
    }
    size_t nodes = (size_t)m->f.nodes * sizeof *m->f.node,
           leaves = (size_t)m->f.leaves * (size_t)m->f.labels * sizeof *m->f.leaf;
    facts->n_labels = src->n_labels;
    facts->parameters = 4 * (int64_t)m->f.nodes + (int64_t)m->f.leaves * m->f.labels;
    facts->weights_bytes = (int64_t)(nodes + leaves) + 24 * (int64_t)features;
    facts->max_tokens = max_tokens;
    facts->precision = PRECISION_FP32;
    *impl = m;
    return 0;
}

static void *forest_workspace_open(const void *impl, int32_t max_titles, int32_t max_ids)
{
    const struct forest_model *m = impl;
    (void)max_titles, (void)max_ids; /* one title at a time */
    struct forest_ws *ws = xcalloc(1, sizeof *ws);
    ws->row = forest_row_open(ngrams_count(m->ngrams));
    ws->sum = xmalloc((size_t)m->f.labels * sizeof *ws->sum);
    return ws;
}

static void forest_workspace_close(void *workspace)
{
    struct forest_ws *ws = workspace;
    if (!ws)
        return;
    forest_row_close(&ws->row);
    free(ws->sum);
    free(ws);
}

static void forest_classify(const void *impl, void *workspace, const struct batch *b,
                            float *probabilities)
{
    const struct forest_model *m = impl;
    struct forest_ws *ws = workspace;
    for (int32_t i = 0; i < b->n; i++, probabilities += m->f.labels) {
        int32_t n = linear_features(m->ngrams, b->ids + b->start[i], b->start[i + 1] - b->start[i],
                                    ws->index, ws->value);
        forest_row_put(&ws->row, ws->index, ws->value, n);
        memset(ws->sum, 0, (size_t)m->f.labels * sizeof *ws->sum);
        forest_add(&m->f, &ws->row, 0, m->f.trees, ws->sum);
        for (int32_t k = 0; k < m->f.labels; k++)
            probabilities[k] = (float)(ws->sum[k] / m->f.trees);
        forest_row_clear(&ws->row, ws->index, n);
    }
}

const struct arch forest_arch = {
    .model_type = "forest",
    .tokenizer = TOKENIZER_CHARACTERS,
    .open = forest_open,
    .close = forest_close,
    .workspace_open = forest_workspace_open,
    .workspace_close = forest_workspace_close,
    .classify = forest_classify,
};
