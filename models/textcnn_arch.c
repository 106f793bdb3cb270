/* TextCNN at inference.  The whole vocabulary is projected once, at open: P[V, taps], kept as F16
 * where the processor widens F16 in one instruction.  A title is then sums of rows of P, no product
 * at all until the classifier.  Where the table would be larger than MAX_TABLE (large
 * vocabularies), each batch projects its own characters instead, as training does. */
#include "models/textcnn_arch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "models/textcnn.h"
#include "models/textcnn_parts.h"
#include "ops/gemm.h"
#include "ops/rows.h"
#include "ops/softmax.h"

#define MAX_TABLE ((size_t)256 << 20) /* bytes */

enum { CHUNK = 512, MAX_ROWS = 4096 };

struct textcnn {
    struct textcnn_config cfg;
    struct convpool shape;
    int n_features;
    float *p32; /* one of the two is the table, or both are NULL: no table */
    uint16_t *p16;
    float *w; /* without a table: all weights; else from the convolutions' biases on */
    size_t w_bytes;
    const float *conv_bias, *classifier, *classifier_bias; /* into w */
};

struct textcnn_ws {
    float *h;                    /* [n_features] */
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

/* Fills the F16 table (when there is one) or the fp32 one; returns the largest magnitude. */
static float fill_table(struct textcnn *m, const float *w)
{
    const float *wall = w + textcnn_parts(&m->cfg).wall;
    int e = m->cfg.embedding_size, taps = m->shape.stride;
    float most = 0.0f;
    float *chunk = m->p16 ? xmalloc((size_t)CHUNK * (size_t)taps * sizeof *chunk) : NULL;
    for (int32_t i = 0; i < m->cfg.vocab_size; i += CHUNK) {
        int n = m->cfg.vocab_size - i < CHUNK ? m->cfg.vocab_size - i : CHUNK;
        size_t at = (size_t)i * (size_t)taps, size = (size_t)n * (size_t)taps;
        float *to = m->p16 ? chunk : m->p32 + at;
        gemm(&(struct gemm){false, true, n, taps, e, 1.0f, 0.0f, w + (size_t)i * (size_t)e, wall,
                            to, e, e, taps});
        float here = largest(to, size);
        most = here > most ? here : most;
        if (m->p16)
            rows()->f16_narrow(m->p16 + at, chunk, size);
    }
    free(chunk);
    return most;
}

static int make_table(struct textcnn *m, const float *w, enum precision want,
                      struct arch_facts *facts, struct err *err)
{
    size_t cells = (size_t)m->cfg.vocab_size * (size_t)m->shape.stride;
    bool half = want == PRECISION_FP16 || (want == PRECISION_AUTO && cpu_isa() >= CPU_AVX2);
    facts->precision = half ? PRECISION_FP16 : PRECISION_FP32;
    facts->weights_bytes = (int64_t)(cells * (half ? sizeof *m->p16 : sizeof *m->p32));
    if ((size_t)facts->weights_bytes > MAX_TABLE) {
        facts->precision = PRECISION_FP32;
        facts->weights_bytes = 0;
        return 0;
    }
    if (half)
        m->p16 = arch_table_alloc((size_t)facts->weights_bytes);
    else
        m->p32 = arch_table_alloc((size_t)facts->weights_bytes);
    float most = fill_table(m, w);
    if (!half || most < 65504.0f)
        return 0;
    free(m->p16);
    m->p16 = NULL;
    if (want == PRECISION_FP16)
        return err_set(err, ERR_NUMERIC, "projected weights reach %g, beyond F16: use fp32",
                       (double)most);
    return make_table(m, w, PRECISION_FP32, facts, err);
}

/* Takes the block w. With a table, only what comes after the convolutions is kept. */
static void keep(struct textcnn *m, float *w)
{
    struct textcnn_parts at = textcnn_parts(&m->cfg);
    size_t from = m->p16 || m->p32 ? at.conv_bias : 0;
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
    free(m->p32);
    free(m->p16);
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
                             .max_tokens = cfg.max_tokens};
    if (check_bound(&cfg, w, err) != 0 || make_table(m, w, src->precision, &got, err) != 0) {
        free(w);
        textcnn_close(m);
        return -1;
    }
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
    if (!m->p16 && !m->p32) {
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
    free(ws);
}

static void textcnn_classify(const void *impl, void *workspace, const struct batch *b,
                             float *probabilities)
{
    const struct textcnn *m = impl;
    struct textcnn_ws *ws = workspace;
    int labels = m->cfg.n_labels;
    if (ws->train)
        textcnn_forward(&m->cfg, m->w, ws->train, b, NULL, probabilities);
    for (int32_t i = 0; i < b->n; i++) {
        float *row = probabilities + (size_t)i * (size_t)labels;
        const int32_t *ids = b->ids + b->start[i];
        int n = b->start[i + 1] - b->start[i];
        if (m->p16)
            convpool_forward_f16(&m->shape, m->p16, ids, n, ws->h);
        else if (m->p32)
            convpool_forward(&m->shape, m->p32, ids, n, ws->h, NULL);
        if (!ws->train) {
            rows()->bias_relu(ws->h, ws->h, m->conv_bias, m->n_features);
            rows()->affine(row, ws->h, m->classifier, m->classifier_bias, m->n_features, labels);
        }
        softmax_row(row, row, labels);
    }
}

const struct arch textcnn_arch = {
    .model_type = "textcnn",
    .open = textcnn_open,
    .close = textcnn_close,
    .workspace_open = textcnn_workspace_open,
    .workspace_close = textcnn_workspace_close,
    .classify = textcnn_classify,
};
