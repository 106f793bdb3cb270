/* Transformers: what is the same for all of them.  config.json and the parameter tables say what
 * the model is; a body (models/body.h) turns ids into one row a title; a head turns rows into
 * probabilities.  A batch goes through in slices of some thousand ids, so that a workspace is
 * bounded whatever the batch. */
#include "models/transformer.h"

#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "models/body_parts.h"
#include "models/encoder.h"
#include "models/t5.h"
#include "ops/rows.h"
#include "ops/softmax.h"

enum { SLICE = 1024 /* ids */, MAX_TOKENS = 512 /* where a family knows no bound */ };

struct transformer {
    struct transformer_config cfg;
    struct projection_set *set;
    const struct body *body;
    void *impl;
    struct projection *dense; /* of the head, or NULL: pooler, ELECTRA's, summary, T5's */
    enum activation dense_act;
    float *out_w, *out_b; /* [O,C], [O] */
    int32_t max_tokens;
};

struct transformer_ws {
    const struct body *body;
    void *impl;
    struct projection_lanes *lanes;
    struct block block;
    int32_t max_titles, max_ids; /* of a slice */
    int32_t *start;              /* [max_titles + 1] of a slice */
    float *features, *pooled;    /* [max_titles, C] */
    float *logits;               /* [O] */
    struct profile *profile;     /* or NULL */
};

static const struct body *body_of(enum family f)
{
    return f == FAMILY_T5 ? &t5_body : &encoder_body;
}

enum product_type transformer_product_type(enum precision *p, const json_t *config)
{
    if (*p == PRECISION_AUTO && json_object_get(config, "rubric_quantization") &&
        product_has(PRODUCT_INT8))
        *p = PRECISION_INT8;
    if (*p == PRECISION_AUTO)
        *p = product_has(PRODUCT_BF16) ? PRECISION_BF16 : PRECISION_FP32;
    if (*p == PRECISION_BF16 && !product_has(PRODUCT_BF16))
        *p = PRECISION_FP32;
    if (*p == PRECISION_INT16 || /* tables only */
        (*p == PRECISION_INT8 && !product_has(PRODUCT_INT8)))
        *p = PRECISION_FP32;
    return *p == PRECISION_INT8 ? PRODUCT_INT8 : *p == PRECISION_BF16 ? PRODUCT_BF16 : PRODUCT_FP32;
}

static void open_head(struct transformer *m, const struct body_source *src)
{
    static const enum param pool_w = P_POOL_W, pool_b = P_POOL_B, dense_w = P_HEAD_DENSE_W,
                            dense_b = P_HEAD_DENSE_B;
    const enum head head = m->cfg.head;
    if (head == HEAD_NONE)
        return;
    /* One row a title: too little work to be worth fewer bits. */
    if (head == HEAD_POOLED)
        m->dense = parts_projection(src, PRODUCT_FP32, STACK_ENCODER, 0, &pool_w, &pool_b, 1);
    else if (head != HEAD_ROW)
        m->dense = parts_projection(src, PRODUCT_FP32, STACK_ENCODER, 0, &dense_w, &dense_b, 1);
    m->dense_act = head == HEAD_ELECTRA ? ACT_GELU : ACT_TANH;
    m->out_w = parts_floats(src->params, STACK_ENCODER, P_HEAD_W, 0);
    m->out_b = parts_floats(src->params, STACK_ENCODER, P_HEAD_B, 0);
}

static void transformer_close(void *impl)
{
    struct transformer *m = impl;
    if (!m)
        return;
    m->body->close(m->impl);
    projection_close(m->dense);
    projection_set_close(m->set);
    free(m->out_w);
    free(m->out_b);
    free(m);
}

/* What config.json and the files beside it say of sizes. */
static int check_sizes(const struct arch_source *src, const struct transformer_config *cfg,
                       struct err *err)
{
    if (src->vocab_size > cfg->vocab_size)
        return err_set(err, ERR_CONFLICT,
                       "%s: \"vocab_size\" is %d, but the vocabulary has %d entries",
                       src->config_path, (int)cfg->vocab_size, (int)src->vocab_size);
    if (cfg->labels && src->n_labels && cfg->labels != src->n_labels)
        return err_set(err, ERR_CONFLICT, "the head has %d outputs, but there are %d labels",
                       (int)cfg->labels, (int)src->n_labels);
    return 0;
}

static int transformer_open(const struct arch_source *src, void **impl, struct arch_facts *facts,
                            struct err *err)
{
    struct transformer *m = xcalloc(1, sizeof *m);
    struct params params = {0};
    enum precision precision = src->precision;
    enum head plain = src->head == MODEL_HEAD_POOLED ? HEAD_POOLED
                      : src->head == MODEL_HEAD_ROW  ? HEAD_ROW
                                                     : HEAD_NONE;
    if (transformer_config_read(src->config, src->weights, &m->cfg, err) != 0) {
        free(m);
        return err_prefix(err, "%s", src->config_path);
    }
    const json_t *keep = json_object_get(src->config, "int8_keep");
    int rc = params_find(src->weights, &m->cfg, plain, &params, err);
    if (rc == 0)
        rc = check_sizes(src, &m->cfg, err);
    if (rc == 0 && parts_check_keep(keep, src->weights, &params, err) != 0)
        rc = err_prefix(err, "%s", src->config_path);
    if (rc != 0) {
        params_done(&params);
        free(m);
        return -1;
    }
    m->max_tokens =
        m->cfg.positions && m->cfg.positions < MAX_TOKENS ? m->cfg.positions : MAX_TOKENS;
    m->set = projection_set_open(BODY_BLOCK);
    m->body = body_of(m->cfg.family);
    struct body_source from = {.cfg = &m->cfg,
                               .params = &params,
                               .set = m->set,
                               .type = transformer_product_type(&precision, src->config),
                               .keep = keep,
                               .max_tokens = m->max_tokens};
    rc = m->body->open(&from, &m->impl, err);
    if (rc == 0)
        open_head(m, &from);
    *facts = (struct arch_facts){.parameters = params.count,
                                 .max_tokens = m->max_tokens,
                                 .n_labels = m->cfg.labels,
                                 .precision = precision,
                                 .kernels = projection_set_name(m->set, from.type)};
    params_done(&params);
    if (rc != 0) {
        transformer_close(m);
        return -1;
    }
    facts->weights_bytes = m->body->bytes(m->impl) +
                           (m->dense ? (int64_t)projection_bytes(m->dense) : 0) +
                           (int64_t)sizeof(float) * m->cfg.labels * (m->cfg.hidden + 1);
    *impl = m;
    return 0;
}

static void *transformer_workspace_open(const void *impl, int32_t max_titles, int32_t max_ids)
{
    const struct transformer *m = impl;
    struct transformer_ws *ws = xcalloc(1, sizeof *ws);
    int32_t least = m->max_tokens > SLICE ? m->max_tokens : SLICE;
    ws->max_ids = max_ids < least ? max_ids : least;
    ws->max_titles = max_titles < ws->max_ids ? max_titles : ws->max_ids;
    size_t n = (size_t)ws->max_titles * (size_t)m->cfg.hidden;
    ws->body = m->body;
    ws->impl = m->body->workspace_open(m->impl, ws->max_titles, ws->max_ids);
    ws->lanes = projection_lanes_open(m->set);
    parts_block_open(&ws->block, m->cfg.hidden, m->cfg.hidden, 1, 1);
    ws->start = xcalloc((size_t)ws->max_titles + 1, sizeof *ws->start);
    ws->features = xcalloc(n, sizeof *ws->features);
    ws->pooled = xcalloc(n, sizeof *ws->pooled);
    ws->logits = xcalloc((size_t)m->cfg.labels + 1, sizeof *ws->logits);
    return ws;
}

static void transformer_workspace_close(void *workspace)
{
    struct transformer_ws *ws = workspace;
    if (!ws)
        return;
    ws->body->workspace_close(ws->impl);
    projection_lanes_close(ws->lanes);
    parts_block_done(&ws->block);
    free(ws->start);
    free(ws->features);
    free(ws->pooled);
    free(ws->logits);
    free(ws);
}

/* features [n,C] to probabilities [n,O]. */
static void run_head(const struct transformer *m, struct transformer_ws *ws, int32_t first,
                     int32_t n, const struct trace *t, float *probabilities)
{
    int c = m->cfg.hidden, o = m->cfg.labels;
    const float *x = ws->features;
    if (m->dense) {
        parts_rows(ws->lanes, m->dense, &ws->block, PROFILE_OPS, x, c, n, ws->pooled, c);
        parts_activate(m->dense_act, ws->pooled, ws->pooled, n * c);
        x = ws->pooled;
    }
    if (t)
        t->put(t->arg, "pooled", first, x, n, c);
    for (int32_t i = 0; i < n; i++) {
        rows()->affine(ws->logits, x + (size_t)i * (size_t)c, m->out_w, m->out_b, c, o);
        if (t)
            t->put(t->arg, "logits", first + i, ws->logits, 1, o);
        softmax_row(probabilities + (size_t)i * (size_t)o, ws->logits, o);
    }
}

static void transformer_trace(const void *impl, void *workspace, const struct batch *b,
                              const struct trace *t, float *probabilities)
{
    const struct transformer *m = impl;
    struct transformer_ws *ws = workspace;
    unsigned flags = cpu_flush_denormals();
    for (int32_t i = 0; i < b->n;) {
        int32_t n = 0, from = b->start[i];
        ws->start[0] = 0;
        while (i + n < b->n && n < ws->max_titles && b->start[i + n + 1] - from <= ws->max_ids) {
            ws->start[n + 1] = b->start[i + n + 1] - from;
            n++;
        }
        struct batch slice = {.ids = b->ids + from, .start = ws->start, .n = n};
        m->body->forward(m->impl, ws->impl, &slice, ws->features, t, i);
        int64_t t0 = profile_start(ws->profile);
        if (m->cfg.head != HEAD_NONE)
            run_head(m, ws, i, n, t, probabilities + (size_t)i * (size_t)m->cfg.labels);
        (void)profile_add(ws->profile, PROFILE_HEAD, t0);
        i += n;
    }
    cpu_restore_denormals(flags);
}

static void transformer_profile(void *workspace, struct profile *p)
{
    struct transformer_ws *ws = workspace;
    ws->profile = p;
    ws->body->profile(ws->impl, p);
}

static void transformer_classify(const void *impl, void *ws, const struct batch *b,
                                 float *probabilities)
{
    transformer_trace(impl, ws, b, NULL, probabilities);
}

#define ARCH(variable, type, how)                                                                  \
    const struct arch variable = {                                                                 \
        .model_type = type,                                                                        \
        .tokenizer = how,                                                                          \
        .open = transformer_open,                                                                  \
        .close = transformer_close,                                                                \
        .workspace_open = transformer_workspace_open,                                              \
        .workspace_close = transformer_workspace_close,                                            \
        .classify = transformer_classify,                                                          \
        .profile = transformer_profile,                                                            \
        .trace = transformer_trace,                                                                \
    }
ARCH(bert_arch, "bert", TOKENIZER_BERT);
ARCH(ernie_arch, "ernie", TOKENIZER_BERT);
ARCH(electra_arch, "electra", TOKENIZER_BERT);
ARCH(albert_arch, "albert", TOKENIZER_BERT);
ARCH(nezha_arch, "nezha", TOKENIZER_BERT);
ARCH(xlnet_arch, "xlnet", TOKENIZER_XLNET);
ARCH(t5_arch, "t5", TOKENIZER_T5);
ARCH(mt5_arch, "mt5", TOKENIZER_T5);
