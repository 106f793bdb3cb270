/* IEEE 754 binary16 to single, in plain C: for processors without F16C and for the ends of rows.
 * Exact for every value, subnormals, infinities and NaN included. */
#ifndef OPS_F16_H
#define OPS_F16_H

#include <stdint.h>
#include <string.h>

static inline float f16_widen(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, mantissa = h & 0x3FFu,
             exponent = (h >> 10) & 0x1Fu;
    uint32_t bits = sign | (exponent + 112) << 23 | mantissa << 13; /* 112 = 127 - 15 */
    if (exponent == 31)
        bits = sign | 0x7F800000u | mantissa << 13;
    float f;
    if (exponent == 0) { /* mantissa * 2^-24, exact */
        f = (float)mantissa * 0x1p-24f;
        return sign ? -f : f;
    }
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Rounds to nearest, ties to even; what is too large becomes infinity. */
static inline uint16_t f16_narrow(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u;
    bits &= 0x7FFFFFFFu;
    if (bits > 0x7F800000u)
        return (uint16_t)(sign | 0x7E00u | (bits >> 13 & 0x3FFu));
    if (bits >= 0x477FF000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7C00u);
    if (bits < 0x38800000u) { /* below 2^-14: adding 0.5 aligns and rounds the mantissa */
        float magnitude;
        memcpy(&magnitude, &bits, sizeof magnitude);
        magnitude += 0.5f;
        memcpy(&bits, &magnitude, sizeof bits);
        return (uint16_t)(sign | (bits - 0x3F000000u));
    }
    bits += 0xFFFu + (bits >> 13 & 1u);
    return (uint16_t)(sign | (bits - 0x38000000u) >> 13);
}

#endif
