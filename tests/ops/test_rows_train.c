/* The backward row kernels at every level of instructions, against finite differences of the forward
 * functions in double. */
#include "ops/rows.h"

#include "tests/ops/numbers.h"

static const int sizes[] = {1, 2, 7, 15, 16, 17, 31, 33, 64, 65, 768};
enum { SIZES = sizeof sizes / sizeof *sizes };

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

typedef void back(float *y, float *dx, const float *x, const float *dy, int n);

static void activation_is(back *of, double (*f)(double))
{
    enum { N = 20001 };
    const double h = 1e-4;
    float *x = xmalloc(N * sizeof *x), *dy = numbers(N, 5, 1), *y = xmalloc(N * sizeof *y),
          *dx = xmalloc(N * sizeof *dx);
    for (int i = 0; i < N; i++)
        x[i] = (float)(i - N / 2) * 0.0012f + 1e-5f; /* beside relu's corner */
    x[1] = 1e10f;
    x[2] = -1e10f;
    x[3] = 1e-9f;
    of(y, dx, x, dy, N);
    for (int i = 0; i < N; i++) {
        double slope = fabs(x[i]) > 1e9    ? f(x[i]) / x[i]
                       : fabs(x[i]) < 2e-4 ? (f == relu   ? (x[i] > 0)
                                              : f == tanh ? 1
                                                          : 0.5)
                                           : (f(x[i] + h) - f(x[i] - h)) / (2 * h);
        assert_near(y[i], f(x[i]), 3e-7 * fmax(1, fabs(x[i])));
        assert_near(dx[i], dy[i] * slope,
                    3e-4 * fabs(dy[i]) * (fabs(x[i]) < 2e-4 ? 1 : 0.01) + 1e-6);
    }
    for (int s = 0; s < SIZES; s++) { /* tails, in place */
        size_t n = (size_t)sizes[s];
        float *a = xmalloc(n * sizeof *a), *b = xmalloc(n * sizeof *b);
        memcpy(a, x + 9900, n * sizeof *a);
        memcpy(b, dy + 9900, n * sizeof *b);
        of(a, b, a, b, (int)n);
        assert_memory_equal(a, y + 9900, n * sizeof *a);
        assert_memory_equal(b, dx + 9900, n * sizeof *b);
        free(a);
        free(b);
    }
    free(x);
    free(dy);
    free(y);
    free(dx);
}

/* sum of dy · norm(x), in double. */
static double norm_loss(const double *x, const float *g, const float *dy, bool centred, int n)
{
    double mean = 0, var = 0, loss = 0;
    for (int i = 0; i < n && centred; i++)
        mean += x[i] / n;
    for (int i = 0; i < n; i++)
        var += (x[i] - mean) * (x[i] - mean) / n;
    for (int i = 0; i < n; i++)
        loss += dy[i] * (x[i] - mean) / sqrt(var + 1e-3) * g[i];
    return loss;
}

static void norms_give_back(const struct rows *r, bool centred)
{
    for (int s = 0; s < SIZES; s++) {
        int n = sizes[s];
        float *x = numbers((size_t)n, 1, 2), *g = numbers((size_t)n, 2, 1),
              *dy = numbers((size_t)n, 3, 1), *dx = numbers((size_t)n, 4, 1), mean, scale;
        double *wide = xmalloc((size_t)n * sizeof *wide), average = 0, square = 0;
        for (int i = 0; i < n; i++)
            wide[i] = x[i];
        (centred ? r->norm_back : r->rms_norm_back)(dx, dy, x, g, 1e-3f, &mean, &scale, n);
        for (int i = 0; i < n; i++) {
            const double h = 1e-4;
            wide[i] = x[i] + h;
            double up = norm_loss(wide, g, dy, centred, n);
            wide[i] = x[i] - h;
            double down = norm_loss(wide, g, dy, centred, n);
            wide[i] = x[i];
            assert_near(dx[i], (up - down) / (2 * h), 2e-4);
            average += centred ? x[i] / (double)n : 0;
        }
        for (int i = 0; i < n; i++)
            square += (x[i] - average) * (x[i] - average) / n;
        assert_near(mean, average, 1e-5);
        assert_near(scale, 1 / sqrt(square + 1e-3), 1e-4 / sqrt(square + 1e-3));
        (centred ? r->norm_back : r->rms_norm_back)(dy, dy, x, g, 1e-3f, &mean, &scale, n);
        assert_memory_equal(dy, dx, (size_t)n * sizeof *dx);
        free(x);
        free(g);
        free(dy);
        free(dx);
        free(wide);
    }
}

static void sums_are_sums(const struct rows *r)
{
    enum { M = 9, LD = 800 };
    float *x = numbers(M * LD, 1, 1), *dy = numbers(M * LD, 2, 1), *mean = numbers(M, 3, 1),
          *scale = numbers(M, 4, 1);
    for (int s = 0; s < SIZES; s++) {
        int n = sizes[s];
        float *a = numbers((size_t)n, 5, 1), *b = numbers((size_t)n, 6, 1),
              *c = numbers((size_t)n, 7, 1), *a0 = numbers((size_t)n, 5, 1),
              *b0 = numbers((size_t)n, 6, 1), *c0 = numbers((size_t)n, 7, 1);
        r->norm_columns(a, b, dy, x, LD, mean, scale, M, n);
        r->norm_columns(a0, NULL, dy, x, LD, mean, scale, M, n);
        assert_memory_equal(a, a0, (size_t)n * sizeof *a);
        r->add_columns(c, x, LD, M, n);
        for (int i = 0; i < n; i++) {
            double da = 0, db = 0, dc = 0;
            for (int k = 0; k < M; k++) {
                da += (double)dy[k * LD + i] * ((double)x[k * LD + i] - mean[k]) * scale[k];
                db += dy[k * LD + i];
                dc += x[k * LD + i];
            }
            float *again = numbers((size_t)n, 5, 1);
            assert_near(a[i], again[i] + da, 1e-5);
            assert_near(b[i], b0[i] + db, 1e-5);
            assert_near(c[i], c0[i] + dc, 1e-5);
            free(again);
        }
        double dot = 0;
        for (int i = 0; i < n; i++)
            dot += (double)x[i] * dy[i];
        assert_near(r->dot(x, dy, n), dot, 1e-5 * n);
        r->add_scaled(b0, x, -0.5f, n);
        float *again = numbers((size_t)n, 6, 1);
        for (int i = 0; i < n; i++)
            assert_near(b0[i], again[i] - 0.5 * x[i], 1e-6);
        free(again);
        free(a);
        free(b);
        free(c);
        free(a0);
        free(b0);
        free(c0);
    }
    free(x);
    free(dy);
    free(mean);
    free(scale);
}

/* sum of dp · softmax(scale x) */
static double softmax_loss(const double *x, const float *dp, double scale, int n)
{
    double sum = 0, loss = 0;
    for (int i = 0; i < n; i++)
        sum += exp(scale * x[i]);
    for (int i = 0; i < n; i++)
        loss += dp[i] * exp(scale * x[i]) / sum;
    return loss;
}

static void softmax_gives_back(const struct rows *r)
{
    for (int s = 0; s < SIZES; s++) {
        int n = sizes[s];
        size_t room = (size_t)n + ROWS_PAD;
        float *p = numbers(room, 1, 2), *dp = numbers(room, 2, 1), *ds = numbers(room, 3, 1);
        double *x = xmalloc((size_t)n * sizeof *x);
        for (int i = 0; i < n; i++)
            x[i] = p[i];
        r->softmax_padded(p, 0.3f, n);
        r->softmax_back(ds, p, dp, 0.3f, n);
        for (int i = 0; i < n; i++) {
            const double h = 1e-4, before = x[i];
            x[i] = before + h;
            double up = softmax_loss(x, dp, 0.3f, n);
            x[i] = before - h;
            double down = softmax_loss(x, dp, 0.3f, n);
            x[i] = before;
            assert_near(ds[i], (up - down) / (2 * h), 1e-6);
        }
        r->softmax_back(dp, p, dp, 0.3f, n);
        assert_memory_equal(dp, ds, (size_t)n * sizeof *ds);
        free(p);
        free(dp);
        free(ds);
        free(x);
    }
}

static void test_every_table(void **state)
{
    (void)state;
    for (int isa = CPU_BASE; isa <= CPU_AVX512; isa++) {
        const struct rows *r = rows_of((enum cpu_isa)isa);
        if (!r)
            continue;
        activation_is(r->gelu_back, gelu);
        activation_is(r->gelu_tanh_back, gelu_tanh);
        activation_is(r->relu_back, relu);
        activation_is(r->tanh_back, tanh);
        norms_give_back(r, true);
        norms_give_back(r, false);
        sums_are_sums(r);
        softmax_gives_back(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
