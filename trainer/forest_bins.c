#include "trainer/forest_bins.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

enum { EDGES = FOREST_BINS - 2 };

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Each feature's values one behind the other; first [features + 1] says where they begin. */
static float *by_feature(const struct sparse *x, int64_t *first)
{
    int64_t n = 0;
    for (int64_t f = 0; f <= x->columns; f++)
        first[f] = 0;
    for (int64_t i = 0; i < x->rows; i++)
        for (int32_t k = 0; k < x->count[i]; k++)
            first[x->index[x->start[i] + k] + 1]++;
    for (int64_t f = 0; f < x->columns; f++)
        first[f + 1] += first[f];
    n = first[x->columns];
    float *values = xmalloc((size_t)n * sizeof *values + 1);
    for (int64_t i = 0; i < x->rows; i++)
        for (int32_t k = 0; k < x->count[i]; k++)
            values[first[x->index[x->start[i] + k]]++] = x->value[x->start[i] + k];
    for (int64_t f = x->columns; f > 0; f--)
        first[f] = first[f - 1];
    first[0] = 0;
    return values;
}

static uint32_t bin_of(const float *edge, float value)
{
    uint32_t bin = 1;
    while (bin <= EDGES && value > edge[bin - 1])
        bin++;
    return bin;
}

/* Of n ascending values: a bin each where there are no more than bins, else quantiles. */
static void find_edges(const float *values, int64_t n, float *edge)
{
    int64_t different = 0;
    for (int64_t i = 0; i < n && different <= EDGES + 1; i++)
        if (i == 0 || values[i] != values[i - 1]) {
            if (different < EDGES)
                edge[different] = values[i];
            different++;
        }
    for (int64_t e = different; e < EDGES; e++)
        edge[e] = FLT_MAX;
    for (int64_t e = 0; e < EDGES && different > EDGES + 1; e++)
        edge[e] = values[((e + 1) * n - 1) / (EDGES + 1)];
}

void forest_bins_make(struct forest_bins *b, const struct sparse *x)
{
    int64_t *first = xmalloc(((size_t)x->columns + 1) * sizeof *first);
    float *values = by_feature(x, first);
    *b = (struct forest_bins){.rows = (int32_t)x->rows, .features = (int32_t)x->columns};
    b->edge = xmalloc((size_t)x->columns * EDGES * sizeof *b->edge + 1);
    for (int64_t f = 0; f < x->columns; f++) {
        int64_t n = first[f + 1] - first[f];
        qsort(values + first[f], (size_t)n, sizeof *values, by_value);
        find_edges(values + first[f], n, b->edge + f * EDGES);
    }
    b->start = xmalloc(((size_t)x->rows + 1) * sizeof *b->start);
    b->cell = xmalloc((size_t)first[x->columns] * sizeof *b->cell + 1);
    b->start[0] = 0;
    for (int64_t i = 0; i < x->rows; i++) {
        b->start[i + 1] = b->start[i] + x->count[i];
        for (int32_t k = 0; k < x->count[i]; k++) {
            int32_t f = x->index[x->start[i] + k];
            b->cell[b->start[i] + k] =
                (uint32_t)f * FOREST_BINS +
                bin_of(b->edge + (size_t)f * EDGES, x->value[x->start[i] + k]);
        }
    }
    free(values);
    free(first);
}

void forest_bins_done(struct forest_bins *b)
{
    free(b->start);
    free(b->cell);
    free(b->edge);
    *b = (struct forest_bins){0};
}

uint32_t forest_bins_of(const struct forest_bins *b, int32_t row, int32_t feature)
{
    int64_t low = b->start[row], high = b->start[row + 1];
    uint32_t least = (uint32_t)feature * FOREST_BINS;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (b->cell[middle] < least)
            low = middle + 1;
        else
            high = middle;
    }
    bool there = low < b->start[row + 1] && b->cell[low] / FOREST_BINS == (uint32_t)feature;
    return there ? b->cell[low] % FOREST_BINS : 0;
}

float forest_bins_edge(const struct forest_bins *b, int32_t feature, int32_t bin)
{
    return bin == 0 ? 0.0f : b->edge[(size_t)feature * EDGES + (size_t)bin - 1];
}
