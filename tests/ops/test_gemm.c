#include "ops/gemm.h"

#include "tests/ops/numbers.h"

static double naive_at(const struct gemm *g, const float *c0, int i, int j)
{
    double sum = 0;
    for (int p = 0; p < g->k; p++) {
        double a = g->ta ? g->a[(size_t)p * g->lda + i] : g->a[(size_t)i * g->lda + p];
        double b = g->tb ? g->b[(size_t)j * g->ldb + p] : g->b[(size_t)p * g->ldb + j];
        sum += a * b;
    }
    return g->alpha * sum + (g->beta == 0 ? 0 : g->beta * (double)c0[(size_t)i * g->ldc + j]);
}

/* Rows are wider than the matrices by `wide`: what lies between must stay. */
static void one(int m, int n, int k, bool ta, bool tb, float alpha, float beta, int wide,
                struct pool *pool, bool tiled)
{
    int lda = (ta ? m : k) + wide, ldb = (tb ? k : n) + wide, ldc = n + wide;
    size_t rows_a = ta ? k : m, rows_b = tb ? n : k;
    float *a = numbers(rows_a * lda + 1, 1, 1), *b = numbers(rows_b * ldb + 1, 2, 1);
    float *c = numbers((size_t)m * ldc + 1, 3, 1), *c0 = numbers((size_t)m * ldc + 1, 3, 1);
    if (beta == 0)
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++)
                c[(size_t)i * ldc + j] = NAN; /* beta = 0 does not read C */
    struct gemm g = {ta, tb, m, n, k, alpha, beta, a, b, c, lda, ldb, ldc};
    if (tiled)
        gemm_parallel(&g, pool);
    else
        gemm(&g);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < ldc; j++) {
            if (j < n)
                assert_near(c[(size_t)i * ldc + j], naive_at(&g, c0, i, j),
                            1e-5 * (4 + sqrt(k)) * 2);
            else
                assert_true(c[(size_t)i * ldc + j] == c0[(size_t)i * ldc + j]);
        }
    free(a);
    free(b);
    free(c);
    free(c0);
}

static void each_backend(void (*fn)(void))
{
    enum gemm_backend before = gemm_backend();
    for (int i = 0; i < GEMM_BACKENDS; i++)
        if (gemm_backend_built((enum gemm_backend)i)) {
            gemm_backend_set((enum gemm_backend)i);
            fn();
        }
    gemm_backend_set(before);
}

static void odd_sizes(void)
{
    static const int sizes[] = {0, 1, 7, 31};
    for (size_t m = 0; m < 4; m++)
        for (size_t n = 0; n < 4; n++)
            for (size_t k = 0; k < 4; k++)
                for (int t = 0; t < 4; t++) {
                    one(sizes[m], sizes[n], sizes[k], t & 1, t & 2, 1, 0, 0, NULL, false);
                    one(sizes[m], sizes[n], sizes[k], t & 1, t & 2, 0.5f, 1, 3, NULL, false);
                }
    one(31, 33, 768, false, true, 1, 0, 0, NULL, false);
}

static void test_odd_sizes(void **state)
{
    (void)state;
    each_backend(odd_sizes);
}

static void test_hand(void **state)
{
    (void)state;
    const float a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, 0, 0, 1, 1, 1};
    float c[] = {10, 20, 30, 40};
    gemm(&(struct gemm){false, false, 2, 2, 3, 2, 1, a, b, c, 3, 2, 2});
    const float expected[] = {10 + 2 * 4, 20 + 2 * 5, 30 + 2 * 10, 40 + 2 * 11};
    for (int i = 0; i < 4; i++)
        assert_near(c[i], expected[i], 1e-5);
}

static void tiled(void)
{
    struct pool *pool = pool_open(3);
    one(GEMM_TILE_M + 5, GEMM_TILE_N + 7, 9, false, true, 1, 0, 2, pool, true);
    one(GEMM_TILE_M + 5, 20, 9, true, false, 1, 1, 0, pool, true);
    one(20, 2 * GEMM_TILE_N + 1, 9, true, true, 1, 1, 0, pool, true);
    one(3, 3, 0, false, false, 1, 0.5f, 0, pool, true);
    pool_close(pool);
}

static void test_tiled(void **state)
{
    (void)state;
    each_backend(tiled);
}

static void same_bits(void)
{
    enum { M = 2 * GEMM_TILE_M + 31, N = GEMM_TILE_N + 31, K = 77 };
    float *a = numbers(M * K, 1, 1), *b = numbers(N * K, 2, 1);
    float *first = xmalloc(sizeof(float) * M * N), *c = xmalloc(sizeof(float) * M * N);
    gemm_parallel(&(struct gemm){false, true, M, N, K, 1, 0, a, b, first, K, K, N}, NULL);
    for (int threads = 1; threads <= 4; threads++) {
        struct pool *pool = pool_open(threads);
        for (int round = 0; round < 3; round++) {
            gemm_parallel(&(struct gemm){false, true, M, N, K, 1, 0, a, b, c, K, K, N}, pool);
            assert_memory_equal(first, c, sizeof(float) * M * N);
        }
        pool_close(pool);
    }
    free(a);
    free(b);
    free(c);
    free(first);
}

static void test_same_bits(void **state)
{
    (void)state;
    each_backend(same_bits);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(gemm_backend_name(GEMM_ONEDNN), "onednn");
    assert_string_equal(gemm_backend_name(GEMM_OPENBLAS), "openblas");
    assert_string_equal(gemm_backend_name(GEMM_NAIVE), "naive");
    assert_true(gemm_backend_built(GEMM_NAIVE));
}

/* Runs first: the backend is settled by the first question. */
static void test_environment(void **state)
{
    (void)state;
    assert_int_equal(setenv("RUBRIC_GEMM", "naive", 1), 0);
    assert_int_equal(gemm_backend(), GEMM_NAIVE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment), cmocka_unit_test(test_hand),
        cmocka_unit_test(test_names),       cmocka_unit_test(test_odd_sizes),
        cmocka_unit_test(test_tiled),       cmocka_unit_test(test_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
