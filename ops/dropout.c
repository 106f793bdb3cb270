#include "ops/dropout.h"

#include <string.h>

#include "ops/rows.h"

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
    rows()->drop(y, x, n, below, scale, seed, STREAM | step, row);
}
