#include "models/fasttext.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "data/utf8.h"
#include "models/arch.h"
#include "models/fasttext_tree.h"
#include "ops/rows.h"
#include "ops/softmax.h"

enum { AHEAD = 8 /* rows fetched before they are added */, MAX_WORDS = 8192 };

struct fasttext {
    struct fasttext_dict dict;
    struct words *words;
    bool folded;
    int32_t width, padded; /* of a row of the table; its stride */
    int32_t outputs;       /* rows of W that decide: labels, or hs' inner nodes */
    float *table, *w;      /* w [outputs, dim]; NULL when folded */
    int64_t rows;
    struct fasttext_tree *tree; /* hs */
};

/* With this bound no product or sum on the way can overflow. */
static int check_row(const float *row, int32_t n, int64_t i, struct err *err)
{
    for (int32_t k = 0; k < n; k++)
        if (!(fabsf(row[k]) <= 1e14f)) /* nor is NaN */
            return err_set(err, ERR_NUMERIC,
                           "row %lld of its matrices holds %g, expected -1e14 to 1e14",
                           (long long)i, (double)row[k]);
    return 0;
}

static int fill(struct fasttext *m, const struct fasttext_file *f, struct err *err)
{
    int32_t dim = m->dict.args.dim;
    float *row = xmalloc(((size_t)dim + ROWS_PAD) * sizeof *row);
    int rc = 0;
    m->w = xcalloc((size_t)m->outputs * (size_t)dim + ROWS_PAD, sizeof *m->w);
    for (int32_t o = 0; o < m->outputs && rc == 0; o++) {
        fasttext_matrix_row(&f->output, o, m->w + (size_t)o * (size_t)dim);
        rc = check_row(m->w + (size_t)o * (size_t)dim, dim, o, err);
    }
    m->table =
        arch_table_alloc(((size_t)m->rows * (size_t)m->padded + ROWS_PAD) * sizeof *m->table);
    for (int64_t i = 0; i < m->rows && rc == 0; i++) {
        float *to = m->table + (size_t)i * (size_t)m->padded;
        fasttext_matrix_row(&f->input, i, row);
        rc = check_row(row, dim, i, err);
        memset(to, 0, (size_t)m->padded * sizeof *to);
        if (m->folded)
            rows()->affine(to, row, m->w, NULL, dim, m->outputs);
        else
            memcpy(to, row, (size_t)dim * sizeof *to);
    }
    free(row);
    if (m->folded) {
        free(m->w);
        m->w = NULL;
    }
    return rc;
}

/* A few bytes of codes may ask for a row each. */
static int too_large(const struct fasttext *m, struct err *err)
{
    double bytes = (double)m->rows * m->padded * sizeof(float), most = (double)((size_t)16 << 30);
    return bytes <= most
               ? 0
               : err_set(err, ERR_FORMAT, "its %lld rows would take %.1f GB, %.0f GB at most",
                         (long long)m->rows, bytes / 1e9, most / 1e9);
}

int fasttext_make(struct fasttext_file *f, struct words *words, struct fasttext **out,
                  struct err *err)
{
    struct fasttext *m = xcalloc(1, sizeof *m);
    bool hs = f->dict.args.loss == FASTTEXT_HS;
    m->rows = fasttext_dict_rows(&f->dict);
    m->dict = f->dict;
    f->dict = (struct fasttext_dict){0};
    m->words = words;
    m->outputs = hs ? m->dict.n_labels - 1 : m->dict.n_labels;
    m->folded = m->outputs <= m->dict.args.dim;
    m->width = m->folded ? m->outputs : m->dict.args.dim;
    m->padded = (m->width + 3) / 4 * 4;
    if (hs)
        m->tree = fasttext_tree_open(&m->dict);
    if (too_large(m, err) != 0 || fill(m, f, err) != 0) {
        fasttext_free(m);
        return -1;
    }
    *out = m;
    return 0;
}

void fasttext_free(struct fasttext *m)
{
    if (!m)
        return;
    fasttext_dict_done(&m->dict);
    words_close(m->words);
    free(m->table);
    free(m->w);
    fasttext_tree_close(m->tree);
    free(m);
}

const struct fasttext_dict *fasttext_dictionary(const struct fasttext *m)
{
    return &m->dict;
}

int64_t fasttext_bytes(const struct fasttext *m)
{
    return (m->rows * m->padded + (m->w ? (int64_t)m->outputs * m->dict.args.dim : 0)) *
           (int64_t)sizeof(float);
}

int32_t fasttext_encode(const struct fasttext *m, const char *title, size_t n, int32_t *rows,
                        int32_t max, bool *cut)
{
    uint32_t hashes[MAX_WORDS];
    struct fasttext_line l = {.d = &m->dict,
                              .rows = rows,
                              .max = max,
                              .hashes = hashes,
                              .max_words = MAX_WORDS,
                              .label = -1};
    fasttext_line_title(&l, m->words, title, n);
    if (cut)
        *cut = l.cut;
    return l.n;
}

size_t fasttext_scratch(const struct fasttext *m)
{
    return (size_t)m->padded + (size_t)m->outputs + ROWS_PAD;
}

typedef float v4 __attribute__((vector_size(16)));

/* The mean of rows. */
static void mean(const struct fasttext *m, const int32_t *rows, int32_t n, float *sum)
{
    size_t stride = (size_t)m->padded;
    memset(sum, 0, stride * sizeof *sum);
    for (int32_t i = 0; i < n; i++) {
        const float *row = m->table + (size_t)rows[i] * stride;
        if (i + AHEAD < n) {
            const char *next = (const char *)(m->table + (size_t)rows[i + AHEAD] * stride);
            for (size_t b = 0; b < stride * sizeof *row; b += 64)
                __builtin_prefetch(next + b);
            __builtin_prefetch(next + stride * sizeof *row - 1);
        }
        for (size_t k = 0; k < stride; k += 4) {
            v4 a, b;
            memcpy(&a, sum + k, sizeof a);
            memcpy(&b, row + k, sizeof b);
            a += b;
            memcpy(sum + k, &a, sizeof a);
        }
    }
    for (size_t k = 0; k < stride && n > 0; k++)
        sum[k] /= (float)n;
}

static float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* One-vs-all goes through the program's table: 512 steps over -8 .. 8. */
static float sigmoid_in_steps(float x)
{
    const float steps = 512, end = 8;
    if (x < -end)
        return 0.0f;
    if (x > end)
        return 1.0f;
    int step = (int)((x + end) * steps / end / 2);
    return sigmoid((float)(step * 2) * end / steps - end);
}

void fasttext_probabilities(const struct fasttext *m, const int32_t *rows_, int32_t n,
                            float *scratch, float *p)
{
    float *logits = scratch;
    mean(m, rows_, n, scratch);
    if (!m->folded) {
        logits = scratch + m->padded;
        rows()->affine(logits, scratch, m->w, NULL, m->dict.args.dim, m->outputs);
    }
    if (m->dict.args.loss == FASTTEXT_HS)
        fasttext_tree_probabilities(m->tree, logits, p);
    else if (m->dict.args.loss == FASTTEXT_SOFTMAX)
        softmax_row(p, logits, m->outputs);
    else
        for (int32_t o = 0; o < m->outputs; o++)
            p[o] = sigmoid_in_steps(logits[o]);
}

enum words_how fasttext_guess_words(const struct fasttext_dict *d)
{
    int32_t longer = 0;
    for (int32_t i = 0; i < d->n_words; i++) {
        const char *name = fasttext_dict_name(d, i);
        size_t n = strlen(name), at = 0;
        (void)utf8_next(name, n ? n : 1, &at);
        longer += n > 0 && at < n && strcmp(name, "</s>") != 0;
    }
    return longer * 10 <= d->n_words ? WORDS_CHARACTERS : WORDS_JIEBA;
}
