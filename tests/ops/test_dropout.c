#include "base/rng.h"
#include "ops/dropout.h"
#include "ops/rows.h"

#include "tests/ops/numbers.h"

enum { N = 4099 };

static void test_share_and_scale(void **state)
{
    (void)state;
    float x[N], y[N];
    for (int i = 0; i < N; i++)
        x[i] = (float)(i + 1);
    for (int k = 0; k < 3; k++) {
        float p = (float[]){0.1f, 0.5f, 0.9f}[k];
        int dropped = 0;
        dropout_row(y, x, N, p, 1, 2, 3);
        for (int i = 0; i < N; i++) {
            dropped += y[i] == 0;
            assert_true(y[i] == 0 || fabsf(y[i] - x[i] / (1 - p)) <= 1e-6f * y[i]);
        }
        assert_near((double)dropped / N, p, 5 * sqrt(p * (1 - p) / N));
    }
    dropout_row(y, x, N, 0, 1, 2, 3);
    assert_memory_equal(x, y, sizeof x);
    dropout_row(x, x, N, 0.5f, 1, 2, 3); /* in place */
    dropout_row(y, y, N, 0.5f, 1, 2, 3);
    assert_memory_equal(x, y, sizeof x);
}

static void test_depends_on(void **state)
{
    (void)state;
    float ones[64], a[64], b[64];
    for (int i = 0; i < 64; i++)
        ones[i] = 1;
    dropout_row(a, ones, 64, 0.5f, 1, 2, 3);
    dropout_row(b, ones, 64, 0.5f, 1, 2, 3);
    assert_memory_equal(a, b, sizeof a);
    dropout_row(b, ones, 30, 0.5f, 1, 2,
                3); /* an element's fate does not depend on the row's length */
    assert_memory_equal(a, b, 30 * sizeof *a);
    dropout_row(b, ones, 64, 0.5f, 2, 2, 3);
    assert_memory_not_equal(a, b, sizeof a);
    dropout_row(b, ones, 64, 0.5f, 1, 3, 3);
    assert_memory_not_equal(a, b, sizeof a);
    dropout_row(b, ones, 64, 0.5f, 1, 2, 4);
    assert_memory_not_equal(a, b, sizeof a);
}

/* Every instruction set's kernel draws what base/rng.h does, whatever the length. */
static void test_kernels_agree(void **state)
{
    (void)state;
    static const enum cpu_isa all[] = {CPU_BASE, CPU_AVX2, CPU_AVX512};
    const uint64_t seed = 0x123456789abcdefULL, stream = 0xfedcba9876543210ULL;
    const uint32_t below = 0x60000000u;
    float x[333], y[333];
    for (int i = 0; i < 333; i++)
        x[i] = (float)(i + 1);
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        for (int n = 0; rows_of(all[k]) && n <= 333; n += 37) {
            rows_of(all[k])->drop(y, x, n, below, 1.5f, seed, stream, 77);
            for (int i = 0; i < n; i++) {
                uint32_t bits[4];
                rng_block(seed, stream, (uint64_t)77 << 32 | (uint32_t)(i / 4 * 4), bits);
                assert_true(y[i] == (bits[i % 4] < below ? 0.0f : 1.5f * x[i]));
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_share_and_scale),
                                       cmocka_unit_test(test_depends_on),
                                       cmocka_unit_test(test_kernels_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
