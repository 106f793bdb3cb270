#include "ops/dense.h"

#include "ops/gemm.h"
#include "tests/ops/numbers.h"

static void check(int n, int c, int o, bool bias, struct pool *pool)
{
    float *x = numbers((size_t)n * c, 1, 1), *w = numbers((size_t)o * c, 2, 1),
          *b = numbers((size_t)o, 3, 1);
    float *dy = numbers((size_t)n * o, 4, 1), *y = xmalloc(sizeof *y * n * o),
          *dx = xmalloc(sizeof *dx * n * c);
    float *dw = numbers((size_t)o * c, 5, 1), *dw0 = numbers((size_t)o * c, 5, 1);
    float *db = numbers((size_t)o, 6, 1), *db0 = numbers((size_t)o, 6, 1);
    dense_forward(y, x, w, bias ? b : NULL, n, c, o, pool);
    dense_backward(dx, dw, bias ? db : NULL, dy, x, w, n, c, o, pool);
    double near = 1e-5 * (4 + sqrt(c + o + n));
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < o; k++) {
            double sum = bias ? b[k] : 0;
            for (int j = 0; j < c; j++)
                sum += (double)x[i * c + j] * w[k * c + j];
            assert_near(y[i * o + k], sum, near);
        }
        for (int j = 0; j < c; j++) {
            double sum = 0;
            for (int k = 0; k < o; k++)
                sum += (double)dy[i * o + k] * w[k * c + j];
            assert_near(dx[i * c + j], sum, near);
        }
    }
    for (int k = 0; k < o; k++) {
        double sum = db0[k];
        for (int i = 0; bias && i < n; i++)
            sum += dy[i * o + k];
        assert_near(db[k], sum, near);
        for (int j = 0; j < c; j++) {
            sum = dw0[k * c + j]; /* += really adds */
            for (int i = 0; i < n; i++)
                sum += (double)dy[i * o + k] * x[i * c + j];
            assert_near(dw[k * c + j], sum, near);
        }
    }
    float *all[] = {x, w, b, dy, y, dx, dw, dw0, db, db0};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static void test_sizes(void **state)
{
    (void)state;
    static const int sizes[] = {0, 1, 7, 31};
    struct pool *pool = pool_open(2);
    for (int n = 0; n < 4; n++)
        for (int c = 1; c < 4; c++)
            for (int o = 1; o < 4; o++)
                check(sizes[n], sizes[c], sizes[o], (n + c + o) % 2, n % 2 ? pool : NULL);
    check(33, GEMM_TILE_N + 3, 10, true, pool);
    pool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
