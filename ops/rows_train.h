/* Row kernels of training: what norms, activations and softmax give back, and sums over columns.
 * Part of ops/rows_body.h, behind ops/rows_transformer.h. */

/* y += a x */
static void rows_add_scaled(float *y, const float *x, float a, int n)
{
    int i = 0;
    for (; i + VL <= n; i += VL)
        store(y + i, fma_of(splat(a), load(x + i), load(y + i)));
    for (; i < n; i++)
        y[i] += a * x[i];
}

static float rows_dot(const float *x, const float *y, int n)
{
    vf s0 = splat(0.0f), s1 = s0;
    int i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        s0 = fma_of(load(x + i), load(y + i), s0);
        s1 = fma_of(load(x + i + VL), load(y + i + VL), s1);
    }
    float sum = total_of(s0 + s1);
    for (; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* With z = (x - mean) / deviation and g = dy gamma: dx = (g - mean(g) - z mean(g z)) / deviation. */
static void rows_norm_back(float *dx, const float *dy, const float *x, const float *gamma,
                           float eps, float *mean_out, float *scale_out, int n)
{
    vf s = splat(0.0f);
    int i = 0;
    for (; i + VL <= n; i += VL)
        s += load(x + i);
    float sum = total_of(s);
    for (; i < n; i++)
        sum += x[i];
    const float mean = sum / (float)n;
    vf squares = splat(0.0f), a = squares, b = squares;
    for (i = 0; i + VL <= n; i += VL) {
        vf d = load(x + i) - splat(mean), g = load(dy + i) * load(gamma + i);
        squares = fma_of(d, d, squares);
        a += g;
        b = fma_of(g, d, b);
    }
    float square = total_of(squares), ga = total_of(a), gb = total_of(b);
    for (; i < n; i++) {
        float d = x[i] - mean, g = dy[i] * gamma[i];
        square += d * d;
        ga += g;
        gb += g * d;
    }
    const float scale = 1.0f / sqrtf(square / (float)n + eps);
    ga /= (float)n;
    gb *= scale * scale / (float)n;
    for (i = 0; i + VL <= n; i += VL) {
        vf d = load(x + i) - splat(mean), g = load(dy + i) * load(gamma + i);
        store(dx + i, (g - splat(ga) - d * splat(gb)) * splat(scale));
    }
    for (; i < n; i++)
        dx[i] = (dy[i] * gamma[i] - ga - (x[i] - mean) * gb) * scale;
    *mean_out = mean;
    *scale_out = scale;
}

static void rows_rms_norm_back(float *dx, const float *dy, const float *x, const float *gamma,
                               float eps, float *mean_out, float *scale_out, int n)
{
    vf squares = splat(0.0f), b = squares;
    int i = 0;
    for (; i + VL <= n; i += VL) {
        vf v = load(x + i);
        squares = fma_of(v, v, squares);
        b = fma_of(load(dy + i) * load(gamma + i), v, b);
    }
    float square = total_of(squares), gb = total_of(b);
    for (; i < n; i++) {
        square += x[i] * x[i];
        gb += dy[i] * gamma[i] * x[i];
    }
    const float scale = 1.0f / sqrtf(square / (float)n + eps);
    gb *= scale * scale / (float)n;
    for (i = 0; i + VL <= n; i += VL)
        store(dx + i, (load(dy + i) * load(gamma + i) - load(x + i) * splat(gb)) * splat(scale));
    for (; i < n; i++)
        dx[i] = (dy[i] * gamma[i] - x[i] * gb) * scale;
    *mean_out = 0.0f;
    *scale_out = scale;
}

/* One column chunk over many rows. */
static void rows_norm_columns(float *dgamma, float *dbeta, const float *dy, const float *x, int ld,
                              const float *mean, const float *scale, int m, int n)
{
    for (int r = 0; r < m; r++, dy += ld, x += ld) {
        const vf shift = splat(mean[r]), by = splat(scale[r]);
        int i = 0;
        for (; i + VL <= n; i += VL) {
            vf d = load(dy + i);
            store(dgamma + i, fma_of(d, (load(x + i) - shift) * by, load(dgamma + i)));
            if (dbeta)
                store(dbeta + i, load(dbeta + i) + d);
        }
        for (; i < n; i++) {
            dgamma[i] += dy[i] * ((x[i] - mean[r]) * scale[r]);
            if (dbeta)
                dbeta[i] += dy[i];
        }
    }
}

static void rows_add_columns(float *sum, const float *x, int ld, int m, int n)
{
    for (int r = 0; r < m; r++, x += ld)
        for (int i = 0; i < n; i++)
            sum[i] += x[i];
}

/* ds = scale p (dp - sum of p dp) */
static void rows_softmax_back(float *ds, const float *p, const float *dp, float scale, int n)
{
    float mean = rows_dot(p, dp, n);
    int i = 0;
    for (; i + VL <= n; i += VL)
        store(ds + i, splat(scale) * load(p + i) * (load(dp + i) - splat(mean)));
    for (; i < n; i++)
        ds[i] = scale * p[i] * (dp[i] - mean);
}

/* Each gives f(x) and f'(x). */
static inline void gelu_both(vf x, vf *f, vf *d)
{
    const vf tiny = splat(1e-6f);
    vf y = gelu_of(x);
    /* gelu(x) / x is Phi(x); near 0 it is 1/2. */
    vi near = (x < tiny) & (x > -tiny);
    vf phi = pick(near, splat(0.5f), y / pick(near, splat(1.0f), x));
    vf density = splat(0.3989422804014327f) * exp_of(splat(-0.5f) * x * x);
    *f = y;
    *d = fma_of(x, density, phi);
}

static inline void gelu_tanh_both(vf x, vf *f, vf *d)
{
    const vf root = splat(0.7978845608028654f);
    vf square = x * x, y = root * fma_of(splat(0.044715f) * square, x, x);
    vf half = splat(1.0f) / (splat(1.0f) + exp_of(splat(-2.0f) * y)); /* (1 + tanh y) / 2 */
    vf slope = splat(2.0f) * half * (splat(1.0f) - half);             /* its derivative by y */
    *f = x * half;
    *d = fma_of(x * slope, root * fma_of(splat(3.0f * 0.044715f), square, splat(1.0f)), half);
}

static inline void relu_both(vf x, vf *f, vf *d)
{
    vi positive = x > splat(0.0f);
    *f = relu_of(x);
    *d = pick(positive, splat(1.0f), splat(0.0f));
}

static inline void tanh_both(vf x, vf *f, vf *d)
{
    *f = tanh_of(x);
    *d = splat(1.0f) - *f * *f;
}

#define ROWS_BACK(name)                                                                            \
    static void rows_##name##_back(float *y, float *dx, const float *x, const float *dy, int n)    \
    {                                                                                              \
        vf f, d;                                                                                   \
        int i = 0;                                                                                 \
        for (; i + VL <= n; i += VL) {                                                             \
            name##_both(load(x + i), &f, &d);                                                      \
            vf g = load(dy + i) * d;                                                               \
            store(y + i, f);                                                                       \
            store(dx + i, g);                                                                      \
        }                                                                                          \
        if (i < n) {                                                                               \
            name##_both(load_part(x + i, n - i), &f, &d);                                          \
            vf g = load_part(dy + i, n - i) * d;                                                   \
            store_part(y + i, f, n - i);                                                           \
            store_part(dx + i, g, n - i);                                                          \
        }                                                                                          \
    }
ROWS_BACK(gelu)
ROWS_BACK(gelu_tanh)
ROWS_BACK(relu)
ROWS_BACK(tanh)
#undef ROWS_BACK

/* rng_block() (base/rng.h) of many counters at a time: every lane of 64 bits holds a number in its lower half,
 * what stands in the upper one does not matter. */
typedef uint64_t vq __attribute__((vector_size(VL * 4)));
enum { QL = VL / 2, DRAWN = 4 * QL /* numbers of a vector of counters */ };

static inline vq lower_product(vq a, vq b)
{
#if defined(__AVX512F__)
    return (vq)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (vq)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (vq)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

/* Lanes 0, 2, 4, … of a and b side by side, and lanes 1, 3, 5, … */
static inline vq even_pairs(vq a, vq b)
{
#if defined(__AVX512F__)
    return (vq)_mm512_unpacklo_epi64((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (vq)_mm256_unpacklo_epi64((__m256i)a, (__m256i)b);
#else
    vq v = a;
    for (int l = 0; l < QL; l += 2)
        v[l + 1] = b[l];
    return v;
#endif
}

static inline vq odd_pairs(vq a, vq b)
{
#if defined(__AVX512F__)
    return (vq)_mm512_unpackhi_epi64((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (vq)_mm256_unpackhi_epi64((__m256i)a, (__m256i)b);
#else
    vq v = b;
    for (int l = 0; l < QL; l += 2)
        v[l] = a[l + 1];
    return v;
#endif
}

/* The numbers of counters row << 32 | first + 4 i, i = 0 .. QL - 1, in order.  Lanes 0, 2, 4, … take the first
 * half of the counters, so that pairs of lanes come out in order. */
static inline void draw(uint32_t out[DRAWN], uint64_t seed, uint64_t stream, uint32_t row,
                        uint32_t first)
{
    vq x0 = {0}, x1 = x0 + row, x2 = x0 + (stream & 0xffffffffu), x3 = x0 + (stream >> 32);
    vq k0 = x0 + (seed & 0xffffffffu), k1 = x0 + (seed >> 32);
    for (uint32_t l = 0; l < QL; l++)
        x0[l] = first + 4 * (l / 2 + (l % 2) * (QL / 2));
    for (int round = 0; round < 10; round++) {
        vq a = lower_product(x0, (vq){0} + 0xD2511F53u),
           b = lower_product(x2, (vq){0} + 0xCD9E8D57u);
        x0 = (b >> 32) ^ x1 ^ k0;
        x2 = (a >> 32) ^ x3 ^ k1;
        x1 = b;
        x3 = a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    vq front = (x0 & 0xffffffffu) | x1 << 32, back = (x2 & 0xffffffffu) | x3 << 32;
    vq lower = even_pairs(front, back), upper = odd_pairs(front, back);
    memcpy(out, &lower, sizeof lower);
    memcpy(out + DRAWN / 2, &upper, sizeof upper);
}

static void rows_drop(float *y, const float *x, int n, uint32_t below, float scale, uint64_t seed,
                      uint64_t stream, uint32_t row)
{
    enum { AT_ONCE = 4 };
    uint32_t bits[AT_ONCE * DRAWN];
    for (int i = 0; i < n; i += AT_ONCE * DRAWN) {
        int m = n - i < AT_ONCE * DRAWN ? n - i : AT_ONCE * DRAWN;
        for (int k = 0; k < AT_ONCE; k++)
            draw(bits + k * DRAWN, seed, stream, row, (uint32_t)(i + k * DRAWN));
        if (m == AT_ONCE * DRAWN)
            for (int k = 0; k < AT_ONCE * DRAWN; k++)
                y[i + k] = bits[k] < below ? 0.0f : scale * x[i + k];
        else
            for (int k = 0; k < m; k++)
                y[i + k] = bits[k] < below ? 0.0f : scale * x[i + k];
    }
}
