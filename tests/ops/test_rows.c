#include "ops/rows.h"

#include "ops/adamw.h"
#include "ops/convpool.h"
#include "ops/f16.h"
#include "tests/ops/numbers.h"

static const int sizes[] = {1, 2, 7, 15, 16, 17, 31, 64, 65, 768, 1536};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void max_is_max(const struct rows *r)
{
    for (int s = 0; s < SIZES; s++) {
        float *x = numbers((size_t)sizes[s], 1, 3);
        for (int at = 0; at < sizes[s]; at += 1 + sizes[s] / 9) {
            float kept = x[at];
            x[at] = 100;
            assert_true(r->max(x, sizes[s]) == 100.0f);
            x[at] = kept;
        }
        for (int i = 0; i < sizes[s]; i++)
            x[i] = -5;
        assert_true(r->max(x, sizes[s]) == -5.0f);
        free(x);
    }
}

static void exp_is_exp(const struct rows *r)
{
    for (int s = 0; s < SIZES; s++) {
        int n = sizes[s];
        float *x = numbers((size_t)n, 2, 20), *y = xmalloc((size_t)n * sizeof *y);
        double sum = 0;
        float got = r->exp_sum(y, x, 1.5f, n);
        for (int i = 0; i < n; i++) {
            double e = exp((double)(x[i] - 1.5f));
            assert_near(y[i], e, 3e-7 * e);
            sum += y[i];
        }
        assert_near(got, sum, 1e-5 * sum);
        assert_true(r->exp_sum(x, x, 1.5f, n) == got); /* in place */
        assert_memory_equal(x, y, (size_t)n * sizeof *y);
        free(x);
        free(y);
    }
    float edge[] = {0, -1e30f, 200, -87, 88}, out[5];
    (void)r->exp_sum(out, edge, 0, 5);
    assert_true(out[0] == 1.0f && out[1] > 0 && out[1] < 1e-37f && isfinite(out[2]));
    assert_true(r->exp_sum(out, edge, 0, 0) == 0.0f);
}

static void affine_is_affine(const struct rows *r)
{
    for (int s = 0; s < SIZES; s++)
        for (int o = 0; o <= 3; o++) {
            int c = sizes[s];
            float *x = numbers((size_t)c, 1, 1), *w = numbers((size_t)(c * o), 2, 1),
                  b[3] = {1, -2, 3}, y[4] = {0, 0, 0, 9};
            for (int with = 0; with < 2; with++) {
                r->affine(y, x, w, with ? b : NULL, c, o);
                for (int k = 0; k < o; k++) {
                    double sum = with ? b[k] : 0;
                    for (int i = 0; i < c; i++)
                        sum += (double)x[i] * w[k * c + i];
                    assert_near(y[k], sum, 1e-6 * (4 + c));
                }
                assert_true(y[3] == 9);
            }
            free(x);
            free(w);
        }
}

static void simple_ones(const struct rows *r)
{
    for (int s = 0; s < SIZES; s++) {
        int n = sizes[s];
        float *x = numbers((size_t)n, 1, 1), *b = numbers((size_t)n, 2, 1),
              *y = xmalloc((size_t)n * sizeof *y);
        r->scale(y, x, 0.37f, n);
        for (int i = 0; i < n; i++)
            assert_true(y[i] == 0.37f * x[i]);
        r->bias_relu(y, x, b, n);
        for (int i = 0; i < n; i++)
            assert_true(y[i] == (x[i] + b[i] > 0 ? x[i] + b[i] : 0));
        free(x);
        free(b);
        free(y);
    }
}

static void narrow_is_exact(const struct rows *r)
{
    /* Every F16 value narrows back to itself, every midpoint to the even neighbour. */
    for (uint32_t h = 0; h < 0x7C00; h++) {
        float x[18], mid = (f16_widen((uint16_t)h) + f16_widen((uint16_t)(h + 1))) / 2;
        uint16_t y[18];
        for (int i = 0; i < 18; i++)
            x[i] = i % 3 == 0 ? f16_widen((uint16_t)h) : i % 3 == 1 ? -f16_widen((uint16_t)h) : mid;
        r->f16_narrow(y, x, 18);
        for (int i = 0; i < 18; i++) {
            uint32_t expected = i % 3 == 0 ? h : i % 3 == 1 ? h | 0x8000 : h + (h & 1);
            if (i % 3 == 2 && h + 1 == 0x7C00)
                continue; /* the widened infinity has no midpoint */
            assert_int_equal(y[i], expected);
        }
    }
    float big[17];
    uint16_t y[17];
    for (int i = 0; i < 17; i++)
        big[i] = i ? 65520.0f : 65519.0f;
    r->f16_narrow(y, big, 17);
    assert_int_equal(y[0], 0x7BFF);
    for (int i = 1; i < 17; i++)
        assert_int_equal(y[i], 0x7C00);
}

/* Sums run in the same order everywhere: the bits are those of the base table. */
static void convpool_same_bits(const struct rows *r)
{
    const struct rows *base = rows_of(CPU_BASE);
    struct convpool s = {131, 4, {1, 2, 3, 6}, 12 * 131};
    int n_rows = 9, features = 4 * 131;
    float *p = numbers((size_t)n_rows * s.stride, 1, 1);
    uint16_t *half = xmalloc(sizeof *half * (size_t)n_rows * s.stride);
    base->f16_narrow(half, p, (size_t)n_rows * s.stride);
    float *a = xmalloc(sizeof *a * (size_t)features), *b = xmalloc(sizeof *b * (size_t)features);
    int32_t *arg_a = xmalloc(sizeof *arg_a * (size_t)features),
            *arg_b = xmalloc(sizeof *arg_b * (size_t)features);
    const int32_t row[] = {3, 1, 4, 1, 5, 8, 2, 6, 5, 3, 5, 0, 7};
    for (int t = 1; t <= 13; t++) {
        base->convpool_f32(&s, p, row, t, a, arg_a);
        r->convpool_f32(&s, p, row, t, b, arg_b);
        assert_memory_equal(a, b, sizeof *a * (size_t)features);
        assert_memory_equal(arg_a, arg_b, sizeof *arg_a * (size_t)features);
        r->convpool_f32(&s, p, row, t, b, NULL);
        assert_memory_equal(a, b, sizeof *a * (size_t)features);
        base->convpool_f16(&s, half, row, t, a);
        r->convpool_f16(&s, half, row, t, b);
        assert_memory_equal(a, b, sizeof *a * (size_t)features);
    }
    free(p);
    free(half);
    free(a);
    free(b);
    free(arg_a);
    free(arg_b);
}

static void adamw_same_bits(const struct rows *r)
{
    struct adamw a = adamw_at(&(struct adamw){1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 0.5f, 0, 0}, 3);
    float *g = numbers(67, 1, 1), *w0 = numbers(67, 2, 1), *w1 = numbers(67, 2, 1);
    float m0[67] = {0}, m1[67] = {0}, v0[67] = {0}, v1[67] = {0};
    rows_of(CPU_BASE)->adamw(&a, w0, g, m0, v0, 67);
    r->adamw(&a, w1, g, m1, v1, 67);
    assert_memory_equal(w0, w1, sizeof m0);
    assert_memory_equal(m0, m1, sizeof m0);
    assert_memory_equal(v0, v1, sizeof m0);
    free(g);
    free(w0);
    free(w1);
}

#define EACH(name)                                                                                 \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        each_isa(name);                                                                            \
    }
EACH(max_is_max)
EACH(exp_is_exp)
EACH(affine_is_affine)
EACH(simple_ones)
EACH(narrow_is_exact)
EACH(convpool_same_bits)
EACH(adamw_same_bits)

static void test_choice(void **state)
{
    (void)state;
    assert_int_equal(rows()->isa, cpu_isa());
    assert_non_null(rows_of(CPU_BASE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_max_is_max),       cmocka_unit_test(test_exp_is_exp),
        cmocka_unit_test(test_affine_is_affine), cmocka_unit_test(test_simple_ones),
        cmocka_unit_test(test_narrow_is_exact),  cmocka_unit_test(test_convpool_same_bits),
        cmocka_unit_test(test_adamw_same_bits),  cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
