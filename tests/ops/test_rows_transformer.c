#include "ops/rows.h"

#include "tests/ops/numbers.h"

static const int sizes[] = {1, 2, 7, 15, 16, 17, 31, 33, 64, 65, 768};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void norms_are_norms(const struct rows *r)
{
    for (int s = 0; s < SIZES; s++) {
        int n = sizes[s];
        float *x = numbers((size_t)n, 1, 2), *g = numbers((size_t)n, 2, 1),
              *b = numbers((size_t)n, 3, 1), *y = numbers((size_t)n, 4, 1);
        double mean = 0, var = 0, square = 0;
        for (int i = 0; i < n; i++) {
            x[i] += 5;
            mean += x[i] / (double)n;
            square += (double)x[i] * x[i] / n;
        }
        for (int i = 0; i < n; i++)
            var += (x[i] - mean) * (x[i] - mean) / n;
        r->norm(y, x, g, b, 1e-3f, n);
        for (int i = 0; i < n; i++)
            assert_near(y[i], (x[i] - mean) / sqrt(var + 1e-3) * g[i] + b[i], 2e-5);
        r->rms_norm(y, x, g, 1e-3f, n);
        for (int i = 0; i < n; i++)
            assert_near(y[i], x[i] / sqrt(square + 1e-3) * g[i], 1e-5);
        float *in_place = xmalloc((size_t)n * sizeof *x);
        memcpy(in_place, x, (size_t)n * sizeof *x);
        r->rms_norm(in_place, in_place, g, 1e-3f, n);
        assert_memory_equal(in_place, y, (size_t)n * sizeof *y);
        r->norm(y, x, g, b, 1e-3f, n);
        r->norm(x, x, g, b, 1e-3f, n);
        assert_memory_equal(x, y, (size_t)n * sizeof *y);
        free(in_place);
        free(x);
        free(g);
        free(b);
        free(y);
    }
}

static double gelu(double x)
{
    return 0.5 * x * erfc(-x / sqrt(2));
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static double relu(double x)
{
    return x > 0 ? x : 0;
}

static void is(void (*of)(float *, const float *, int), double (*expected)(double), double within)
{
    enum { N = 20001 };
    float *x = xmalloc(N * sizeof *x), *y = xmalloc(N * sizeof *y);
    for (int i = 0; i < N; i++)
        x[i] = (float)(i - N / 2) * 0.0012f;
    of(y, x, N);
    for (int i = 0; i < N; i++)
        assert_near(y[i], expected(x[i]), within * fmax(1, fabs(x[i])));
    for (int s = 0; s < SIZES; s++) { /* tails, and in place */
        float *z = xmalloc((size_t)sizes[s] * sizeof *z);
        memcpy(z, x + 9900, (size_t)sizes[s] * sizeof *z);
        of(z, z, sizes[s]);
        assert_memory_equal(z, y + 9900, (size_t)sizes[s] * sizeof *z);
        free(z);
    }
    float edge[] = {1e30f, -1e30f, 0.0f, -100.0f, 100.0f}, out[5];
    of(out, edge, 5);
    for (int i = 0; i < 5; i++)
        assert_near(out[i], expected(edge[i]), within * fmax(1, fabs(edge[i])));
    free(x);
    free(y);
}

static void activations(const struct rows *r)
{
    is(r->gelu, gelu, 4e-7);
    is(r->gelu_tanh, gelu_tanh, 4e-7);
    is(r->relu, relu, 0);
    is(r->tanh, tanh, 3e-7);
}

static void sums_and_products(const struct rows *r)
{
    for (int s = 0; s < SIZES; s++) {
        int n = sizes[s];
        float *x = numbers((size_t)n, 1, 1), *z = numbers((size_t)n, 2, 1),
              *y = numbers((size_t)n, 3, 1);
        r->add(y, x, z, n);
        for (int i = 0; i < n; i++)
            assert_true(y[i] == x[i] + z[i]);
        r->mul(y, x, z, n);
        for (int i = 0; i < n; i++)
            assert_true(y[i] == x[i] * z[i]);
        r->mul(x, x, z, n);
        assert_memory_equal(x, y, (size_t)n * sizeof *x);
        free(x);
        free(z);
        free(y);
    }
}

static void bf16_rounds(const struct rows *r)
{
    static const struct {
        uint32_t from;
        uint16_t to;
    } cases[] = {{0x3F800000, 0x3F80}, {0x3F808000, 0x3F80}, {0x3F818000, 0x3F82},
                 {0x3F808001, 0x3F81}, {0x80000000, 0x8000}, {0x7F7FFFFF, 0x7F80},
                 {0x7F800000, 0x7F80}, {0x7F800001, 0x7FC0}, {0xFFC12345, 0xFFC1}};
    enum { N = sizeof cases / sizeof *cases };
    float x[N];
    uint16_t y[N];
    for (int i = 0; i < N; i++)
        memcpy(&x[i], &cases[i].from, sizeof x[i]);
    r->to_bf16(y, x, N);
    for (int i = 0; i < N; i++)
        assert_int_equal(y[i], cases[i].to);
}

static void quantised_is_near(const struct rows *r)
{
    for (int s = 0; s < SIZES; s++)
        for (int levels = 127; levels <= 255; levels += 128)
            for (int shift = -3; shift <= 3; shift += 3) {
                int n = sizes[s];
                float *x = numbers((size_t)n, 1, 1), scale;
                int32_t zero;
                uint8_t *q = xmalloc((size_t)n);
                for (int i = 0; i < n; i++)
                    x[i] += (float)shift;
                r->quantize(q, x, levels, &scale, &zero, n);
                assert_in_range(zero, 0, levels);
                for (int i = 0; i < n; i++) {
                    assert_true(q[i] <= levels);
                    assert_near((double)scale * (q[i] - zero), x[i], 0.51 * scale + 1e-6);
                }
                free(x);
                free(q);
            }
    const float none[5] = {0}, one[] = {0, -7, 3};
    uint8_t q[5];
    float scale;
    int32_t zero;
    r->quantize(q, none, 255, &scale, &zero, 5);
    assert_true(scale == 0 && q[0] == zero && q[4] == zero);
    r->quantize(q, one, 255, &scale, &zero, 3);
    assert_int_equal(q[0], zero); /* nothing stays nothing */
    assert_true(q[1] == 0 && q[2] == 255);
}

static void dequantised(const struct rows *r)
{
    for (int s = 0; s < SIZES; s++) {
        int n = sizes[s];
        float *w = numbers((size_t)n, 1, 1), *b = numbers((size_t)n, 2, 1);
        union {
            int32_t sum;
            float y;
        } *both = xmalloc((size_t)n * sizeof *both);
        int32_t *sum = xmalloc((size_t)n * sizeof *sum), *w_sum = xmalloc((size_t)n * sizeof *sum);
        float *y = xmalloc((size_t)n * sizeof *y);
        for (int i = 0; i < n; i++) {
            both[i].sum = sum[i] = 1000 * i - 5000;
            w_sum[i] = 37 * i - 600;
        }
        r->dequantize(y, sum, 0.25f, 91, w, w_sum, b, n);
        for (int i = 0; i < n; i++) {
            double expected = (sum[i] - 91.0 * w_sum[i]) * 0.25 * w[i] + b[i];
            assert_near(y[i], expected, 1e-6 * (1 + fabs(expected)));
        }
        r->dequantize((float *)both, (const int32_t *)both, 0.25f, 91, w, w_sum, b, n);
        assert_memory_equal(both, y, (size_t)n * sizeof *y);
        free(w);
        free(b);
        free(both);
        free(sum);
        free(w_sum);
        free(y);
    }
    const int8_t q[] = {-127, 0, 3};
    float x[3];
    r->widen_int8(x, q, 0.5f, 3);
    assert_true(x[0] == -63.5f && x[1] == 0 && x[2] == 1.5f);
}

static void small_products(const struct rows *r)
{
    static const int ms[] = {1, 2, 5, 6, 13, 32}, ns[] = {1, 7, 16, 33, 64, 100},
                     ks[] = {1, 3, 20, 64};
    for (int a = 0; a < 6; a++)
        for (int b = 0; b < 6; b++)
            for (int d = 0; d < 4; d++) {
                int m = ms[a], n = ns[b], k = ks[d];
                int ld = (n + ROWS_PAD - 1) / ROWS_PAD * ROWS_PAD, lda = k + 3;
                float *x = numbers((size_t)(m * lda), 1, 1), *y = numbers((size_t)(k * ld), 2, 1),
                      *c = numbers((size_t)(m * ld), 3, 1);
                r->product(c, ld, x, lda, y, ld, m, n, k);
                for (int i = 0; i < m; i++)
                    for (int j = 0; j < n; j++) {
                        double sum = 0;
                        for (int p = 0; p < k; p++)
                            sum += (double)x[i * lda + p] * y[p * ld + j];
                        assert_near(c[i * ld + j], sum, 1e-5);
                    }
                free(x);
                free(y);
                free(c);
            }
}

static void softmax_is_softmax(const struct rows *r)
{
    for (int n = 1; n <= 70; n++) {
        int ld = (n + ROWS_PAD - 1) / ROWS_PAD * ROWS_PAD;
        float *s = numbers((size_t)ld, 1, 30), *x = numbers((size_t)ld, 1, 30);
        double most = -1e30, sum = 0;
        for (int i = 0; i < n; i++)
            most = fmax(most, 0.25 * x[i]);
        for (int i = 0; i < n; i++)
            sum += exp(0.25 * x[i] - most);
        for (int i = n; i < ld; i++)
            s[i] = 1e30f; /* takes no part */
        r->softmax_padded(s, 0.25f, n);
        for (int i = 0; i < n; i++)
            assert_near(s[i], exp(0.25 * x[i] - most) / sum, 1e-6);
        free(s);
        free(x);
    }
}

static void transposed(const struct rows *r)
{
    static const int ms[] = {1, 3, 4, 9, 20}, ns[] = {1, 4, 7, 64};
    for (int a = 0; a < 5; a++)
        for (int b = 0; b < 4; b++) {
            int m = ms[a], n = ns[b];
            float *x = numbers((size_t)(m * (n + 2)), 1, 1),
                  *y = numbers((size_t)(n * (m + 3)), 2, 1);
            float kept = y[m];
            r->transpose(y, m + 3, x, n + 2, m, n);
            for (int i = 0; i < m; i++)
                for (int j = 0; j < n; j++)
                    assert_true(y[j * (m + 3) + i] == x[i * (n + 2) + j]);
            assert_true(y[m] == kept);
            free(x);
            free(y);
        }
}

#define EACH(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        each_isa(name);                                                                            \
    }
EACH(norms_are_norms)
EACH(activations)
EACH(sums_and_products)
EACH(bf16_rounds)
EACH(quantised_is_near)
EACH(dequantised)
EACH(small_products)
EACH(softmax_is_softmax)
EACH(transposed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms_are_norms),   cmocka_unit_test(test_activations),
        cmocka_unit_test(test_sums_and_products), cmocka_unit_test(test_bf16_rounds),
        cmocka_unit_test(test_quantised_is_near), cmocka_unit_test(test_dequantised),
        cmocka_unit_test(test_small_products),    cmocka_unit_test(test_softmax_is_softmax),
        cmocka_unit_test(test_transposed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
