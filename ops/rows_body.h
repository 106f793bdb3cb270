/* The row kernels' one source.  Included by ops/rows_base.c, rows_avx2.c and rows_avx512.c, which
 * are compiled with different instruction sets and define ROWS_TABLE, the name of the table to
 * define, and ROWS_ISA. -ffp-contract=off holds here as everywhere: a product and a sum round twice
 * in every table. */
#include "ops/rows.h"

#include <math.h>
#include <string.h>

#include "ops/adamw.h"
#include "ops/convpool_fixed.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VL 16
#elif defined(__AVX2__)
#define VL 8
#else
#define VL 4
#endif
#define BLOCK 4 /* vectors of filters that stay in registers together */

typedef float vf __attribute__((vector_size(VL * 4)));
typedef int32_t vi __attribute__((vector_size(VL * 4)));

static inline vf load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* bfloat16: a float's upper half. */
typedef uint16_t vh __attribute__((vector_size(VL * 2)));
typedef uint32_t vu __attribute__((vector_size(VL * 4)));

static inline vf load_bf16(const uint16_t *p)
{
    vh v;
    memcpy(&v, p, sizeof v);
    return (vf)(__builtin_convertvector(v, vu) << 16);
}

static inline float float_of_bf16(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

static inline vf splat(float x)
{
    return x - (vf){0};
}

static inline vf pick(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

static inline vf max2(vf a, vf b)
{
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (vf)_mm_max_ps((__m128)a, (__m128)b);
#else
    return pick(a > b, a, b);
#endif
}

/* int16 lanes, for tables in fixed point. */
#define SL (2 * VL)
typedef int16_t vs __attribute__((vector_size(SL * 2)));

static inline vs max2s(vs a, vs b)
{
#if defined(__AVX512BW__)
    return (vs)_mm512_max_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (vs)_mm256_max_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (vs)_mm_max_epi16((__m128i)a, (__m128i)b);
#else
    vs mask = a > b;
    return (a & mask) | (b & ~mask);
#endif
}

static inline vs load_int16(const int16_t *p)
{
    vs v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline vs load_int8(const int8_t *p)
{
#if defined(__AVX512BW__)
    return (vs)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p));
#elif defined(__AVX2__)
    return (vs)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));
#else
    vs v;
    for (int i = 0; i < SL; i++)
        v[i] = p[i];
    return v;
#endif
}

static inline float sum_of(vf v)
{
    float s = 0.0f;
    for (int i = 0; i < VL; i++)
        s += v[i];
    return s;
}

static float rows_max(const float *x, int n)
{
    float best = x[0];
    int i = 0;
    if (n >= VL) {
        vf b = load(x);
        for (i = VL; i + VL <= n; i += VL)
            b = max2(b, load(x + i));
        for (int k = 0; k < VL; k++)
            best = b[k] > best ? b[k] : best;
    }
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    return best;
}

/* e^x = 2^k e^r, |r| <= ln 2 / 2, e^r by a polynomial of degree 6 (Cephes, expf.c): within 2 ulp.
 * x is held within the range whose result is a normal float, so e^(anything below -87.3) is some
 * 1e-38 rather than 0. */
static inline vf exp_of(vf x)
{
    const vf low = splat(-87.33f), high = splat(88.3f), magic = splat(12582912.0f); /* 1.5 * 2^23 */
    x = pick(x < low, low, x);
    x = pick(x > high, high, x);
    vf k = (x * splat(1.44269504088896341f) + magic) - magic; /* to nearest */
    vf r = (x - k * splat(0.693359375f)) - k * splat(-2.12194440e-4f);
    vf y = splat(1.9875691500e-4f);
    y = y * r + splat(1.3981999507e-3f);
    y = y * r + splat(8.3334519073e-3f);
    y = y * r + splat(4.1665795894e-2f);
    y = y * r + splat(1.6666665459e-1f);
    y = y * r + splat(5.0000001201e-1f);
    y = (y * r) * r + r + splat(1.0f);
    vi e = (__builtin_convertvector(k, vi) + 127) << 23;
    return y * (vf)e;
}

static float rows_exp_sum(float *y, const float *x, float shift, int n)
{
    vf sum = splat(0.0f);
    int i = 0;
    for (; i + VL <= n; i += VL) {
        vf e = exp_of(load(x + i) - splat(shift));
        store(y + i, e);
        sum += e;
    }
    float total = sum_of(sum);
    if (i < n) {
        vf last = splat(0.0f);
        memcpy(&last, x + i, (size_t)(n - i) * sizeof *x);
        last = exp_of(last - splat(shift));
        memcpy(y + i, &last, (size_t)(n - i) * sizeof *y);
        for (int k = 0; k < n - i; k++)
            total += last[k];
    }
    return total;
}

static void rows_scale(float *y, const float *x, float a, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = a * x[i];
}

static void rows_affine(float *y, const float *x, const float *w, const float *bias, int c, int o)
{
    for (int k = 0; k < o; k++, w += c) {
        vf s0 = splat(0.0f), s1 = s0, s2 = s0, s3 = s0;
        int i = 0;
        for (; i + 4 * VL <= c; i += 4 * VL) {
            s0 += load(x + i) * load(w + i);
            s1 += load(x + i + VL) * load(w + i + VL);
            s2 += load(x + i + 2 * VL) * load(w + i + 2 * VL);
            s3 += load(x + i + 3 * VL) * load(w + i + 3 * VL);
        }
        for (; i + VL <= c; i += VL)
            s0 += load(x + i) * load(w + i);
        float s = sum_of((s0 + s1) + (s2 + s3));
        for (; i < c; i++)
            s += x[i] * w[i];
        y[k] = s + (bias ? bias[k] : 0.0f);
    }
}

static void rows_bias_relu(float *y, const float *x, const float *bias, int n)
{
    for (int i = 0; i < n; i++) {
        float s = x[i] + bias[i];
        y[i] = s > 0.0f ? s : 0.0f;
    }
}

static void rows_unfix_relu(float *y, const int16_t *q, const float *scale, const float *bias,
                            int n)
{
    for (int i = 0; i < n; i++) {
        float s = (float)q[i] * scale[i] + bias[i];
        y[i] = s > 0.0f ? s : 0.0f;
    }
}

static void rows_adamw(const struct adamw *a, float *restrict w, const float *restrict g,
                       float *restrict m, float *restrict v, size_t n)
{
    const float b1 = a->beta1, b2 = a->beta2, c1 = a->lr * a->correct1, c2 = a->correct2;
    const float keep = 1.0f - a->lr * a->weight_decay, eps = a->eps, scale = a->grad_scale;
    for (size_t i = 0; i < n; i++) {
        float x = scale * g[i];
        m[i] = b1 * m[i] + (1.0f - b1) * x;
        v[i] = b2 * v[i] + (1.0f - b2) * (x * x);
        w[i] = keep * w[i] - c1 * m[i] / (sqrtf(v[i] * c2) + eps);
    }
}

#define CELL float
#define LOAD load
#define VALUE(p) (*(p))
#define NAME(name) name##_f32
#include "ops/rows_convpool.h"
#undef CELL
#undef LOAD
#undef VALUE
#undef NAME
#define CELL uint16_t
#define LOAD load_bf16
#define VALUE(p) float_of_bf16(*(p))
#define NAME(name) name##_bf16
#include "ops/rows_convpool.h"
#undef CELL
#undef LOAD
#undef VALUE
#undef NAME
#include "ops/rows_transformer.h"

#include "ops/rows_train.h"

/* Convolution and pooling in fixed point, for both cells from one text. */
#define CELL int16_t
#define LOAD load_int16
#define NAME(x) x##_int16
#include "ops/rows_fixed.h"
#undef CELL
#undef LOAD
#undef NAME
#define CELL int8_t
#define LOAD load_int8
#define NAME(x) x##_int8
#include "ops/rows_fixed.h"

extern const struct rows ROWS_TABLE;
const struct rows ROWS_TABLE = {
    .isa = ROWS_ISA,
    .max = rows_max,
    .exp_sum = rows_exp_sum,
    .scale = rows_scale,
    .affine = rows_affine,
    .bias_relu = rows_bias_relu,
    .unfix_relu = rows_unfix_relu,
    .adamw = rows_adamw,
    .convpool_f32 = rows_convpool_f32,
    .convpool_bf16 = rows_convpool_bf16,
    .convpool_int16 = rows_convpool_int16,
    .convpool_int8 = rows_convpool_int8,
    .add = rows_add,
    .mul = rows_mul,
    .norm = rows_norm,
    .rms_norm = rows_rms_norm,
    .gelu = rows_gelu,
    .gelu_tanh = rows_gelu_tanh,
    .relu = rows_relu,
    .tanh = rows_tanh,
    .to_bf16 = rows_to_bf16,
    .quantize = rows_quantize,
    .dequantize = rows_dequantize,
    .widen_int8 = rows_widen_int8,
    .product = rows_product,
    .softmax_padded = rows_softmax_padded,
    .transpose = rows_transpose,
    .add_scaled = rows_add_scaled,
    .dot = rows_dot,
    .norm_back = rows_norm_back,
    .rms_norm_back = rows_rms_norm_back,
    .norm_columns = rows_norm_columns,
    .add_columns = rows_add_columns,
    .softmax_back = rows_softmax_back,
    .gelu_back = rows_gelu_back,
    .gelu_tanh_back = rows_gelu_tanh_back,
    .relu_back = rows_relu_back,
    .tanh_back = rows_tanh_back,
    .drop = rows_drop,
};
