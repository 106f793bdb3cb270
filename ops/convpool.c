#include "ops/convpool.h"

#include <assert.h>
#include <string.h>

#include "ops/rows.h"

void convpool_forward(const struct convpool *s, const float *p, const int32_t *row, int t, float *y,
                      int32_t *arg)
{
    assert(t >= 1 && t <= CONVPOOL_MAX_TOKENS);
    rows()->convpool_f32(s, p, row, t, y, arg);
}

void convpool_forward_bf16(const struct convpool *s, const uint16_t *p, const int32_t *row, int t,
                           float *y)
{
    assert(t >= 1 && t <= CONVPOOL_MAX_TOKENS);
    rows()->convpool_bf16(s, p, row, t, y, NULL);
}

void convpool_backward(const struct convpool *s, int wi, int f0, int n, const int32_t *row,
                       const int32_t *start, int n_titles, const float *dy, const int32_t *arg,
                       float *dp, int n_rows)
{
    size_t stride = (size_t)s->stride, filters = (size_t)s->n_filters, column = (size_t)f0;
    for (int i = 0; i < wi; i++)
        column += (size_t)s->widths[i] * filters;
    for (int r = 0; r < n_rows; r++)
        for (int j = 0; j < s->widths[wi]; j++)
            memset(dp + (size_t)r * stride + column + (size_t)j * filters, 0,
                   (size_t)n * sizeof *dp);
    for (int b = 0; b < n_titles; b++) {
        size_t at = ((size_t)b * (size_t)s->n_widths + (size_t)wi) * filters + (size_t)f0;
        const int32_t *title = row + start[b];
        int length = start[b + 1] - start[b];
        for (int f = 0; f < n; f++) {
            float g = dy[at + (size_t)f];
            int t = arg[at + (size_t)f];
            if (g == 0.0f) /* half of them: dropout and ReLU */
                continue;
            for (int j = 0; j < s->widths[wi] && t + j < length; j++)
                dp[(size_t)title[t + j] * stride + column + (size_t)j * filters + (size_t)f] += g;
        }
    }
}
