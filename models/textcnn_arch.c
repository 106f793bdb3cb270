/* TextCNN at inference.  The whole vocabulary is projected once, at open: P[V, taps], kept in fixed
 * point (ops/convpool_fixed.h) unless fp32 or bf16 is asked for.  A title is then sums of rows of P, no
 * product at all until the classifier.  Where the table would be larger than MAX_TABLE (large
 * vocabularies), each batch projects its own characters instead, as training does. */
#include "models/textcnn_arch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/textcnn.h"
#include "models/textcnn_parts.h"
#include "ops/convpool_fixed.h"
#include "ops/gemm.h"
#include "ops/rows.h"
#include "ops/softmax.h"

#define MAX_TABLE ((size_t)256 << 20) /* bytes */

enum { CHUNK = 512, MAX_ROWS = 4096, GROUP = 1024 /* titles that go through the table together */ };

struct textcnn {
    struct textcnn_config cfg;
    struct convpool shape;
    int n_features;
    enum precision precision;
    void *table;  /* NULL: none */
    float *scale; /* [n_features], of a table in fixed point */
    float *w;     /* without a table: all weights; else from the convolutions' biases on */
    size_t w_bytes;
    const float *conv_bias, *classifier, *classifier_bias; /* into w */
};

struct textcnn_ws {
    float *h;                    /* [n_features] */
    int16_t *q;                  /* [group, n_widths * padded], with a table in fixed point */
    int32_t group;               /* titles */
    struct textcnn_train *train; /* without a table */
};

static float largest(const float *x, size_t n)
{
    float best = 0.0f;
    for (size_t i = 0; i < n; i++)
        best = fabsf(x[i]) > best ? fabsf(x[i]) : best;
    return best;
}

/* Finite weights can still make infinite sums: a bound on every value on the way must be a float.
 */
static int check_bound(const struct textcnn_config *cfg, const float *w, struct err *err)
{
    struct textcnn_parts at = textcnn_parts(cfg);
    struct convpool s = textcnn_shape(cfg);
    double e = cfg->embedding_size, features = (double)cfg->n_widths * cfg->n_filters;
    double p = (double)largest(w, (size_t)cfg->vocab_size * (size_t)cfg->embedding_size) *
               (double)largest(w + at.wall, (size_t)s.stride * (size_t)cfg->embedding_size) * e;
    double h = p * TEXTCNN_MAX_WIDTH + (double)largest(w + at.conv_bias, (size_t)features);
    double y = h * features *
                   (double)largest(w + at.classifier, (size_t)features * (size_t)cfg->n_labels) +
               (double)largest(w + at.classifier_bias, (size_t)cfg->n_labels);
    if (h > 1e37 || y > 1e37)
        return err_set(err, ERR_NUMERIC, "the weights are so large that results may overflow");
    return 0;
}

static enum convpool_cell cell_of(enum precision precision)
{
    return precision == PRECISION_INT8 ? CONVPOOL_INT8 : CONVPOOL_INT16;
}

/* Rows [first, first + n) of P. */
static void project(const struct textcnn *m, const float *w, int32_t first, int32_t n, float *p)
{
    int e = m->cfg.embedding_size, taps = m->shape.stride;
    gemm(&(struct gemm){false, true, n, taps, e, 1.0f, 0.0f, w + (size_t)first * (size_t)e,
                        w + textcnn_parts(&m->cfg).wall, p, e, e, taps});
}

static int32_t chunk_at(const struct textcnn *m, int32_t i)
{
    return m->cfg.vocab_size - i < CHUNK ? m->cfg.vocab_size - i : CHUNK;
}

/* Twice over the projection, which is never whole in memory: for the steps, then for the cells. */
static void fill_fixed(struct textcnn *m, const float *w)
{
    size_t taps = (size_t)m->shape.stride;
    enum convpool_cell cell = cell_of(m->precision);
    float *chunk = xmalloc(CHUNK * taps * sizeof *chunk), *most = xcalloc(taps, sizeof *most);
    for (int32_t i = 0; i < m->cfg.vocab_size; i += CHUNK) {
        project(m, w, i, chunk_at(m, i), chunk);
        convpool_most(&m->shape, chunk, chunk_at(m, i), most);
    }
    m->scale = xmalloc((size_t)m->n_features * sizeof *m->scale);
    convpool_scales(&m->shape, cell, most, m->scale);
    for (int32_t i = 0; i < m->cfg.vocab_size; i += CHUNK) {
        project(m, w, i, chunk_at(m, i), chunk);
        convpool_fix(&m->shape, cell, m->scale, chunk, i, chunk_at(m, i), m->cfg.vocab_size,
                     m->table);
    }
    free(chunk);
    free(most);
}

static bool is_fixed(enum precision precision)
{
    return precision == PRECISION_INT16 || precision == PRECISION_INT8;
}

static void fill_bf16(struct textcnn *m, const float *w)
{
    size_t taps = (size_t)m->shape.stride;
    float *chunk = xmalloc(CHUNK * taps * sizeof *chunk);
    for (int32_t i = 0; i < m->cfg.vocab_size; i += CHUNK) {
        int32_t n = chunk_at(m, i);
        project(m, w, i, n, chunk);
        rows()->to_bf16((uint16_t *)m->table + (size_t)i * taps, chunk, (size_t)n * taps);
    }
    free(chunk);
}

static void make_table(struct textcnn *m, const float *w, enum precision want,
                       struct arch_facts *facts)
{
    size_t cells = (size_t)m->cfg.vocab_size * (size_t)m->shape.stride, bytes;
    m->precision = want == PRECISION_AUTO ? PRECISION_INT16 : want;
    if (is_fixed(m->precision))
        bytes = convpool_fixed_bytes(&m->shape, cell_of(m->precision), m->cfg.vocab_size);
    else
        bytes = cells * (m->precision == PRECISION_BF16 ? sizeof(uint16_t) : sizeof(float));
    if (bytes > MAX_TABLE) {
        m->precision = PRECISION_FP32;
        bytes = 0;
    }
    facts->precision = m->precision;
    facts->weights_bytes = (int64_t)bytes;
    if (!bytes)
        return;
    m->table = arch_table_alloc(bytes);
    if (is_fixed(m->precision)) {
        memset(m->table, 0, bytes);
        fill_fixed(m, w);
        return;
    }
    if (m->precision == PRECISION_BF16) {
        fill_bf16(m, w);
        return;
    }
    for (int32_t i = 0; i < m->cfg.vocab_size; i += CHUNK)
        project(m, w, i, chunk_at(m, i), (float *)m->table + (size_t)i * (size_t)m->shape.stride);
}

/* Takes the block w. With a table, only what comes after the convolutions is kept. */
static void keep(struct textcnn *m, float *w)
{
    struct textcnn_parts at = textcnn_parts(&m->cfg);
    size_t from = m->table ? at.conv_bias : 0;
    m->w = w;
    if (from) {
        m->w = xmalloc((at.size - from) * sizeof *m->w);
        memcpy(m->w, w + from, (at.size - from) * sizeof *m->w);
        free(w);
    }
    m->w_bytes = (at.size - from) * sizeof *m->w;
    m->conv_bias = m->w + (at.conv_bias - from);
    m->classifier = m->w + (at.classifier - from);
    m->classifier_bias = m->w + (at.classifier_bias - from);
}

static void textcnn_close(void *impl)
{
    struct textcnn *m = impl;
    if (!m)
        return;
    free(m->table);
    free(m->scale);
    free(m->w);
    free(m);
}

static int textcnn_open(const struct arch_source *src, void **impl, struct arch_facts *facts,
                        struct err *err)
{
    struct textcnn_config cfg;
    float *w = NULL;
    if (textcnn_config_read(src->config, &cfg, err) != 0)
        return err_prefix(err, "%s", src->config_path);
    if (textcnn_weights_read(src->weights, &cfg, &w, err) != 0)
        return -1;
    struct textcnn *m = xcalloc(1, sizeof *m);
    m->cfg = cfg;
    m->shape = textcnn_shape(&cfg);
    m->n_features = cfg.n_widths * cfg.n_filters;
    struct arch_facts got = {.parameters = (int64_t)textcnn_size(&cfg),
                             .max_tokens = cfg.max_tokens,
                             .n_labels = cfg.n_labels};
    if (check_bound(&cfg, w, err) != 0) {
        free(w);
        textcnn_close(m);
        return -1;
    }
    make_table(m, w, src->precision, &got);
    keep(m, w);
    got.weights_bytes += (int64_t)m->w_bytes;
    *impl = m;
    *facts = got;
    return 0;
}

static void *textcnn_workspace_open(const void *impl, int32_t max_titles, int32_t max_ids)
{
    const struct textcnn *m = impl;
    struct textcnn_ws *ws = xcalloc(1, sizeof *ws);
    ws->h = xmalloc((size_t)m->n_features * sizeof *ws->h);
    ws->group = max_titles < GROUP ? max_titles : GROUP;
    if (m->scale)
        ws->q = xmalloc((size_t)ws->group * (size_t)m->cfg.n_widths *
                        (size_t)convpool_padded(&m->shape) * sizeof *ws->q);
    if (!m->table) {
        int32_t all = max_ids < m->cfg.vocab_size ? max_ids : m->cfg.vocab_size;
        ws->train =
            textcnn_train_open_rows(&m->cfg, max_titles, max_ids, all < MAX_ROWS ? all : MAX_ROWS);
    }
    return ws;
}

static void textcnn_workspace_close(void *workspace)
{
    struct textcnn_ws *ws = workspace;
    if (!ws)
        return;
    textcnn_train_close(ws->train);
    free(ws->h);
    free(ws->q);
    free(ws);
}

static void finish(const struct textcnn *m, const float *h, float *probabilities)
{
    rows()->affine(probabilities, h, m->classifier, m->classifier_bias, m->n_features,
                   m->cfg.n_labels);
    softmax_row(probabilities, probabilities, m->cfg.n_labels);
}

static void classify_fixed(const struct textcnn *m, struct textcnn_ws *ws, const struct batch *b,
                           float *probabilities)
{
    int filters = m->cfg.n_filters, padded = convpool_padded(&m->shape);
    for (int32_t i = 0; i < b->n; i += ws->group) {
        int32_t n = b->n - i < ws->group ? b->n - i : ws->group;
        const int16_t *q = ws->q;
        convpool_fixed(&m->shape, cell_of(m->precision), m->table, m->cfg.vocab_size, b->ids,
                       b->start + i, n, ws->q);
        for (int32_t k = i; k < i + n; k++) {
            for (int w = 0; w < m->n_features; w += filters, q += padded)
                rows()->unfix_relu(ws->h + w, q, m->scale + w, m->conv_bias + w, filters);
            finish(m, ws->h, probabilities + (size_t)k * (size_t)m->cfg.n_labels);
        }
    }
}

static void textcnn_classify(const void *impl, void *workspace, const struct batch *b,
                             float *probabilities)
{
    const struct textcnn *m = impl;
    struct textcnn_ws *ws = workspace;
    if (m->scale) {
        classify_fixed(m, ws, b, probabilities);
        return;
    }
    if (!m->table)
        textcnn_forward(&m->cfg, m->w, ws->train, b, NULL, probabilities);
    for (int32_t i = 0; i < b->n; i++) {
        float *row = probabilities + (size_t)i * (size_t)m->cfg.n_labels;
        const int32_t *ids = b->ids + b->start[i];
        int length = b->start[i + 1] - b->start[i];
        if (m->table) {
            if (m->precision == PRECISION_BF16)
                convpool_forward_bf16(&m->shape, m->table, ids, length, ws->h);
            else
                convpool_forward(&m->shape, m->table, ids, length, ws->h, NULL);
            rows()->bias_relu(ws->h, ws->h, m->conv_bias, m->n_features);
            finish(m, ws->h, row);
        } else {
            softmax_row(row, row, m->cfg.n_labels);
        }
    }
}

const struct arch textcnn_arch = {
    .model_type = "textcnn",
    .tokenizer = TOKENIZER_CHARACTERS,
    .open = textcnn_open,
    .close = textcnn_close,
    .workspace_open = textcnn_workspace_open,
    .workspace_close = textcnn_workspace_close,
    .classify = textcnn_classify,
};
