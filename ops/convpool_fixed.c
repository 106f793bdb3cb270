#include "ops/convpool_fixed.h"

#include <assert.h>
#include <math.h>

#include "ops/rows.h"

#define NOTHING 1e-30f /* its reciprocal is still a float */

int convpool_padded(const struct convpool *s)
{
    return (s->n_filters + CONVPOOL_TILE - 1) / CONVPOOL_TILE * CONVPOOL_TILE;
}

static size_t cell_bytes(enum convpool_cell cell)
{
    return cell == CONVPOOL_INT16 ? sizeof(int16_t) : sizeof(int8_t);
}

size_t convpool_fixed_bytes(const struct convpool *s, enum convpool_cell cell, int n_rows)
{
    size_t taps = 0;
    for (int i = 0; i < s->n_widths; i++)
        taps += (size_t)s->widths[i];
    return (size_t)n_rows * taps * (size_t)convpool_padded(s) * cell_bytes(cell);
}

void convpool_most(const struct convpool *s, const float *p, int n, float *most)
{
    for (int r = 0; r < n; r++, p += s->stride)
        for (int c = 0; c < s->stride; c++) {
            float x = fabsf(p[c]);
            most[c] = x > most[c] ? x : most[c];
        }
}

void convpool_scales(const struct convpool *s, enum convpool_cell cell, const float *most,
                     float *scale)
{
    int filters = s->n_filters;
    for (int i = 0; i < s->n_widths; i++) {
        int w = s->widths[i];
        for (int f = 0; f < filters; f++) {
            float sum = 0.0f, max = 0.0f;
            for (int j = 0; j < w; j++) {
                float x = most[j * filters + f];
                sum += x;
                max = x > max ? x : max;
            }
            float step = cell == CONVPOOL_INT16 ? sum / (float)(INT16_MAX - w) : max / INT8_MAX;
            scale[f] = step > NOTHING ? step : 0.0f;
        }
        most += w * filters;
        scale += filters;
    }
}

void convpool_fix(const struct convpool *s, enum convpool_cell cell, const float *scale,
                  const float *p, int first, int n, int n_rows, void *table)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to nearest */
    int filters = s->n_filters;
    size_t tiles = (size_t)convpool_padded(s) / CONVPOOL_TILE, at = 0;
    for (int i = 0; i < s->n_widths; i++) {
        size_t w = (size_t)s->widths[i], tile = (size_t)n_rows * w * CONVPOOL_TILE;
        for (int f = 0; f < filters; f++) {
            float inverse = scale[f] > 0.0f ? 1.0f / scale[f] : 0.0f;
            size_t column = at + (size_t)f / CONVPOOL_TILE * tile + (size_t)f % CONVPOOL_TILE;
            for (size_t r = 0; r < (size_t)n; r++)
                for (size_t j = 0; j < w; j++) {
                    float x = p[r * (size_t)s->stride + j * (size_t)filters + (size_t)f] * inverse;
                    int q = (int)((x + magic) - magic);
                    size_t to = column + (((size_t)first + r) * w + j) * CONVPOOL_TILE;
                    if (cell == CONVPOOL_INT16)
                        ((int16_t *)table)[to] = (int16_t)q;
                    else
                        ((int8_t *)table)[to] = (int8_t)q;
                }
        }
        at += tiles * tile;
        p += w * (size_t)filters;
        scale += filters;
    }
}

void convpool_fixed(const struct convpool *s, enum convpool_cell cell, const void *table,
                    int n_rows, const int32_t *row, const int32_t *start, int n, int16_t *y)
{
    size_t taps = 0;
    int tiles = convpool_padded(s) / CONVPOOL_TILE;
    size_t features = (size_t)s->n_widths * (size_t)convpool_padded(s);
    for (int i = 0; i < s->n_widths; i++) {
        int w = s->widths[i];
        for (int k = 0; k < tiles; k++) {
            size_t at =
                (taps * (size_t)tiles + (size_t)k * (size_t)w) * (size_t)n_rows * CONVPOOL_TILE;
            int16_t *to = y + ((size_t)i * (size_t)tiles + (size_t)k) * CONVPOOL_TILE;
            if (cell == CONVPOOL_INT16)
                rows()->convpool_int16((const int16_t *)table + at, w, row, start, n, to, features);
            else
                rows()->convpool_int8((const int8_t *)table + at, w, row, start, n, to, features);
        }
        taps += (size_t)w;
    }
}
