#include "ops/adamw.h"

#include "tests/ops/numbers.h"

static const struct adamw options = {1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 0.5f, 0, 0};

static void test_twin(void **state)
{
    (void)state;
    enum { N = 37 };
    float *w = numbers(N, 1, 1), m[N] = {0}, v[N] = {0};
    double tw[N], tm[N] = {0}, tv[N] = {0};
    for (int i = 0; i < N; i++)
        tw[i] = w[i];
    for (int step = 1; step <= 5; step++) {
        float *g = numbers(N, 10 + (uint64_t)step, 1);
        struct adamw at = adamw_at(&options, step);
        adamw_step(&at, w, g, m, v, N, NULL);
        for (int i = 0; i < N; i++) {
            double x = 0.5 * g[i];
            tw[i] -= 1e-2 * 0.1 * tw[i];
            tm[i] = 0.9 * tm[i] + 0.1 * x;
            tv[i] = 0.999 * tv[i] + 0.001 * x * x;
            tw[i] -= 1e-2 * (tm[i] / (1 - pow(0.9, step))) /
                     (sqrt(tv[i] / (1 - pow(0.999, step))) + 1e-8);
            assert_near(w[i], tw[i], 2e-5);
        }
        free(g);
    }
    free(w);
}

static void test_threads(void **state)
{
    (void)state;
    enum { N = 3 * 65536 + 5 };
    float *g = numbers(N, 1, 1), *w0 = numbers(N, 2, 1), *m0 = calloc(N, 4), *v0 = calloc(N, 4);
    struct adamw at = adamw_at(&options, 1);
    adamw_step(&at, w0, g, m0, v0, N, NULL);
    double norm = grad_norm(g, N, NULL), sum = 0;
    for (size_t i = 0; i < N; i++)
        sum += (double)g[i] * g[i];
    assert_near(norm, sqrt(sum), 1e-9 * norm);
    for (int threads = 1; threads <= 3; threads++) {
        struct pool *pool = pool_open(threads);
        float *w = numbers(N, 2, 1), *m = calloc(N, 4), *v = calloc(N, 4);
        adamw_step(&at, w, g, m, v, N, pool);
        assert_memory_equal(w, w0, N * sizeof *w);
        assert_true(grad_norm(g, N, pool) == norm);
        free(w);
        free(m);
        free(v);
        pool_close(pool);
    }
    assert_true(grad_norm(g, 0, NULL) == 0.0);
    free(g);
    free(w0);
    free(m0);
    free(v0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_twin), cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
