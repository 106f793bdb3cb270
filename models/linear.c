#include "models/linear.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ops/tfidf.h"

enum { MAX_KEYS = LINEAR_MAX_NGRAM * LINEAR_MAX_TOKENS, DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

struct ngrams {
    int64_t *keys;
    float *idf;
    int64_t n;
    uint32_t *slot; /* row + 1, 0 = free; open addressing, at most half full */
    int shift;      /* 64 - log2 of the slots */
};

static size_t home(const struct ngrams *g, int64_t key)
{
    return (size_t)(((uint64_t)key * 0x9E3779B97F4A7C15u) >> g->shift); /* Fibonacci hashing */
}

static size_t after(const struct ngrams *g, size_t slot)
{
    return (slot + 1) & (((size_t)1 << (64 - g->shift)) - 1);
}

_Static_assert(LINEAR_MAX_NGRAM == TFIDF_NGRAM, "one n-gram in both headers");

/* Takes the arrays. */
static struct ngrams *make(int64_t *keys, float *idf, int64_t n)
{
    struct ngrams *g = xmalloc(sizeof *g);
    *g = (struct ngrams){.keys = keys, .idf = idf, .n = n, .shift = 63};
    while (((int64_t)1 << (64 - g->shift)) < 2 * n)
        g->shift--;
    g->slot = xcalloc((size_t)1 << (64 - g->shift), sizeof *g->slot);
    for (int64_t i = 0; i < n; i++) {
        size_t s = home(g, keys[i]);
        while (g->slot[s])
            s = after(g, s);
        g->slot[s] = (uint32_t)(i + 1);
    }
    return g;
}

/* Shell sort (Ciura's gaps): short arrays, no allocation, which qsort may need. */
static void sort_keys(int64_t *keys, int32_t n)
{
    static const int32_t gaps[] = {1750, 701, 301, 132, 57, 23, 10, 4, 1};
    for (size_t k = 0; k < sizeof gaps / sizeof *gaps; k++)
        for (int32_t i = gaps[k], j; i < n; i++) {
            int64_t key = keys[i];
            for (j = i; j >= gaps[k] && keys[j - gaps[k]] > key; j -= gaps[k])
                keys[j] = keys[j - gaps[k]];
            keys[j] = key;
        }
}

/* The title's n-grams ascending, each once, with how often it stands there. */
static int32_t distinct(const int32_t *ids, int32_t n, int64_t keys[MAX_KEYS], int32_t tf[MAX_KEYS])
{
    assert(n <= LINEAR_MAX_TOKENS);
    int32_t all = tfidf_keys(ids, n, VOCAB_UNK, keys), found = 0;
    sort_keys(keys, all);
    for (int32_t i = 0; i < all; i++) {
        if (found && keys[found - 1] == keys[i]) {
            tf[found - 1]++;
            continue;
        }
        keys[found] = keys[i];
        tf[found++] = 1;
    }
    return found;
}

/* Radix sort, least significant digit first; digits that are the same everywhere cost one count.
 * The result may lie in either array: it is returned, the other one freed. */
static int64_t *sort_all(int64_t *keys, size_t n)
{
    int64_t *other = xmalloc(n * sizeof *other);
    size_t *count = xmalloc(DIGITS * sizeof *count);
    for (int shift = 0; shift < 63; shift += DIGIT_BITS) {
        memset(count, 0, DIGITS * sizeof *count);
        for (size_t i = 0; i < n; i++)
            count[keys[i] >> shift & (DIGITS - 1)]++;
        if (n == 0 || count[keys[0] >> shift & (DIGITS - 1)] == n)
            continue;
        for (size_t d = 0, at = 0, c; d < DIGITS; d++, at += c) {
            c = count[d];
            count[d] = at;
        }
        for (size_t i = 0; i < n; i++)
            other[count[keys[i] >> shift & (DIGITS - 1)]++] = keys[i];
        int64_t *swap = keys;
        keys = other;
        other = swap;
    }
    free(count);
    free(other);
    return keys;
}

int ngrams_build(const struct batch *titles, int32_t min_df, struct ngrams **out, struct err *err)
{
    size_t chars = titles->n ? (size_t)titles->start[titles->n] : 0, n = 0, kept = 0;
    int64_t *all = xmalloc((TFIDF_NGRAM * chars + 1) * sizeof *all);
    int64_t keys[MAX_KEYS];
    int32_t tf[MAX_KEYS];
    for (int32_t i = 0; i < titles->n; i++) {
        int32_t from = titles->start[i],
                k = distinct(titles->ids + from, titles->start[i + 1] - from, keys, tf);
        memcpy(all + n, keys, (size_t)k * sizeof *keys);
        n += (size_t)k;
    }
    all = sort_all(all, n);
    float *idf = xmalloc((n + 1) * sizeof *idf);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && all[end] == all[i];)
            end++;
        if ((int64_t)(end - i) < min_df)
            continue;
        idf[kept] = (float)tfidf_idf(titles->n, (int64_t)(end - i));
        all[kept++] = all[i];
    }
    if (kept == 0 || kept >= UINT32_MAX / 2) {
        free(all);
        free(idf);
        return err_set(err, ERR_FORMAT,
                       "%zu n-grams stand in at least %d of %d titles: nothing to learn from", kept,
                       (int)min_df, (int)titles->n);
    }
    *out =
        make(xrealloc(all, kept * sizeof *all), xrealloc(idf, kept * sizeof *idf), (int64_t)kept);
    return 0;
}

int ngrams_from(const char *name, const int64_t *keys, const float *idf, int64_t n,
                struct ngrams **out, struct err *err)
{
    if (n < 1 || n >= UINT32_MAX / 2)
        return err_set(err, ERR_FORMAT, "%s: %lld n-grams", name, (long long)n);
    for (int64_t i = 0; i < n; i++) {
        if (!tfidf_key_valid(keys[i], TFIDF_MAX_ID + 1, VOCAB_UNK))
            return err_set(err, ERR_FORMAT, "%s: ngrams[%lld] = %lld is no n-gram", name,
                           (long long)i, (long long)keys[i]);
        if (i && keys[i] <= keys[i - 1])
            return err_set(err, ERR_FORMAT, "%s: ngrams[%lld] is not above the one before it", name,
                           (long long)i);
        if (!isfinite(idf[i]) || !(idf[i] > 0.0f))
            return err_set(err, ERR_NUMERIC, "%s: idf[%lld] = %g is not a positive number", name,
                           (long long)i, (double)idf[i]);
    }
    int64_t *keys_copy = xmalloc((size_t)n * sizeof *keys);
    float *idf_copy = xmalloc((size_t)n * sizeof *idf);
    memcpy(keys_copy, keys, (size_t)n * sizeof *keys);
    memcpy(idf_copy, idf, (size_t)n * sizeof *idf);
    *out = make(keys_copy, idf_copy, n);
    return 0;
}

void ngrams_close(struct ngrams *g)
{
    if (!g)
        return;
    free(g->keys);
    free(g->idf);
    free(g->slot);
    free(g);
}

int64_t ngrams_count(const struct ngrams *g)
{
    return g->n;
}

const int64_t *ngrams_keys(const struct ngrams *g)
{
    return g->keys;
}

const float *ngrams_idf(const struct ngrams *g)
{
    return g->idf;
}

int64_t ngrams_find(const struct ngrams *g, int64_t key)
{
    for (size_t s = home(g, key); g->slot[s]; s = after(g, s))
        if (g->keys[g->slot[s] - 1] == key)
            return (int64_t)g->slot[s] - 1;
    return -1;
}

int32_t linear_features(const struct ngrams *g, const int32_t *ids, int32_t n, int32_t *index,
                        float *value)
{
    int64_t keys[MAX_KEYS];
    int32_t tf[MAX_KEYS], found = 0;
    float idf[MAX_KEYS];
    int32_t all = distinct(ids, n, keys, tf);
    for (int32_t i = 0; i < all; i++) { /* keys ascend, so rows do */
        int64_t row = ngrams_find(g, keys[i]);
        if (row < 0)
            continue;
        index[found] = (int32_t)row;
        idf[found] = g->idf[row];
        tf[found++] = tf[i];
    }
    tfidf_weigh(value, tf, idf, found);
    return found;
}

void linear_scores(const struct linear_weights *lw, const int32_t *index, const float *value,
                   int32_t n, double *scores)
{
    size_t columns = (size_t)ngrams_count(lw->ngrams);
    for (int32_t k = 0; k < lw->n_labels; k++) {
        double s = (double)lw->bias[k];
        for (int32_t i = 0; i < n; i++)
            s += (double)lw->weight[(size_t)k * columns + (size_t)index[i]] * (double)value[i];
        scores[k] = s;
    }
}
