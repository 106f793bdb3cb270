#include "models/fasttext_quantize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

#define STREAM_SAMPLE                                                                              \
    0x66747a73ULL /* rng streams; of the second the part is added to the high half */
#define STREAM_SPLIT 0x66747a70ULL
enum { CENTROIDS = 256, PART = 2, SAMPLE = 65536, PASSES = 25 };

/* One part of the rows: n columns from `column` on. */
struct part {
    const float *x; /* [rows, stride] */
    int64_t rows;
    size_t stride, column;
    int32_t n;
    float *centroids; /* [CENTROIDS][n] */
    uint8_t *codes;   /* of row i at i * step */
    size_t step;
    const uint32_t *sample; /* [n_sample] rows to learn from */
    size_t n_sample;
    uint64_t seed, number;
};

static uint8_t nearest(const struct part *p, const float *x)
{
    float best = INFINITY;
    int code = 0;
    for (int c = 0; c < CENTROIDS; c++) {
        float d = 0;
        for (int32_t j = 0; j < p->n; j++) {
            float e = x[j] - p->centroids[c * p->n + j];
            d += e * e;
        }
        if (d < best) {
            best = d;
            code = c;
        }
    }
    return (uint8_t)code;
}

static const float *place(const struct part *p, size_t row)
{
    return p->x + row * p->stride + p->column;
}

/* A centroid that nothing is near takes half of another's, a hair beside it. */
static void split_empty(const struct part *p, int32_t *count, int pass)
{
    for (int c = 0; c < CENTROIDS; c++) {
        if (count[c])
            continue;
        int from = 0;
        for (int k = 1; k < CENTROIDS; k++)
            from = count[k] > count[from] ? k : from;
        for (int32_t j = 0; j < p->n; j++) {
            float side = rng_uniform(p->seed, STREAM_SPLIT + (p->number << 32),
                                     (uint64_t)((pass * CENTROIDS + c) * 8 + j)) < 0.5
                             ? 1e-5f
                             : -1e-5f,
                  *a = &p->centroids[from * p->n + j], *b = &p->centroids[c * p->n + j];
            *b = *a * (1 + side);
            *a = *a * (1 - side);
        }
        count[c] = count[from] / 2;
        count[from] -= count[c];
    }
}

static void find_centroids(const struct part *p)
{
    const uint32_t *sample = p->sample;
    size_t n = p->n_sample;
    double *sum = xmalloc((size_t)(CENTROIDS * p->n) * sizeof *sum);
    int32_t count[CENTROIDS];
    for (int c = 0; c < CENTROIDS; c++)
        memcpy(p->centroids + c * p->n, place(p, sample[(size_t)c % n]),
               (size_t)p->n * sizeof *p->centroids);
    for (int pass = 0; pass < PASSES; pass++) {
        memset(count, 0, sizeof count);
        memset(sum, 0, (size_t)(CENTROIDS * p->n) * sizeof *sum);
        for (size_t i = 0; i < n; i++) {
            const float *x = place(p, sample[i]);
            uint8_t c = nearest(p, x);
            count[c]++;
            for (int32_t j = 0; j < p->n; j++)
                sum[c * p->n + j] += (double)x[j];
        }
        for (int c = 0; c < CENTROIDS; c++)
            for (int32_t j = 0; j < p->n && count[c]; j++)
                p->centroids[c * p->n + j] = (float)(sum[c * p->n + j] / count[c]);
        split_empty(p, count, pass);
    }
    free(sum);
}

static void code_part(void *arg, int number, int thread)
{
    const struct part *p = (const struct part *)arg + number;
    (void)thread;
    find_centroids(p);
    for (size_t i = 0; i < (size_t)p->rows; i++)
        p->codes[i * p->step] = nearest(p, place(p, i));
}

/* What a quantised matrix owns. */
struct coded {
    struct fasttext_matrix m;
    float *centroids, *norm_centroids;
    uint8_t *codes, *norm_codes;
};

static void coded_done(struct coded *c)
{
    free(c->centroids);
    free(c->norm_centroids);
    free(c->codes);
    free(c->norm_codes);
}

static float norm_of(const float *x, size_t n)
{
    double sum = 0;
    for (size_t j = 0; j < n; j++)
        sum += (double)x[j] * (double)x[j];
    return (float)sqrt(sum);
}

struct ranked {
    float norm;
    int32_t row;
};

static int by_norm(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->norm != y->norm)
        return x->norm > y->norm ? -1 : 1;
    return x->row - y->row;
}

/* Rows to learn centroids from, in a random order: those of greatest norm, as many others were hardly moved by training
 * and would take centroids from those that matter. */
static uint32_t *draw_sample(const float *x, int64_t rows, size_t dim, uint64_t seed, size_t *n)
{
    struct ranked *all = xmalloc((size_t)rows * sizeof *all);
    *n = rows < SAMPLE ? (size_t)rows : SAMPLE;
    uint32_t *sample = xmalloc(*n * sizeof *sample + 1);
    for (int64_t i = 0; i < rows; i++)
        all[i] = (struct ranked){norm_of(x + (size_t)i * dim, dim), (int32_t)i};
    qsort(all, (size_t)rows, sizeof *all, by_norm);
    for (size_t i = 0; i < *n; i++)
        sample[i] = (uint32_t)all[i].row;
    rng_shuffle(sample, *n, seed, STREAM_SAMPLE);
    free(all);
    return sample;
}

/* The rows' norms as codes, and the rows divided by them. */
static void code_norms(struct coded *c, float *x, int64_t rows, size_t dim, const uint32_t *sample,
                       size_t n_sample, uint64_t seed)
{
    float *norm = xmalloc((size_t)rows * sizeof *norm);
    for (int64_t i = 0; i < rows; i++) {
        float *row = x + (size_t)i * dim;
        norm[i] = norm_of(row, dim);
        for (size_t j = 0; j < dim && norm[i] > 0; j++)
            row[j] /= norm[i];
    }
    c->norm_centroids = xcalloc(CENTROIDS, sizeof *c->norm_centroids);
    c->norm_codes = xmalloc((size_t)rows);
    struct part p = {.x = norm,
                     .rows = rows,
                     .stride = 1,
                     .n = 1,
                     .centroids = c->norm_centroids,
                     .codes = c->norm_codes,
                     .step = 1,
                     .sample = sample,
                     .n_sample = n_sample,
                     .seed = seed,
                     .number = 0xffff};
    code_part(&p, 0, 0);
    c->m.norm_codes = c->norm_codes;
    c->m.norms = (struct fasttext_quantizer){1, 1, 1, 1, (const unsigned char *)c->norm_centroids};
    free(norm);
}

/* x [rows, dim] is spoilt. */
static void code_rows(struct coded *c, float *x, int64_t rows, int32_t dim,
                      const struct fasttext_shrink *how, struct pool *pool)
{
    int32_t parts = (dim + PART - 1) / PART, last = dim - (parts - 1) * PART;
    *c = (struct coded){.m = {.rows = rows, .columns = dim}};
    size_t n_sample;
    uint32_t *sample = draw_sample(x, rows, (size_t)dim, how->seed, &n_sample);
    if (how->norms)
        code_norms(c, x, rows, (size_t)dim, sample, n_sample, how->seed);
    c->centroids = xcalloc((size_t)dim * CENTROIDS, sizeof *c->centroids);
    c->codes = xmalloc((size_t)rows * (size_t)parts);
    struct part *list = xcalloc((size_t)parts, sizeof *list);
    for (int32_t k = 0; k < parts; k++)
        list[k] = (struct part){.x = x,
                                .rows = rows,
                                .stride = (size_t)dim,
                                .column = (size_t)k * PART,
                                .n = k + 1 < parts ? PART : last,
                                .centroids = c->centroids + (size_t)k * CENTROIDS * PART,
                                .codes = c->codes + k,
                                .step = (size_t)parts,
                                .sample = sample,
                                .n_sample = n_sample,
                                .seed = how->seed,
                                .number = (uint64_t)k};
    pool_run(pool, parts, code_part, list);
    free(list);
    free(sample);
    c->m.codes = c->codes;
    c->m.pq =
        (struct fasttext_quantizer){dim, parts, PART, last, (const unsigned char *)c->centroids};
}

static int by_row(const void *a, const void *b)
{
    return ((const struct ranked *)a)->row - ((const struct ranked *)b)->row;
}

/* The rows that stay, ascending; the end of a line always does. */
static struct ranked *choose_rows(const struct fasttext_file *f, int32_t n)
{
    int64_t rows = f->input.rows;
    size_t dim = (size_t)f->input.columns;
    struct ranked *all = xmalloc((size_t)rows * sizeof *all);
    float *row = xmalloc(dim * sizeof *row);
    int32_t end = fasttext_dict_find(&f->dict, FASTTEXT_END, strlen(FASTTEXT_END),
                                     fasttext_hash(FASTTEXT_END, strlen(FASTTEXT_END)));
    for (int64_t i = 0; i < rows; i++) {
        fasttext_matrix_row(&f->input, i, row);
        all[i] = (struct ranked){i == end ? INFINITY : norm_of(row, dim), (int32_t)i};
    }
    qsort(all, (size_t)rows, sizeof *all, by_norm);
    qsort(all, (size_t)n, sizeof *all, by_row);
    free(row);
    return all;
}

/* A dictionary of the kept rows alone. */
static void prune(const struct fasttext_dict *d, const struct ranked *kept, int32_t n,
                  struct fasttext_dict *out)
{
    int32_t words = 0, *pairs = xmalloc((size_t)n * 2 * sizeof *pairs + 1);
    int64_t hashed = 0;
    fasttext_dict_start(out);
    out->args = d->args;
    out->n_tokens = d->n_tokens;
    for (; words < n && kept[words].row < d->n_words; words++) {
        const struct fasttext_entry *e = &d->entries[kept[words].row];
        (void)fasttext_dict_add(out, d->text + e->name, e->len, e->count, false);
    }
    for (int32_t i = d->n_words; i < d->n; i++)
        (void)fasttext_dict_add(out, d->text + d->entries[i].name, d->entries[i].len,
                                d->entries[i].count, true);
    for (int32_t i = words; i < n; i++, hashed++) {
        pairs[2 * hashed] = kept[i].row - d->n_words;
        pairs[2 * hashed + 1] = (int32_t)hashed;
    }
    fasttext_dict_set_prune(out, pairs, hashed);
    free(pairs);
}

static int shrink(const struct fasttext_file *f, const char *to, const struct fasttext_shrink *how,
                  struct pool *pool, struct err *err)
{
    const struct fasttext_dict *d = &f->dict;
    bool cut = how->cutoff > 0 && how->cutoff < f->input.rows;
    int32_t n = cut ? how->cutoff : (int32_t)f->input.rows;
    size_t dim = (size_t)f->input.columns;
    struct ranked *kept = cut ? choose_rows(f, n) : NULL;
    struct fasttext_dict pruned = {0};
    struct coded c;
    float *x = xmalloc((size_t)n * dim * sizeof *x);
    for (int32_t i = 0; i < n; i++)
        fasttext_matrix_row(&f->input, kept ? kept[i].row : i, x + (size_t)i * dim);
    if (kept)
        prune(d, kept, n, &pruned);
    code_rows(&c, x, n, (int32_t)dim, how, pool);
    int rc = fasttext_file_write(to, kept ? &pruned : d, &c.m, &f->output, err);
    coded_done(&c);
    fasttext_dict_done(&pruned);
    free(kept);
    free(x);
    return rc;
}

int fasttext_quantize(const char *from, const char *to, const struct fasttext_shrink *how,
                      struct pool *pool, struct err *err)
{
    struct fasttext_file f;
    if (fasttext_file_open(from, &f, err) != 0)
        return -1;
    int rc = f.input.data ? shrink(&f, to, how, pool, err)
                          : err_set(err, ERR_CONFLICT, "%s: is quantised already", from);
    fasttext_file_close(&f);
    return rc;
}
