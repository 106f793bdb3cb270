#include "ops/int8.h"

#include <math.h>

float int8_quantize(int8_t *q, const float *x, size_t n, size_t stride)
{
    float most = 0.0f;
    for (size_t i = 0; i < n; i++)
        most = fabsf(x[i * stride]) > most ? fabsf(x[i * stride]) : most;
    float per = most > 0.0f ? 127.0f / most : 0.0f;
    if (!isfinite(per)) /* the largest is a subnormal: nothing is left of it */
        per = most = 0.0f;
    for (size_t i = 0; i < n; i++)
        q[i * stride] = (int8_t)lrintf(x[i * stride] * per);
    return most / 127.0f;
}
