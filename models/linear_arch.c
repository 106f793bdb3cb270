/* The linear model at inference.
 *
 * Everything about an n-gram lies in one row of whole cache lines: key, idf, weights.  A slot of
 * the hash table holds 32 bits of the key's hash and the row's number, so an unknown n-gram is
 * known as such without touching a row.  A title goes through in passes (hash and prefetch slots,
 * probe and prefetch rows, then add up): its some 57 misses overlap instead of following one
 * another. */
#include "models/linear_arch.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/linear.h"
#include "ops/softmax.h"
#include "ops/tfidf.h"

enum {
    LINE = 16,
    HEAD = 3
}; /* floats of a cache line; of a row before its weights: key (2), idf */
enum { MAX_KEYS = TFIDF_NGRAM * LINEAR_MAX_TOKENS, COUNT_SLOTS = 8192 };

/* With these no sum on the way can overflow: idf of a million titles is below 15, and features have
 * norm 1. */
static const float max_idf = 100.0f, max_weight = 1e20f, max_scale = 1e6f;

typedef float v4 __attribute__((vector_size(16)));

struct linear {
    int32_t n_labels, n_padded,
        stride; /* n_padded: n_labels rounded up to 4; stride: floats of a row */
    float *rows;
    uint64_t *slot; /* hash's upper 32 bits | row + 1; 0 = free */
    int shift;
    float *bias, scale;
};

struct linear_ws {
    int64_t key[MAX_KEYS];
    uint64_t hash[MAX_KEYS];
    uint32_t row[MAX_KEYS];
    int32_t tf[MAX_KEYS];
    struct {
        uint32_t stamp, row, at;
    } seen[COUNT_SLOTS]; /* n-grams of the title at hand are those with its stamp */
    uint32_t stamp;
    float *sum; /* [n_padded] */
};

static uint64_t hash_of(int64_t key)
{
    return (uint64_t)key * 0x9E3779B97F4A7C15u;
}

static size_t slots(const struct linear *m)
{
    return (size_t)1 << (64 - m->shift);
}

/* The lower half of the product is the tag: the upper bits are the slot's number. */
static uint64_t tag_of(uint64_t hash)
{
    return hash << 32;
}

static int64_t row_key(const struct linear *m, uint32_t row)
{
    int64_t key;
    memcpy(&key, m->rows + (size_t)row * (size_t)m->stride, sizeof key);
    return key;
}

static void fill_rows(struct linear *m, const int64_t *keys, const float *idf, const float *weight,
                      size_t n)
{
    memset(m->rows, 0, n * (size_t)m->stride * sizeof *m->rows);
    for (size_t i = 0; i < n; i++) {
        float *row = m->rows + i * (size_t)m->stride;
        memcpy(row, &keys[i], sizeof keys[i]);
        row[2] = idf[i];
        for (size_t k = 0; k < (size_t)m->n_labels; k++)
            row[HEAD + k] = weight[k * n + i];
        uint64_t hash = hash_of(keys[i]);
        size_t s = (size_t)(hash >> m->shift);
        while (m->slot[s])
            s = (s + 1) & (slots(m) - 1);
        m->slot[s] = tag_of(hash) | (uint64_t)(i + 1);
    }
}

static int check_floats(const char *name, const float *x, size_t n, float min, float max,
                        struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!(x[i] >= min && x[i] <= max)) /* NaN is neither */
            return err_set(err, ERR_NUMERIC,
                           "tensor \"%s\": value %zu, %g, is not between %g and %g", name, i,
                           (double)x[i], (double)min, (double)max);
    return 0;
}

struct parts {
    size_t n;
    int64_t *keys;
    float *idf, *weight, *bias;
};

static void parts_done(struct parts *p)
{
    free(p->keys);
    free(p->idf);
    free(p->weight);
    free(p->bias);
}

static int check_keys(const struct parts *p, int32_t vocab, struct err *err)
{
    for (size_t i = 0; i < p->n; i++) {
        if (!tfidf_key_valid(p->keys[i], vocab, VOCAB_UNK))
            return err_set(err, ERR_FORMAT,
                           "tensor \"ngrams\": value %zu, %lld, is no n-gram of a vocabulary of %d",
                           i, (long long)p->keys[i], (int)vocab);
        if (i && p->keys[i] <= p->keys[i - 1])
            return err_set(err, ERR_FORMAT,
                           "tensor \"ngrams\": value %zu is not above the one before it", i);
    }
    return 0;
}

static int read_parts(const struct arch_source *src, int32_t n_features, struct parts *p,
                      struct err *err)
{
    const int64_t f = n_features, matrix[] = {src->n_labels, f}, labels = src->n_labels;
    const struct tensor *ngrams, *idf, *weight, *bias;
    if (tensor_set_need(src->weights, "ngrams", 1, &f, &ngrams, err) != 0 ||
        tensor_set_need(src->weights, "idf", 1, &f, &idf, err) != 0 ||
        tensor_set_need(src->weights, "weight", 2, matrix, &weight, err) != 0 ||
        tensor_set_need(src->weights, "bias", 1, &labels, &bias, err) != 0)
        return -1;
    if (src->weights->n != 4)
        return err_set(err, ERR_FORMAT, "%zu tensors, expected ngrams, idf, weight and bias alone",
                       src->weights->n);
    if (ngrams->dtype != DT_I64)
        return err_set(err, ERR_FORMAT, "tensor \"ngrams\": type %s, expected I64",
                       dtype_name(ngrams->dtype));
    size_t n = (size_t)f, cells = n * (size_t)src->n_labels;
    *p = (struct parts){n, xmalloc(n * sizeof *p->keys), xmalloc(n * sizeof(float)),
                        xmalloc(cells * sizeof(float)),
                        xmalloc((size_t)src->n_labels * sizeof(float))};
    memcpy(p->keys, ngrams->data, n * sizeof *p->keys);
    if (tensor_to_f32(idf, p->idf, err) != 0 || tensor_to_f32(weight, p->weight, err) != 0 ||
        tensor_to_f32(bias, p->bias, err) != 0 || check_keys(p, src->vocab_size, err) != 0 ||
        check_floats("idf", p->idf, n, 1e-6f, max_idf, err) != 0 ||
        check_floats("weight", p->weight, cells, -max_weight, max_weight, err) != 0 ||
        check_floats("bias", p->bias, (size_t)src->n_labels, -max_weight, max_weight, err) != 0)
        return -1;
    return 0;
}

static void linear_close(void *impl)
{
    struct linear *m = impl;
    if (!m)
        return;
    free(m->rows);
    free(m->slot);
    free(m->bias);
    free(m);
}

struct facts {
    int32_t n_features, max_tokens;
    float scale;
};

static int read_facts(const struct arch_source *src, struct facts *f, struct err *err)
{
    int32_t ngram_max;
    double scale = 0.0;
    if (src->vocab_size > TFIDF_MAX_ID + 1)
        return err_set(err, ERR_FORMAT, "a vocabulary of %d, at most %d", (int)src->vocab_size,
                       TFIDF_MAX_ID + 1);
    if (arch_need_int(src->config, "num_features", 1, 1 << 30, &f->n_features, err) != 0 ||
        arch_need_int(src->config, "max_length", 1, LINEAR_MAX_TOKENS, &f->max_tokens, err) != 0 ||
        arch_need_int(src->config, "ngram_max", TFIDF_NGRAM, TFIDF_NGRAM, &ngram_max, err) != 0 ||
        json_get_real(src->config, "scale", &scale, err) != 0)
        return -1;
    f->scale = (float)scale;
    if (!(f->scale > 0.0f && f->scale <= max_scale))
        return err_set(err, ERR_FORMAT, "\"scale\": %g is not in (0, %g]", scale,
                       (double)max_scale);
    return 0;
}

static int linear_open(const struct arch_source *src, void **impl, struct arch_facts *facts,
                       struct err *err)
{
    struct facts f;
    struct parts p = {0};
    if (read_facts(src, &f, err) != 0)
        return err_prefix(err, "%s", src->config_path);
    if (read_parts(src, f.n_features, &p, err) != 0) {
        parts_done(&p);
        return -1;
    }
    struct linear *m = xcalloc(1, sizeof *m);
    m->n_labels = src->n_labels;
    m->n_padded = (src->n_labels + 3) / 4 * 4;
    m->stride = (HEAD + m->n_padded + LINE - 1) / LINE * LINE;
    m->scale = f.scale;
    m->shift = 63;
    while (slots(m) < 2 * p.n)
        m->shift--;
    size_t row_bytes = p.n * (size_t)m->stride * sizeof *m->rows,
           slot_bytes = slots(m) * sizeof *m->slot;
    m->rows = arch_table_alloc(row_bytes);
    m->slot = arch_table_alloc(slot_bytes);
    memset(m->slot, 0, slot_bytes);
    fill_rows(m, p.keys, p.idf, p.weight, p.n);
    m->bias = p.bias;
    p.bias = NULL;
    facts->n_labels = src->n_labels;
    facts->parameters = (int64_t)(p.n + (p.n + 1) * (size_t)src->n_labels);
    facts->weights_bytes = (int64_t)(row_bytes + slot_bytes);
    facts->max_tokens = f.max_tokens;
    facts->precision = PRECISION_FP32;
    parts_done(&p);
    *impl = m;
    return 0;
}

static void *linear_workspace_open(const void *impl, int32_t max_titles, int32_t max_ids)
{
    const struct linear *m = impl;
    (void)max_titles, (void)max_ids; /* one title at a time */
    struct linear_ws *ws = xcalloc(1, sizeof *ws);
    ws->sum = xmalloc((size_t)m->n_padded * sizeof *ws->sum);
    return ws;
}

static void linear_workspace_close(void *workspace)
{
    struct linear_ws *ws = workspace;
    if (!ws)
        return;
    free(ws->sum);
    free(ws);
}

/* The first slot from s on whose tag fits the hash, or the free one that ends the search. */
static size_t probe(const struct linear *m, uint64_t hash, size_t s)
{
    while (m->slot[s] && ((m->slot[s] ^ tag_of(hash)) >> 32) != 0)
        s = (s + 1) & (slots(m) - 1);
    return s;
}

/* The key's row; -1 when absent. Two keys can share a tag, so the row's own key decides. */
static int64_t find_row(const struct linear *m, int64_t key, uint64_t hash)
{
    for (size_t s = (size_t)(hash >> m->shift);; s = (s + 1) & (slots(m) - 1)) {
        s = probe(m, hash, s);
        if (!m->slot[s])
            return -1;
        uint32_t row = (uint32_t)m->slot[s] - 1;
        if (row_key(m, row) == key)
            return row;
    }
}

/* Counts a row of the title at hand; found is how many different ones came before. Returns how many
 * there are now. */
static int32_t count_row(struct linear_ws *ws, uint64_t hash, uint32_t row, int32_t found)
{
    size_t s = (size_t)(hash >> 32) & (COUNT_SLOTS - 1);
    for (; ws->seen[s].stamp == ws->stamp; s = (s + 1) & (COUNT_SLOTS - 1))
        if (ws->seen[s].row == row) {
            ws->tf[ws->seen[s].at]++;
            return found;
        }
    ws->seen[s].stamp = ws->stamp;
    ws->seen[s].row = row;
    ws->seen[s].at = (uint32_t)found;
    ws->row[found] = row;
    ws->tf[found] = 1;
    return found + 1;
}

/* The title's known n-grams, each once: rows in ws->row, how often in ws->tf. Returns how many. */
static int32_t look_up(const struct linear *m, struct linear_ws *ws, const int32_t *ids, int32_t n)
{
    int32_t all = tfidf_keys(ids, n, VOCAB_UNK, ws->key), likely = 0, found = 0;
    for (int32_t i = 0; i < all; i++) {
        ws->hash[i] = hash_of(ws->key[i]);
        __builtin_prefetch(m->slot + (ws->hash[i] >> m->shift));
    }
    for (int32_t i = 0; i < all; i++) {
        uint64_t slot = m->slot[probe(m, ws->hash[i], (size_t)(ws->hash[i] >> m->shift))];
        if (!slot)
            continue;
        __builtin_prefetch(m->rows + (size_t)((uint32_t)slot - 1) * (size_t)m->stride);
        ws->key[likely] = ws->key[i];
        ws->hash[likely++] = ws->hash[i];
    }
    if (++ws->stamp == 0) {
        memset(ws->seen, 0, sizeof ws->seen);
        ws->stamp = 1;
    }
    for (int32_t i = 0; i < likely; i++) {
        int64_t row = find_row(m, ws->key[i], ws->hash[i]);
        if (row >= 0)
            found = count_row(ws, ws->hash[i], (uint32_t)row, found);
    }
    return found;
}

static void classify_title(const struct linear *m, struct linear_ws *ws, const int32_t *ids,
                           int32_t n, float *probabilities)
{
    int32_t found = look_up(m, ws, ids, n);
    double norm = 0.0;
    memset(ws->sum, 0, (size_t)m->n_padded * sizeof *ws->sum);
    for (int32_t i = 0; i < found; i++) {
        const float *row = m->rows + (size_t)ws->row[i] * (size_t)m->stride;
        float value = ws->tf[i] == 1 ? row[2] : (float)(1.0 + log((double)ws->tf[i])) * row[2];
        norm += (double)value * (double)value;
        for (int32_t k = 0; k < m->n_padded; k += 4) {
            v4 w, sum;
            memcpy(&w, row + HEAD + k, sizeof w);
            memcpy(&sum, ws->sum + k, sizeof sum);
            sum += value * w;
            memcpy(ws->sum + k, &sum, sizeof sum);
        }
    }
    float scale = norm > 0.0 ? (float)(1.0 / sqrt(norm)) : 0.0f;
    for (int32_t k = 0; k < m->n_labels; k++)
        probabilities[k] = m->scale * (ws->sum[k] * scale + m->bias[k]);
    softmax_row(probabilities, probabilities, m->n_labels);
}

static void linear_classify(const void *impl, void *workspace, const struct batch *b,
                            float *probabilities)
{
    const struct linear *m = impl;
    for (int32_t i = 0; i < b->n; i++) {
        assert(b->start[i + 1] - b->start[i] <= LINEAR_MAX_TOKENS);
        classify_title(m, workspace, b->ids + b->start[i], b->start[i + 1] - b->start[i],
                       probabilities + (size_t)i * (size_t)m->n_labels);
    }
}

const struct arch linear_arch = {
    .model_type = "linear",
    .tokenizer = TOKENIZER_CHARACTERS,
    .open = linear_open,
    .close = linear_close,
    .workspace_open = linear_workspace_open,
    .workspace_close = linear_workspace_close,
    .classify = linear_classify,
};
