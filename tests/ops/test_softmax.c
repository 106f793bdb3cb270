#include "ops/softmax.h"

#include "tests/ops/numbers.h"

static void test_softmax(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 7, 10, 31, 768};
    for (int s = 0; s < 6; s++) {
        int n = sizes[s];
        float *x = numbers((size_t)n, 1, 4), *p = xmalloc((size_t)n * sizeof *p);
        double sum = 0, total = 0;
        for (int i = 0; i < n; i++)
            sum += exp((double)x[i]);
        softmax_row(p, x, n);
        for (int i = 0; i < n; i++) {
            assert_near(p[i], exp((double)x[i]) / sum, 1e-6);
            total += p[i];
        }
        assert_near(total, 1, 1e-5);
        softmax_row(x, x, n); /* in place */
        assert_memory_equal(x, p, (size_t)n * sizeof *p);
        free(x);
        free(p);
    }
    float far[] = {-3e38f, 1e30f, 0};
    softmax_row(far, far, 3);
    assert_near(far[1], 1, 1e-6);
}

static double twin(const double *x, int n, int label, double s)
{
    double sum = 0, loss = 0;
    for (int i = 0; i < n; i++)
        sum += exp(x[i]);
    for (int i = 0; i < n; i++)
        loss -= ((i == label ? 1 - s : 0) + s / n) * (x[i] - log(sum));
    return loss;
}

static void test_cross_entropy(void **state)
{
    (void)state;
    enum { N = 7 };
    float *x = numbers(N, 3, 2), dx[N];
    double wide[N];
    for (int i = 0; i < N; i++)
        wide[i] = x[i];
    for (int k = 0; k < 2; k++) {
        float s = k ? 0.1f : 0.0f;
        for (int label = 0; label < N; label++) {
            double loss = softmax_cross_entropy(dx, x, N, label, s, 0.25f);
            assert_near(loss, twin(wide, N, label, s), 1e-7);
            assert_near(softmax_cross_entropy(NULL, x, N, label, s, 1), loss, 0);
            for (int i = 0; i < N; i++) {
                double kept = wide[i], h = 1e-5;
                wide[i] = kept + h;
                double up = twin(wide, N, label, s);
                wide[i] = kept - h;
                double down = twin(wide, N, label, s);
                wide[i] = kept;
                assert_near(dx[i], 0.25 * (up - down) / (2 * h), 1e-7);
            }
        }
    }
    float copy[N];
    memcpy(copy, x, sizeof copy);
    (void)softmax_cross_entropy(dx, x, N, 2, 0.1f, 1);
    (void)softmax_cross_entropy(copy, copy, N, 2, 0.1f, 1); /* in place */
    assert_memory_equal(copy, dx, sizeof dx);
    free(x);
}

/* In double, from the formula. */
static double taught_loss(const double *x, int n, int label, double smoothing, const float *q,
                          double t, double part)
{
    double sum = 0, warm = 0, loss = 0, soft = label < 0 ? 1 : part;
    for (int i = 0; i < n; i++) {
        sum += exp(x[i]);
        warm += exp(x[i] / t);
    }
    for (int i = 0; i < n; i++) {
        double target = smoothing / n + (i == label ? 1 - smoothing : 0);
        loss += (1 - soft) * target * (log(sum) - x[i]);
        loss += soft * t * t * (double)q[i] * (log((double)q[i]) - (x[i] / t - log(warm)));
    }
    return loss;
}

static void test_taught(void **state)
{
    (void)state;
    enum { N = 10 };
    float *x = numbers(N, 1, 3), *teacher = numbers(N, 2, 2), q[N], dx[N];
    softmax_row(q, teacher, N);
    for (int label = -1; label < 2; label++)
        for (int k = 0; k < 3; k++) {
            const double t = (double[]){1, 2, 4.5}[k], part = (double[]){0.9, 0.5, 0}[k];
            double z[N],
                got = softmax_taught(dx, x, N, label, 0.1f, 0.5f, q, (float)t, (float)part);
            for (int i = 0; i < N; i++)
                z[i] = (double)x[i];
            assert_near(got, taught_loss(z, N, label, 0.1, q, t, (double)(float)part), 1e-6);
            for (int i = 0; i < N; i++) {
                const double h = 1e-5;
                z[i] += h;
                double up = taught_loss(z, N, label, 0.1, q, t, part);
                z[i] -= 2 * h;
                double down = taught_loss(z, N, label, 0.1, q, t, part);
                z[i] += h;
                assert_near(dx[i], 0.5 * (up - down) / (2 * h), 1e-5);
            }
        }
    /* No part of the teacher: the labels' loss. */
    float plain[N];
    double a = softmax_taught(dx, x, N, 3, 0.1f, 1, q, 2, 0),
           b = softmax_cross_entropy(plain, x, N, 3, 0.1f, 1);
    assert_near(a, b, 1e-12);
    for (int i = 0; i < N; i++)
        assert_near(dx[i], plain[i], 1e-6);
    free(x);
    free(teacher);
}

static void test_long_rows(void **state)
{
    (void)state;
    enum { N = 21128 };
    float *x = numbers(N, 1, 6), *a = xmalloc(N * sizeof *a), *b = xmalloc(N * sizeof *b);
    double one = softmax_cross_entropy(a, x, N, 77, 0, 0.25f),
           two = softmax_cross_entropy_long(b, x, N, 77, 0.25f);
    assert_near(one, two, 1e-4);
    for (int i = 0; i < N; i++)
        assert_near(a[i], b[i], 1e-7);
    free(x);
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_softmax), cmocka_unit_test(test_taught),
        cmocka_unit_test(test_long_rows), cmocka_unit_test(test_cross_entropy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
