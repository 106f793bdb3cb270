#include "models/fasttext_file.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum { MAGIC = 793712314, VERSION = 12, OLD_VERSION = 11, CENTROIDS = 256 };
enum { MAX_DIM = 65536, MAX_NGRAM = 100, MAX_LABELS = 1000 };
#define MAX_COUNT ((int64_t)100000000000) /* so that sums over labels stay below 1e15 */

/* What is left of the file. */
struct cursor {
    const char *path;
    const unsigned char *p;
    size_t left;
    struct err *err;
};

static int take(struct cursor *c, const char *what, size_t n, const unsigned char **at)
{
    if (n > c->left)
        return err_set(c->err, ERR_TRUNCATED,
                       "%s: ends within its %s: %zu bytes expected there, %zu found", c->path, what,
                       n, c->left);
    *at = c->p;
    c->p += n;
    c->left -= n;
    return 0;
}

static int get(struct cursor *c, const char *what, void *out, size_t n)
{
    const unsigned char *at = NULL;
    if (take(c, what, n, &at) != 0)
        return -1;
    memcpy(out, at, n);
    return 0;
}

static int between(const struct cursor *c, const char *what, int64_t got, int64_t min, int64_t max)
{
    return got >= min && got <= max
               ? 0
               : err_set(c->err, ERR_FORMAT, "%s: %s is %lld, expected %lld to %lld", c->path, what,
                         (long long)got, (long long)min, (long long)max);
}

static int read_args(struct cursor *c, struct fasttext_args *a)
{
    int32_t magic, version;
    if (get(c, "header", &magic, 4) != 0 || get(c, "header", &version, 4) != 0)
        return -1;
    if (magic != MAGIC)
        return err_set(c->err, ERR_FORMAT, "%s: begins with %d, not with fastText's %d", c->path,
                       (int)magic, MAGIC);
    if (version != VERSION && version != OLD_VERSION)
        return err_set(c->err, ERR_FORMAT,
                       "%s: version %d of fastText's format; %d and %d are read", c->path,
                       (int)version, OLD_VERSION, VERSION);
    int32_t *const all[] = {&a->dim,    &a->ws,          &a->epoch, &a->min_count,
                            &a->neg,    &a->word_ngrams, &a->loss,  &a->model,
                            &a->bucket, &a->minn,        &a->maxn,  &a->lr_update_rate};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (get(c, "arguments", all[i], 4) != 0)
            return -1;
    if (get(c, "arguments", &a->t, 8) != 0)
        return -1;
    if (a->model != FASTTEXT_SUPERVISED)
        return err_set(c->err, ERR_FORMAT,
                       "%s: holds word vectors (model %d), no classifier (supervised, %d)", c->path,
                       (int)a->model, FASTTEXT_SUPERVISED);
    if (a->loss != FASTTEXT_HS && a->loss != FASTTEXT_SOFTMAX && a->loss != FASTTEXT_OVA)
        return err_set(c->err, ERR_FORMAT,
                       "%s: loss %d; those of classifiers are hs (%d), softmax (%d) and ova (%d)",
                       c->path, (int)a->loss, FASTTEXT_HS, FASTTEXT_SOFTMAX, FASTTEXT_OVA);
    if (version == OLD_VERSION)
        a->maxn = 0; /* its classifiers had no subwords, whatever it says */
    if (between(c, "dim", a->dim, 1, MAX_DIM) != 0 ||
        between(c, "bucket", a->bucket, 0, INT32_MAX / 2) != 0 ||
        between(c, "wordNgrams", a->word_ngrams, 0, MAX_NGRAM) != 0 ||
        between(c, "minn", a->minn, 0, MAX_NGRAM) != 0)
        return -1;
    return between(c, "maxn", a->maxn, 0, MAX_NGRAM);
}

static int read_entries(struct cursor *c, struct fasttext_dict *d, int32_t n, int32_t words)
{
    for (int32_t i = 0; i < n; i++) {
        const unsigned char *name = c->p, *end = memchr(c->p, 0, c->left);
        int64_t count;
        int8_t type;
        if (!end)
            return err_set(c->err, ERR_TRUNCATED, "%s: ends within entry %d of its dictionary",
                           c->path, (int)i);
        size_t len = (size_t)(end - name);
        c->p = end + 1;
        c->left -= len + 1;
        if (get(c, "dictionary", &count, 8) != 0 || get(c, "dictionary", &type, 1) != 0)
            return -1;
        if (type != (i >= words))
            return err_set(c->err, ERR_FORMAT,
                           "%s: entry %d of its dictionary (%.50s) is of type %d; %d words come "
                           "before the labels",
                           c->path, (int)i, (const char *)name, type, (int)words);
        if (between(c, "an entry's count", count, 0, MAX_COUNT) != 0)
            return -1;
        if (fasttext_dict_add(d, (const char *)name, len, count, type == 1) != i)
            return err_set(c->err, ERR_FORMAT, "%s: its dictionary has %.50s twice", c->path,
                           (const char *)name);
    }
    return 0;
}

static int read_prune(struct cursor *c, struct fasttext_dict *d, int64_t n)
{
    const unsigned char *at = NULL;
    if (n < 0)
        return 0;
    if (between(c, "the number of kept n-grams", n, 0, d->args.bucket) != 0 ||
        take(c, "kept n-grams", (size_t)n * 8, &at) != 0)
        return -1;
    int32_t *pairs = xmalloc((size_t)n * 8 + 1);
    memcpy(pairs, at, (size_t)n * 8);
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        rc = between(c, "a kept n-gram", pairs[2 * i], 0, d->args.bucket - 1);
        if (rc == 0)
            rc = between(c, "a kept n-gram's row", pairs[2 * i + 1], 0, n - 1);
    }
    if (rc == 0)
        fasttext_dict_set_prune(d, pairs, n);
    free(pairs);
    return rc;
}

static int read_dict(struct cursor *c, struct fasttext_dict *d)
{
    int32_t n, words, labels;
    int64_t tokens, pruned;
    struct fasttext_args args = d->args;
    if (get(c, "dictionary", &n, 4) != 0 || get(c, "dictionary", &words, 4) != 0 ||
        get(c, "dictionary", &labels, 4) != 0 || get(c, "dictionary", &tokens, 8) != 0 ||
        get(c, "dictionary", &pruned, 8) != 0)
        return -1;
    if (words < 0 || labels < 1 || (int64_t)words + labels != n)
        return err_set(c->err, ERR_FORMAT,
                       "%s: its dictionary has %d entries, of them %d words and %d labels", c->path,
                       (int)n, (int)words, (int)labels);
    if (between(c, "the number of labels", labels, 1, MAX_LABELS) != 0)
        return -1;
    fasttext_dict_start(d);
    d->args = args;
    d->n_tokens = tokens;
    return read_entries(c, d, n, words) != 0 ? -1 : read_prune(c, d, pruned);
}

static int read_quantizer(struct cursor *c, struct fasttext_quantizer *q, int64_t columns)
{
    int32_t all[4];
    if (get(c, "quantiser", all, sizeof all) != 0)
        return -1;
    *q = (struct fasttext_quantizer){all[0], all[1], all[2], all[3], NULL};
    if (q->dim != columns || q->part < 1 || q->parts < 1 || q->last_part < 1 ||
        q->last_part > q->part || (int64_t)(q->parts - 1) * q->part + q->last_part != q->dim)
        return err_set(
            c->err, ERR_FORMAT,
            "%s: a quantiser of %d numbers in %d parts of %d, the last of %d; the matrix "
            "has %lld columns",
            c->path, (int)q->dim, (int)q->parts, (int)q->part, (int)q->last_part,
            (long long)columns);
    return take(c, "quantiser", (size_t)q->dim * CENTROIDS * 4, &q->centroids);
}

static int read_quantized(struct cursor *c, struct fasttext_matrix *m)
{
    int8_t norms;
    int32_t size;
    if (get(c, "quantised matrix", &norms, 1) != 0 ||
        get(c, "quantised matrix", &m->rows, 8) != 0 ||
        get(c, "quantised matrix", &m->columns, 8) != 0 ||
        get(c, "quantised matrix", &size, 4) != 0)
        return -1;
    if (between(c, "a quantised matrix' rows", m->rows, 0, INT32_MAX) != 0 ||
        between(c, "a quantised matrix' codes", size, 0, INT32_MAX) != 0 ||
        take(c, "codes", (size_t)size, &m->codes) != 0 ||
        read_quantizer(c, &m->pq, m->columns) != 0)
        return -1;
    if ((int64_t)size != m->rows * m->pq.parts)
        return err_set(c->err, ERR_FORMAT, "%s: %d codes for %lld rows of %d parts", c->path,
                       (int)size, (long long)m->rows, (int)m->pq.parts);
    if (!norms)
        return 0;
    return take(c, "norms", (size_t)m->rows, &m->norm_codes) != 0 ? -1
                                                                  : read_quantizer(c, &m->norms, 1);
}

static int read_matrix(struct cursor *c, const char *what, bool quantized, int64_t rows,
                       int32_t dim, struct fasttext_matrix *m)
{
    int rc = 0;
    if (quantized)
        rc = read_quantized(c, m);
    else if (get(c, what, &m->rows, 8) != 0 || get(c, what, &m->columns, 8) != 0)
        rc = -1;
    if (rc != 0)
        return -1;
    if (m->rows != rows || m->columns != dim)
        return err_set(c->err, ERR_FORMAT,
                       "%s: its %s is %lld x %lld, dictionary and arguments make it %lld x %d",
                       c->path, what, (long long)m->rows, (long long)m->columns, (long long)rows,
                       (int)dim);
    return quantized ? 0 : take(c, what, (size_t)rows * (size_t)dim * 4, &m->data);
}

static int read_flag(struct cursor *c, const char *what, bool *out)
{
    int8_t x;
    if (get(c, what, &x, 1) != 0)
        return -1;
    *out = x;
    return between(c, what, x, 0, 1);
}

static int read_all(struct cursor *c, struct fasttext_file *f)
{
    struct fasttext_dict *d = &f->dict;
    bool input, output;
    if (read_args(c, &d->args) != 0 || read_dict(c, d) != 0 ||
        read_flag(c, "the input's kind", &input) != 0)
        return -1;
    if (!input && d->n_pruned >= 0)
        return err_set(
            c->err, ERR_FORMAT,
            "%s: its dictionary is pruned, its matrix is not quantised: a file of an old "
            "`fasttext quantize`, to be made anew",
            c->path);
    if (read_matrix(c, "input matrix", input, fasttext_dict_rows(d), d->args.dim, &f->input) != 0 ||
        read_flag(c, "the output's kind", &output) != 0 ||
        read_matrix(c, "output matrix", input && output, d->n_labels, d->args.dim, &f->output) != 0)
        return -1;
    if (c->left)
        return err_set(c->err, ERR_FORMAT, "%s: goes on for %zu bytes behind its end", c->path,
                       c->left);
    if (between(c, "the number of rows", fasttext_dict_rows(d), 1, INT32_MAX) != 0)
        return -1;
    fasttext_dict_finish(d);
    return 0;
}

bool fasttext_file_is(const char *path)
{
    struct file_map m;
    int32_t magic = 0;
    if (file_map_open(&m, path, NULL) != 0)
        return false;
    if (m.len >= 4)
        memcpy(&magic, m.data, 4);
    file_map_close(&m);
    return magic == MAGIC;
}

int fasttext_file_open(const char *path, struct fasttext_file *f, struct err *err)
{
    *f = (struct fasttext_file){0};
    if (file_map_open(&f->map, path, err) != 0)
        return -1;
    struct cursor c = {path, f->map.data, f->map.len, err};
    if (read_all(&c, f) != 0) {
        fasttext_file_close(f);
        return -1;
    }
    return 0;
}

void fasttext_file_close(struct fasttext_file *f)
{
    fasttext_dict_done(&f->dict);
    if (f->map.data)
        file_map_close(&f->map);
    *f = (struct fasttext_file){0};
}

static float number(const unsigned char *p, size_t i)
{
    float x;
    memcpy(&x, p + 4 * i, 4);
    return x;
}

void fasttext_matrix_row(const struct fasttext_matrix *m, int64_t i, float *out)
{
    const struct fasttext_quantizer *q = &m->pq;
    size_t columns = (size_t)m->columns;
    if (m->data) {
        memcpy(out, m->data + (size_t)i * columns * 4, columns * 4);
        return;
    }
    float norm = m->norm_codes ? number(m->norms.centroids, m->norm_codes[i]) : 1.0f;
    for (int32_t k = 0; k < q->parts; k++) {
        int32_t n = k + 1 < q->parts ? q->part : q->last_part;
        uint8_t code = m->codes[i * q->parts + k];
        size_t at = (size_t)k * CENTROIDS * (size_t)q->part + (size_t)code * (size_t)n;
        for (int32_t j = 0; j < n; j++)
            out[k * q->part + j] = norm * number(q->centroids, at + (size_t)j);
    }
}

struct fasttext_matrix fasttext_matrix_of(const float *x, int64_t rows, int64_t columns)
{
    return (struct fasttext_matrix){
        .rows = rows, .columns = columns, .data = (const unsigned char *)x};
}

static unsigned char *put(unsigned char *p, const void *x, size_t n)
{
    if (n)
        memcpy(p, x, n);
    return p + n;
}

static size_t quantizer_size(const struct fasttext_quantizer *q)
{
    return 16 + (size_t)q->dim * CENTROIDS * sizeof(float);
}

static unsigned char *put_quantizer(unsigned char *p, const struct fasttext_quantizer *q)
{
    const int32_t head[] = {q->dim, q->parts, q->part, q->last_part};
    p = put(p, head, sizeof head);
    return put(p, q->centroids, (size_t)q->dim * CENTROIDS * sizeof(float));
}

static size_t matrix_size(const struct fasttext_matrix *m)
{
    size_t n = 1 + 16; /* its kind, rows and columns */
    if (m->data)
        return n + (size_t)m->rows * (size_t)m->columns * sizeof(float);
    n += 1 + 4 + (size_t)m->rows * (size_t)m->pq.parts + quantizer_size(&m->pq);
    return m->norm_codes ? n + (size_t)m->rows + quantizer_size(&m->norms) : n;
}

static unsigned char *put_matrix(unsigned char *p, const struct fasttext_matrix *m)
{
    int8_t quantised = !m->data, norms = m->norm_codes != NULL;
    int32_t size = (int32_t)(m->rows * m->pq.parts);
    p = put(p, &quantised, 1);
    if (quantised)
        p = put(p, &norms, 1);
    p = put(p, &m->rows, 8);
    p = put(p, &m->columns, 8);
    if (!quantised)
        return put(p, m->data, (size_t)m->rows * (size_t)m->columns * sizeof(float));
    p = put(p, &size, 4);
    p = put(p, m->codes, (size_t)size);
    p = put_quantizer(p, &m->pq);
    if (!norms)
        return p;
    p = put(p, m->norm_codes, (size_t)m->rows);
    return put_quantizer(p, &m->norms);
}

static unsigned char *put_prune(unsigned char *p, const struct fasttext_dict *d)
{
    for (uint32_t s = 0; d->n_pruned > 0 && s <= d->prune_mask; s++)
        if (d->prune[s].id >= 0) {
            p = put(p, &d->prune[s].id, 4);
            p = put(p, &d->prune[s].row, 4);
        }
    return p;
}

int fasttext_file_write(const char *path, const struct fasttext_dict *d,
                        const struct fasttext_matrix *input, const struct fasttext_matrix *output,
                        struct err *err)
{
    const struct fasttext_args *a = &d->args;
    const int32_t head[] = {MAGIC,   VERSION,          a->dim,  a->ws,    a->epoch,  a->min_count,
                            a->neg,  a->word_ngrams,   a->loss, a->model, a->bucket, a->minn,
                            a->maxn, a->lr_update_rate};
    const int32_t sizes[] = {d->n, d->n_words, d->n_labels};
    const int64_t more[] = {d->n_tokens, d->n_pruned};
    if (!input->data && input->rows * input->pq.parts > INT32_MAX)
        return err_set(err, ERR_FORMAT, "%s: %lld rows of %d codes are more than the format holds",
                       path, (long long)input->rows, (int)input->pq.parts);
    size_t len = sizeof head + sizeof a->t + sizeof sizes + sizeof more + matrix_size(input) +
                 matrix_size(output) + (d->n_pruned > 0 ? (size_t)d->n_pruned * 8 : 0);
    for (int32_t i = 0; i < d->n; i++)
        len += d->entries[i].len + 1 + 8 + 1;
    unsigned char *file = xmalloc(len), *p = put(file, head, sizeof head);
    p = put(p, &a->t, sizeof a->t);
    p = put(p, sizes, sizeof sizes);
    p = put(p, more, sizeof more);
    for (int32_t i = 0; i < d->n; i++) {
        const struct fasttext_entry *e = &d->entries[i];
        int8_t type = e->is_label;
        p = put(p, d->text + e->name, e->len + 1);
        p = put(p, &e->count, 8);
        p = put(p, &type, 1);
    }
    p = put_prune(p, d);
    p = put_matrix(p, input);
    p = put_matrix(p, output);
    assert((size_t)(p - file) == len);
    int rc = file_replace(path, file, len, err);
    free(file);
    return rc;
}
