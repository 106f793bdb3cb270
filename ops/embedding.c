#include "ops/embedding.h"

#include <stddef.h>
#include <string.h>

void embedding_forward(float *x, const float *e, const int32_t *id, int n, int c)
{
    for (int i = 0; i < n; i++)
        memcpy(x + (size_t)i * (size_t)c, e + (size_t)id[i] * (size_t)c, (size_t)c * sizeof *x);
}

void embedding_backward(float *de, const float *dx, const int32_t *id, int n, int c, int32_t skip)
{
    for (int i = 0; i < n; i++) {
        if (id[i] == skip)
            continue;
        float *to = de + (size_t)id[i] * (size_t)c;
        const float *from = dx + (size_t)i * (size_t)c;
        for (int k = 0; k < c; k++)
            to[k] += from[k];
    }
}
