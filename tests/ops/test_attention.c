#include "ops/attention.h"

#include "tests/ops/attention_sample.h"

static void check(int d, int t, unsigned with, int first, int n_q)
{
    struct sample s = make(d, t, with);
    int w = H * d;
    float *y = numbers((size_t)(n_q * w) + ROWS_PAD, 20, 1),
          *scratch = numbers(attention_scratch(&s.a), 21, 1);
    float kept = y[n_q * w];
    attention_forward(&s.a, s.q + first * w, w, n_q, first, s.k, s.v, w, t, y, w, scratch);
    for (int i = 0; i < n_q; i++)
        for (int h = 0; h < H; h++) {
            double expected[64];
            oracle(&s, h, first + i, NULL, expected);
            for (int c = 0; c < d; c++)
                assert_near(y[i * w + h * d + c], expected[c], 2e-5);
        }
    assert_true(y[n_q * w] == kept); /* nothing beyond the last row */
    free(y);
    free(scratch);
    done(&s);
}

static void test_families(void **state)
{
    (void)state;
    static const int ts[] = {1, 2, 7, 20, 33, 40}, ds[] = {5, 16, 48, 64};
    for (size_t f = 0; f < sizeof sample_families / sizeof *sample_families; f++)
        for (int i = 0; i < 6; i++)
            for (int j = 0; j < 4; j++) {
                check(ds[j], ts[i], sample_families[f], 0, ts[i]);
                check(ds[j], ts[i], sample_families[f], ts[i] - 1, 1); /* the last row alone */
                check(ds[j], ts[i], sample_families[f], 0, 1);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_families)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
