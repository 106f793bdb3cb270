/* ops/linear.c against sums in double: shapes around its tiles and steps, both types, both layouts of W, any
 * number of threads. */
#include "ops/linear.h"

#include "ops/gemm.h"
#include "tests/ops/numbers.h"

static float rounded(float x, bool bf16)
{
    uint16_t b;
    if (!bf16)
        return x;
    rows()->to_bf16(&b, &x, 1);
    uint32_t bits = (uint32_t)b << 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

struct shape {
    int type, backend, n, o, k;
    bool inputs_first, add;
};

static void near(const struct shape *s, const char *what, int i, int j, double got, double expected)
{
    double within = 2e-6 * (s->n + s->o + s->k);
    if (!(fabs(got - expected) <= within))
        fail_msg("%s[%d][%d], type %d, %s, n %d o %d k %d, inputs first %d, add %d: got %.9g, "
                 "expected %.9g",
                 what, i, j, s->type, gemm_backend_name((enum gemm_backend)s->backend), s->n, s->o,
                 s->k, s->inputs_first, s->add, got, expected);
}

struct made {
    float *y, *dx, *dw, *db;
};

static struct made compute(enum product_type type, int threads, int n, int o, int k,
                           bool inputs_first, bool add)
{
    struct pool *pool = pool_open(threads);
    struct linear *l = linear_open(type, n, o > k ? o : k, pool);
    int ldx = k + 3, ldy = o + 5;
    float *x = numbers((size_t)(n * ldx), 1, 1), *w = numbers((size_t)(o * k), 2, 1),
          *b = numbers((size_t)o, 3, 1), *dy = numbers((size_t)(n * ldy), 4, 1);
    uint16_t *wb = xmalloc((size_t)(o * k) * sizeof *wb);
    rows()->to_bf16(wb, w, (size_t)(o * k));
    struct linear_weight lw = {w, wb, o, k, inputs_first};
    struct made m = {numbers((size_t)(n * ldy), 5, 1), numbers((size_t)(n * ldx), 6, 1),
                     numbers((size_t)(o * k), 7, 1), numbers((size_t)o, 8, 1)};
    linear_forward(l, x, ldx, n, lw, b, m.y, ldy);
    linear_backward(l, x, ldx, dy, ldy, n, lw, m.dw, m.db, m.dx, ldx, add);
    free(x);
    free(w);
    free(b);
    free(dy);
    free(wb);
    linear_close(l);
    pool_close(pool);
    return m;
}

static void done(struct made *m)
{
    free(m->y);
    free(m->dx);
    free(m->dw);
    free(m->db);
}

static void check(enum product_type type, int n, int o, int k, bool inputs_first, bool add)
{
    bool bf16 = type == PRODUCT_BF16;
    int ldx = k + 3, ldy = o + 5;
    struct made m = compute(type, 2, n, o, k, inputs_first, add);
    float *x = numbers((size_t)(n * ldx), 1, 1), *w = numbers((size_t)(o * k), 2, 1),
          *b = numbers((size_t)o, 3, 1), *dy = numbers((size_t)(n * ldy), 4, 1),
          *dx = numbers((size_t)(n * ldx), 6, 1), *dw = numbers((size_t)(o * k), 7, 1),
          *db = numbers((size_t)o, 8, 1);
    struct shape at = {(int)type, (int)gemm_backend(), n, o, k, inputs_first, add};
    for (int j = 0; j < o; j++) {
        double sum = db[j];
        for (int i = 0; i < n; i++)
            sum += dy[i * ldy + j];
        near(&at, "db", j, 0, m.db[j], sum);
        for (int p = 0; p < k; p++) {
            double s = dw[inputs_first ? p * o + j : j * k + p];
            for (int i = 0; i < n; i++)
                s += (double)rounded(dy[i * ldy + j], bf16) * rounded(x[i * ldx + p], bf16);
            near(&at, "dw", j, p, m.dw[inputs_first ? p * o + j : j * k + p], s);
        }
    }
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < o; j++) {
            double s = b[j];
            for (int p = 0; p < k; p++)
                s += (double)rounded(x[i * ldx + p], bf16) *
                     rounded(w[inputs_first ? p * o + j : j * k + p], bf16);
            near(&at, "y", i, j, m.y[i * ldy + j], s);
        }
        for (int p = 0; p < k; p++) {
            double s = add ? dx[i * ldx + p] : 0;
            for (int j = 0; j < o; j++)
                s += (double)rounded(dy[i * ldy + j], bf16) *
                     rounded(w[inputs_first ? p * o + j : j * k + p], bf16);
            near(&at, "dx", i, p, m.dx[i * ldx + p], s);
        }
        for (int p = k; p < ldx && i + 1 < n; p++) /* between the rows nothing is written */
            assert_true(m.dx[i * ldx + p] == dx[i * ldx + p]);
    }
    done(&m);
    free(x);
    free(w);
    free(b);
    free(dy);
    free(dx);
    free(dw);
    free(db);
}

static void test_against_sums(void **state)
{
    (void)state;
    static const int shapes[][3] = {{1, 1, 1},    {1, 10, 32},   {5, 32, 48},    {16, 64, 32},
                                    {17, 33, 65}, {63, 400, 20}, {193, 385, 40}, {200, 24, 390}};
    enum gemm_backend before = gemm_backend();
    for (int b = 0; b < GEMM_BACKENDS; b++) {
        if (!gemm_backend_built((enum gemm_backend)b))
            continue;
        gemm_backend_set((enum gemm_backend)b);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int form = 0; form < 4; form++) {
                const int *s = shapes[i];
                check(PRODUCT_FP32, s[0], s[1], s[2], form & 1, form & 2);
                if (i < 6 || b == GEMM_ONEDNN)
                    check(PRODUCT_BF16, s[0], s[1], s[2], form & 1, form & 2);
            }
    }
    gemm_backend_set(before);
}

static void test_threads_do_not_matter(void **state)
{
    (void)state;
    for (int t = 0; t < 2; t++) {
        enum product_type type = t ? PRODUCT_BF16 : PRODUCT_FP32;
        int n = 401, o = 500, k = 130;
        struct made one = compute(type, 1, n, o, k, false, true),
                    four = compute(type, 4, n, o, k, false, true);
        for (int i = 0; i < n; i++) {
            assert_memory_equal(one.y + i * (o + 5), four.y + i * (o + 5),
                                (size_t)o * sizeof(float));
            assert_memory_equal(one.dx + i * (k + 3), four.dx + i * (k + 3),
                                (size_t)k * sizeof(float));
        }
        assert_memory_equal(one.dw, four.dw, (size_t)(o * k) * sizeof(float));
        assert_memory_equal(one.db, four.db, (size_t)o * sizeof(float));
        done(&one);
        done(&four);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_sums),
                                       cmocka_unit_test(test_threads_do_not_matter)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
