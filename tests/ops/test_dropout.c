#include "ops/dropout.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_share_and_scale),
                                       cmocka_unit_test(test_depends_on)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
