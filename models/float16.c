#include "models/safetensors.h"

#include <string.h>

#include "ops/f16.h"

uint16_t f16_from_f32(float x)
{
    return f16_narrow(x);
}

float f16_to_f32(uint16_t h)
{
    return f16_widen(h);
}

uint16_t bf16_from_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    /* A NaN stays one, even when the upper half of its payload is empty. */
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    /* Ties go to the even one; past the largest comes infinity. */
    bits += 0x7FFFu + (bits >> 16 & 1u);
    return (uint16_t)(bits >> 16);
}

float bf16_to_f32(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
