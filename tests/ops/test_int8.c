#include "ops/int8.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/rng.h"

static void test_rounds(void **state)
{
    (void)state;
    const float x[] = {2.0f, -1.0f, 0.0f, 0.1f, -2.0f, 1.99f};
    int8_t q[6];
    float step = int8_quantize(q, x, 6, 1);
    assert_true(step == 2.0f / 127.0f);
    const int8_t expected[] = {127, -64, 0, 6, -127, 126};
    assert_memory_equal(q, expected, sizeof q);
}

static void test_columns(void **state)
{
    (void)state;
    const float x[] = {1, 10, 2, 20, -4, 5};
    int8_t q[6] = {0};
    float a = int8_quantize(q, x, 3, 2), b = int8_quantize(q + 1, x + 1, 3, 2);
    assert_true(a == 4.0f / 127 && b == 20.0f / 127);
    const int8_t expected[] = {32, 64, 64, 127, -127, 32};
    assert_memory_equal(q, expected, sizeof q);
}

static void test_next_to_nothing(void **state)
{
    (void)state;
    const float zeros[3] = {0}, tiny[3] = {1e-42f, -1e-41f, 0}, small = 1e-36f;
    int8_t q[3] = {1, 1, 1};
    assert_true(int8_quantize(q, zeros, 3, 1) == 0.0f);
    assert_int_equal(q[0] | q[1] | q[2], 0);
    assert_true(int8_quantize(q, tiny, 3, 1) == 0.0f);
    assert_int_equal(q[0] | q[1] | q[2], 0);
    assert_true(int8_quantize(q, &small, 1, 1) > 0.0f);
    assert_int_equal(q[0], 127);
    assert_true(int8_quantize(q, NULL, 0, 1) == 0.0f);
}

/* What is multiplied out and quantised again is the same bytes. */
static void test_again(void **state)
{
    (void)state;
    enum { N = 257 };
    float x[N], y[N];
    int8_t q[N], r[N];
    for (uint64_t round = 0; round < 2000; round++) {
        double size = pow(10.0, (double)(round % 60) - 30.0);
        for (uint64_t i = 0; i < N; i++)
            x[i] = (float)(size * rng_normal(7, round, i));
        float step = int8_quantize(q, x, N, 1);
        for (int i = 0; i < N; i++) {
            y[i] = (float)q[i] * step;
            assert_true(fabsf(y[i] - x[i]) <= 0.5001f * step);
        }
        float next = int8_quantize(r, y, N, 1);
        assert_memory_equal(q, r, sizeof q);
        assert_true(fabsf(next - step) <= 2e-7f * step);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_next_to_nothing),
        cmocka_unit_test(test_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
