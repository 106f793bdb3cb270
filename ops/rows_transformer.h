/* Row kernels of transformers: norms, activations, quantisation and the small products of
 * attention.  Part of ops/rows_body.h.  Unlike the kernels above, these round a product and its sum
 * once where the processor can (AVX2, AVX-512): their results differ between tables in the last
 * bits. */

static inline vf fma_of(vf a, vf b, vf c)
{
#if defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

static inline vf min2(vf a, vf b)
{
    return -max2(-a, -b);
}

/* The first n < VL floats, zeros behind them. */
static inline vf load_part(const float *p, int n)
{
    vf v = splat(0.0f);
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}

static inline void store_part(float *p, vf v, int n)
{
    memcpy(p, &v, (size_t)n * sizeof *p);
}

static void rows_add(float *y, const float *x, const float *z, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i] + z[i];
}

static void rows_mul(float *y, const float *x, const float *z, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = x[i] * z[i];
}

/* Two passes over the row: the variance of what the mean was taken from, not a difference of
 * squares. */
static void rows_norm(float *y, const float *x, const float *gamma, const float *beta, float eps,
                      int n)
{
    vf s0 = splat(0.0f), s1 = s0;
    int i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        s0 += load(x + i);
        s1 += load(x + i + VL);
    }
    float sum = sum_of(s0 + s1);
    for (int k = i; k < n; k++)
        sum += x[k];
    const float mean = sum / (float)n;
    s0 = s1 = splat(0.0f);
    for (i = 0; i + 2 * VL <= n; i += 2 * VL) {
        vf a = load(x + i) - splat(mean), b = load(x + i + VL) - splat(mean);
        s0 = fma_of(a, a, s0);
        s1 = fma_of(b, b, s1);
    }
    float squares = sum_of(s0 + s1);
    for (int k = i; k < n; k++)
        squares += (x[k] - mean) * (x[k] - mean);
    const float scale = 1.0f / sqrtf(squares / (float)n + eps);
    for (i = 0; i + VL <= n; i += VL) {
        vf a = (load(x + i) - splat(mean)) * splat(scale);
        store(y + i, fma_of(a, load(gamma + i), load(beta + i)));
    }
    for (; i < n; i++)
        y[i] = (x[i] - mean) * scale * gamma[i] + beta[i];
}

static void rows_rms_norm(float *y, const float *x, const float *gamma, float eps, int n)
{
    vf s = splat(0.0f);
    int i = 0;
    for (; i + VL <= n; i += VL)
        s = fma_of(load(x + i), load(x + i), s);
    float squares = sum_of(s);
    for (; i < n; i++)
        squares += x[i] * x[i];
    const float scale = 1.0f / sqrtf(squares / (float)n + eps);
    for (i = 0; i < n; i++)
        y[i] = x[i] * scale * gamma[i];
}

/* Phi(x) = 1/2 + x g(x^2), g by a polynomial of degree 13 over |x| <= 5.2, fitted to the least
 * largest error of the product: gelu(x) is within 3e-7 max(1, |x|) of x Phi(x).  Beyond 5.2, Phi is
 * 0 or 1 to seven digits. */
static inline vf gelu_of(vf x)
{
    static const float c[] = {0.135949981f,   -0.0677436182f,  0.0500256151f, -0.0399319858f,
                              0.031973917f,   -0.0246988418f,  0.0180387694f, -0.0126196509f,
                              0.00836510448f, -0.00454233328f, 0.002005171f,  -0.00146875316f,
                              0.00118868946f, -0.000388242836f};
    vf z = min2(max2(x, splat(-5.2f)), splat(5.2f));
    vf v = fma_of(z * z, splat((float)(2.0 / (5.2 * 5.2))), splat(-1.0f)), g = splat(c[13]);
    for (int k = 12; k >= 0; k--)
        g = fma_of(g, v, splat(c[k]));
    return x * fma_of(z, g, splat(0.5f));
}

static inline vf tanh_of(vf x)
{
    return splat(1.0f) - splat(2.0f) / (exp_of(x + x) + splat(1.0f));
}

/* x / (1 + e^-2y) is x (1 + tanh y) / 2 without its cancellation. */
static inline vf gelu_tanh_of(vf x)
{
    vf y = splat(0.7978845608028654f) * fma_of(splat(0.044715f) * x * x, x, x);
    return x / (splat(1.0f) + exp_of(splat(-2.0f) * y));
}

static inline vf relu_of(vf x)
{
    return max2(x, splat(0.0f));
}

#define ROWS_MAP(name)                                                                             \
    static void rows_##name(float *y, const float *x, int n)                                       \
    {                                                                                              \
        int i = 0;                                                                                 \
        for (; i + VL <= n; i += VL)                                                               \
            store(y + i, name##_of(load(x + i)));                                                  \
        if (i < n)                                                                                 \
            store_part(y + i, name##_of(load_part(x + i, n - i)), n - i);                          \
    }
ROWS_MAP(gelu)
ROWS_MAP(gelu_tanh)
ROWS_MAP(relu)
ROWS_MAP(tanh)
#undef ROWS_MAP

static void rows_to_bf16(uint16_t *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        /* To nearest, ties to even; a NaN stays one. */
        uint32_t up = bits + (0x7FFFu + (bits >> 16 & 1u));
        y[i] = (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? bits >> 16 | 0x40u : up >> 16);
    }
}

static void rows_quantize(uint8_t *q, const float *x, int levels, float *scale, int32_t *zero,
                          int n)
{
    vf low = splat(0.0f), high = low; /* so that 0 is a level of its own */
    int i = 0;
    for (; i + VL <= n; i += VL) {
        low = min2(low, load(x + i));
        high = max2(high, load(x + i));
    }
    float lo = 0.0f, hi = 0.0f;
    for (int k = 0; k < VL; k++) {
        lo = low[k] < lo ? low[k] : lo;
        hi = high[k] > hi ? high[k] : hi;
    }
    for (; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    const float step = (hi - lo) / (float)levels, per = step > 0.0f ? 1.0f / step : 0.0f;
    /* Rounds by adding 1.5 * 2^23, then takes the low byte of the sum's bits. */
    const float magic = 12582912.0f;
    const int32_t z = (int32_t)(-lo * per + 0.5f);
    const float shift = magic + (float)z;
    for (i = 0; i < n; i++) {
        float r = x[i] * per + shift;
        int32_t bits;
        memcpy(&bits, &r, sizeof bits);
        bits -= 0x4B400000;
        bits = bits < 0 ? 0 : bits;
        q[i] = (uint8_t)(bits > levels ? levels : bits);
    }
    *scale = step;
    *zero = z;
}

static void rows_dequantize(float *y, const int32_t *sum, float scale, int32_t zero,
                            const float *w_scale, const int32_t *w_sum, const float *bias, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = (float)(sum[i] - zero * w_sum[i]) * (scale * w_scale[i]) + bias[i];
}

static inline float largest_of(vf v)
{
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)v);
#else
    float best = v[0];
    for (int i = 1; i < VL; i++)
        best = v[i] > best ? v[i] : best;
    return best;
#endif
}

static inline float total_of(vf v)
{
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps((__m512)v);
#else
    return sum_of(v);
#endif
}

/* Whole vectors: lanes beyond n take no part and become 0. */
static void rows_softmax_padded(float *s, float scale, int n)
{
    vi lane = {0};
    for (int k = 0; k < VL; k++)
        lane[k] = k;
    int whole = n / VL * VL;
    const vi part = lane < n - whole;
    vf most = splat(-INFINITY);
    for (int i = 0; i < whole; i += VL)
        most = max2(most, load(s + i));
    if (whole < n)
        most = max2(most, pick(part, load(s + whole), splat(-INFINITY)));
    const vf shift = splat(scale * largest_of(most));
    vf sum = splat(0.0f);
    for (int i = 0; i < whole; i += VL) {
        vf e = exp_of(load(s + i) * splat(scale) - shift);
        store(s + i, e);
        sum += e;
    }
    if (whole < n) {
        vf e = pick(part, exp_of(load(s + whole) * splat(scale) - shift), splat(0.0f));
        store(s + whole, e);
        sum += e;
    }
    const vf per = splat(1.0f / total_of(sum));
    for (int i = 0; i < n; i += VL)
        store(s + i, load(s + i) * per);
}

/* Four by four in registers: a row of the result gets four neighbours at a time. */
typedef float v4f __attribute__((vector_size(16)));
static void rows_transpose(float *y, int ldy, const float *x, int ldx, int m, int n)
{
    int i = 0;
    for (; i + 4 <= m; i += 4) {
        const float *from = x + (size_t)i * (size_t)ldx;
        int j = 0;
        for (; j + 4 <= n; j += 4) {
            v4f r[4];
            for (int k = 0; k < 4; k++)
                memcpy(&r[k], from + (size_t)k * (size_t)ldx + j, sizeof r[k]);
            v4f a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5),
                b = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7),
                c = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5),
                d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
            const v4f out[4] = {__builtin_shufflevector(a, c, 0, 1, 4, 5),
                                __builtin_shufflevector(a, c, 2, 3, 6, 7),
                                __builtin_shufflevector(b, d, 0, 1, 4, 5),
                                __builtin_shufflevector(b, d, 2, 3, 6, 7)};
            for (int k = 0; k < 4; k++)
                memcpy(y + (size_t)(j + k) * (size_t)ldy + i, &out[k], sizeof out[k]);
        }
        for (; j < n; j++)
            for (int k = 0; k < 4; k++)
                y[(size_t)j * (size_t)ldy + (size_t)(i + k)] =
                    from[(size_t)k * (size_t)ldx + (size_t)j];
    }
    for (; i < m; i++)
        for (int j = 0; j < n; j++)
            y[(size_t)j * (size_t)ldy + (size_t)i] = x[(size_t)i * (size_t)ldx + (size_t)j];
}

static void rows_widen_int8(float *y, const int8_t *q, float scale, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = scale * (float)q[i];
}

/* C[R rows][W vectors] of A[R][k] B[k][W vectors]; R and W are constants where it is inlined. */
static inline __attribute__((always_inline)) void product_tile(float *c, int ldc, const float *a,
                                                               int lda, const float *b, int ldb,
                                                               int k, int R, int W)
{
    vf s[6][4];
    for (int r = 0; r < R; r++)
        for (int w = 0; w < W; w++)
            s[r][w] = splat(0.0f);
    for (int p = 0; p < k; p++, b += ldb)
        for (int r = 0; r < R; r++) {
            vf x = splat(a[(size_t)r * (size_t)lda + (size_t)p]);
            for (int w = 0; w < W; w++)
                s[r][w] = fma_of(x, load(b + w * VL), s[r][w]);
        }
    for (int r = 0; r < R; r++)
        for (int w = 0; w < W; w++)
            store(c + (size_t)r * (size_t)ldc + w * VL, s[r][w]);
}

/* W vectors of every row of C. */
static inline __attribute__((always_inline)) void product_panel(float *c, int ldc, const float *a,
                                                                int lda, const float *b, int ldb,
                                                                int m, int k, int R, int W)
{
    int i = 0;
    for (; i + R <= m; i += R)
        product_tile(c + (size_t)i * (size_t)ldc, ldc, a + (size_t)i * (size_t)lda, lda, b, ldb, k,
                     R, W);
    for (; i < m; i++)
        product_tile(c + (size_t)i * (size_t)ldc, ldc, a + (size_t)i * (size_t)lda, lda, b, ldb, k,
                     1, W);
}

static void rows_product(float *c, int ldc, const float *a, int lda, const float *b, int ldb, int m,
                         int n, int k)
{
    int j = 0;
    for (; j + 4 * VL <= n; j += 4 * VL)
        product_panel(c + j, ldc, a, lda, b + j, ldb, m, k, VL == 16 ? 5 : 2, 4);
    for (; j + 2 * VL <= n; j += 2 * VL)
        product_panel(c + j, ldc, a, lda, b + j, ldb, m, k, VL == 16 ? 6 : 4, 2);
    for (; j < n; j += VL)
        product_panel(c + j, ldc, a, lda, b + j, ldb, m, k, 4, 1);
}
