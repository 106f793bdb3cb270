#include "ops/rows.h"

#include "ops/adamw.h"
#include "ops/convpool_fixed.h"
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

/* Sums run in the same order everywhere: the bits are those of the base table. */
static void convpool_same_bits(const struct rows *r)
{
    const struct rows *base = rows_of(CPU_BASE);
    struct convpool s = {131, 4, {1, 2, 3, 6}, 12 * 131};
    int n_rows = 9, features = 4 * 131;
    float *p = numbers((size_t)n_rows * s.stride, 1, 1);
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
    }
    free(p);
    free(a);
    free(b);
    free(arg_a);
    free(arg_b);
}

static void fixed_same(const struct rows *r)
{
    const struct rows *base = rows_of(CPU_BASE);
    enum { ROWS = 9, WIDEST = 6, STRIDE = CONVPOOL_TILE + 3 };
    static int16_t wide[ROWS * WIDEST * CONVPOOL_TILE], a[3 * STRIDE], b[3 * STRIDE];
    static int8_t narrow[ROWS * WIDEST * CONVPOOL_TILE];
    for (size_t i = 0; i < ROWS * WIDEST * CONVPOOL_TILE; i++) {
        wide[i] = (int16_t)(rng_u64(1, 1, i) % 10001 - 5000);
        narrow[i] = (int8_t)(rng_u64(1, 2, i) % 255 - 127);
    }
    const int32_t row[] = {3, 1, 4, 1, 5, 8, 2, 6, 5, 3, 5, 0, 7}, start[] = {0, 1, 4, 13};
    for (int w = 1; w <= WIDEST; w++) {
        base->convpool_int16(wide, w, row, start, 3, a, STRIDE);
        r->convpool_int16(wide, w, row, start, 3, b, STRIDE);
        assert_memory_equal(a, b, sizeof a);
        base->convpool_int8(narrow, w, row, start, 3, a, STRIDE);
        r->convpool_int8(narrow, w, row, start, 3, b, STRIDE);
        assert_memory_equal(a, b, sizeof a);
    }
    const float scale[] = {0.5f, 2, 0}, bias[] = {-1, -9, 3};
    const int16_t q[] = {4, 4, 4};
    float y[3];
    r->unfix_relu(y, q, scale, bias, 3);
    assert_true(y[0] == 1 && y[1] == 0 && y[2] == 3);
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
EACH(fixed_same)
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
        cmocka_unit_test(test_fixed_same),       cmocka_unit_test(test_convpool_same_bits),
        cmocka_unit_test(test_adamw_same_bits),  cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
