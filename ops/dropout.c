#include "ops/dropout.h"

#include <string.h>

#include "base/rng.h"

/* Keeps the masks apart from other uses of the same seed (shuffles, initial weights), which count
 * their streams from zero. */
#define STREAM ((uint64_t)0xD20C << 48)

void dropout_row(float *y, const float *x, int n, float p, uint64_t seed, uint64_t step,
                 uint32_t row)
{
    if (p <= 0.0f) {
        memmove(y, x, (size_t)n * sizeof *y);
        return;
    }
    const uint32_t below =
        (uint32_t)((double)p * 4294967296.0); /* dropped when the 32 bits are below it */
    const float scale = 1.0f / (1.0f - p);
    for (int i = 0; i < n; i += 4) {
        uint32_t bits[4];
        rng_block(seed, STREAM | step, (uint64_t)row << 32 | (uint32_t)i, bits);
        for (int k = 0; k < 4 && i + k < n; k++)
            y[i + k] = bits[k] < below ? 0.0f : scale * x[i + k];
    }
}
