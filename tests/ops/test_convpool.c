#include "ops/convpool.h"

#include "ops/convpool_fixed.h"
#include "ops/rows.h"
#include "tests/ops/numbers.h"

static size_t column(const struct convpool *s, int wi, int j, int f)
{
    size_t c = 0;
    for (int i = 0; i < wi; i++)
        c += (size_t)s->widths[i] * s->n_filters;
    return c + (size_t)j * s->n_filters + f;
}

/* One window in double, past the end nothing. */
static double window(const struct convpool *s, const double *p, const int32_t *row, int n, int wi,
                     int f, int t)
{
    double sum = 0;
    for (int j = 0; j < s->widths[wi] && t + j < n; j++)
        sum += p[(size_t)row[t + j] * s->stride + column(s, wi, j, f)];
    return sum;
}

static double twin(const struct convpool *s, const double *p, const int32_t *row, int n, int wi,
                   int f, int *arg)
{
    double best = -INFINITY;
    for (int t = 0; t < n; t++) {
        double sum = window(s, p, row, n, wi, f, t);
        if (sum > best) {
            best = sum;
            *arg = t;
        }
    }
    return best;
}

static void test_hand(void **state)
{
    (void)state;
    struct convpool s = {1, 2, {1, 2}, 3};
    const float p[] = {1,    10, 100, /* row 0: width 1; width 2, taps 0 and 1 */ 2, -20, 5,
                       0.5f, 30, -200};
    const int32_t row[] = {0, 1, 2};
    float y[2];
    int32_t arg[2];
    convpool_forward(&s, p, row, 3, y, arg);
    assert_near(y[0], 2, 0); /* 1, 2, 0.5 */
    assert_int_equal(arg[0], 1);
    assert_near(y[1], 30, 0); /* 10 + 5, -20 - 200, 30 + nothing */
    assert_int_equal(arg[1], 2);
    convpool_forward(&s, p, row, 1, y, arg);
    assert_near(y[1], 10, 0); /* a title shorter than the filter has one window */
    const int32_t same[] = {1, 1, 1};
    convpool_forward(&s, p, same, 3, y, arg);
    assert_int_equal(arg[0], 0); /* the first of equals */
}

/* The bfloat16 table gives the bits that a float table of the rounded cells gives. */
static void check_bf16(const struct convpool *s, const float *p, int n_rows, const int32_t *row)
{
    size_t cells = (size_t)n_rows * s->stride;
    int features = s->n_widths * s->n_filters;
    uint16_t *half = xmalloc(cells * sizeof *half);
    float *rounded = xmalloc(cells * sizeof *rounded), *y = xmalloc(sizeof *y * features),
          *z = xmalloc(sizeof *z * features);
    rows()->to_bf16(half, p, cells);
    for (size_t i = 0; i < cells; i++) {
        uint32_t bits = (uint32_t)half[i] << 16;
        memcpy(&rounded[i], &bits, sizeof bits);
        assert_true(fabsf(rounded[i] - p[i]) <= fabsf(p[i]) / 256);
    }
    for (int n = 1; n <= 40; n += n < 9 ? 1 : 10) {
        convpool_forward(s, rounded, row, n, y, NULL);
        convpool_forward_bf16(s, half, row, n, z);
        assert_memory_equal(y, z, sizeof *y * features);
    }
    free(half);
    free(rounded);
    free(y);
    free(z);
}

static void check(struct convpool s, int n_rows)
{
    for (int i = 0; i < s.n_widths; i++)
        s.stride += s.widths[i] * s.n_filters;
    size_t cells = (size_t)n_rows * s.stride;
    int features = s.n_widths * s.n_filters;
    float *p = numbers(cells, 5, 1), *y = xmalloc(sizeof *y * features);
    double *wide = xmalloc(cells * sizeof *wide);
    int32_t *arg = xmalloc(sizeof *arg * features), row[40];
    for (size_t i = 0; i < cells; i++)
        wide[i] = p[i];
    for (int i = 0; i < 40; i++)
        row[i] = (int32_t)(rng_u64(1, 2, (uint64_t)i) % (unsigned)n_rows);
    check_bf16(&s, p, n_rows, row);
    for (int n = 1; n <= 40; n += n < 9 ? 1 : 10) {
        convpool_forward(&s, p, row, n, y, arg);
        for (int wi = 0; wi < s.n_widths; wi++)
            for (int f = 0; f < s.n_filters; f++) {
                int at = 0, i = wi * s.n_filters + f;
                double best = twin(&s, wide, row, n, wi, f, &at);
                assert_near(y[i], best, 4e-6);
                assert_near(window(&s, wide, row, n, wi, f, arg[i]), best, 4e-6);
            }
    }
    free(p);
    free(y);
    free(wide);
    free(arg);
}

/* The table in fixed point is within half a step a tap of the twin, and what it sums is exact: no
 * window overflows, the largest ones included. */
static void check_fixed(struct convpool s, enum convpool_cell cell, int n_rows)
{
    for (int i = 0; i < s.n_widths; i++)
        s.stride += s.widths[i] * s.n_filters;
    size_t cells = (size_t)n_rows * s.stride, bytes = convpool_fixed_bytes(&s, cell, n_rows);
    int padded = convpool_padded(&s), filters = s.n_filters;
    enum { TITLES = 9 };
    int32_t start[TITLES + 1] = {0}, row[200];
    for (int i = 0; i < TITLES; i++) /* 1, 2, ... 8 and 40 characters */
        start[i + 1] = start[i] + (i < 8 ? i + 1 : 40);
    for (int i = 0; i < start[TITLES]; i++)
        row[i] = (int32_t)(rng_u64(1, 2, (uint64_t)i) % (unsigned)n_rows);
    float *p = numbers(cells, 5, 1);
    for (int i = 0; i < s.n_widths; i++)
        for (int j = 0; j < s.widths[i];
             j++) { /* every title of this row's alone is at the limit */
            p[column(&s, i, j, 0)] = 3;
            for (int r = 0; r < n_rows && filters > 1; r++)
                p[(size_t)r * s.stride + column(&s, i, j, 1)] = 0;
        }
    for (int i = start[TITLES - 1]; i < start[TITLES]; i++)
        row[i] = i % 11 ? 0 : row[i];
    double *wide = xmalloc(cells * sizeof *wide);
    for (size_t i = 0; i < cells; i++)
        wide[i] = p[i];
    float *most = xcalloc((size_t)s.stride, sizeof *most),
          *scale = xmalloc(sizeof *scale * s.n_widths * filters);
    char *table = xcalloc(bytes, 1);
    int16_t *y = xmalloc(sizeof *y * TITLES * s.n_widths * padded);
    convpool_most(&s, p, 2, most); /* in two parts */
    convpool_most(&s, p + 2 * s.stride, n_rows - 2, most);
    convpool_scales(&s, cell, most, scale);
    convpool_fix(&s, cell, scale, p, 0, 2, n_rows, table);
    convpool_fix(&s, cell, scale, p + 2 * s.stride, 2, n_rows - 2, n_rows, table);
    convpool_fixed(&s, cell, table, n_rows, row, start, TITLES, y);
    for (int i = 0; i < TITLES; i++)
        for (int wi = 0; wi < s.n_widths; wi++)
            for (int f = 0; f < padded; f++) {
                int q = y[((size_t)i * s.n_widths + wi) * padded + f], at;
                if (f >= filters) {
                    assert_int_equal(q, 0);
                    continue;
                }
                double step = scale[wi * filters + f], got = q * step;
                double best = twin(&s, wide, row + start[i], start[i + 1] - start[i], wi, f, &at);
                assert_near(got, best, step * (0.5 * s.widths[wi] + 1e-3) + 1e-7);
                if (f == 1)
                    assert_true(step == 0);
            }
    assert_true(scale[0] <= (cell == CONVPOOL_INT8 ? 3.001 / 127 : 3.001 * s.widths[0] / 32000));
    free(p);
    free(wide);
    free(most);
    free(scale);
    free(table);
    free(y);
}

static void test_fixed(void **state)
{
    (void)state;
    for (int cell = CONVPOOL_INT16; cell <= CONVPOOL_INT8; cell++) {
        check_fixed((struct convpool){.n_filters = 1, .n_widths = 1, .widths = {1}}, cell, 3);
        check_fixed((struct convpool){.n_filters = 7, .n_widths = 3, .widths = {2, 3, 4}}, cell,
                    11);
        check_fixed((struct convpool){.n_filters = 128, .n_widths = 3, .widths = {5, 1, 16}}, cell,
                    11);
        check_fixed((struct convpool){.n_filters = 131, .n_widths = 2, .widths = {3, 2}}, cell, 11);
    }
}

static void test_twin(void **state)
{
    (void)state;
    check((struct convpool){.n_filters = 1, .n_widths = 1, .widths = {1}}, 3);
    check((struct convpool){.n_filters = 7, .n_widths = 3, .widths = {2, 3, 4}}, 11);
    check((struct convpool){.n_filters = 64, .n_widths = 3, .widths = {5, 1, 9}}, 11);
    check((struct convpool){.n_filters = 131, .n_widths = 2, .widths = {3, 2}}, 11);
}

/* dP is the gradient of sum(dy * y): compared with differences of the twin, which is piecewise
 * linear. */
static void test_backward(void **state)
{
    (void)state;
    struct convpool s = {9, 2, {2, 3}, 45};
    enum { ROWS = 6, TITLES = 4, FEATURES = 18 };
    /* the last two titles are the same: what they add meets in the same cells */
    const int32_t start[] = {0, 1, 3, 8, 13}, row[] = {2, 0, 0, 5, 4, 3, 4, 5, 5, 4, 3, 4, 5};
    size_t cells = ROWS * 45;
    float *p = numbers(cells, 1, 1), *dy = numbers(TITLES * FEATURES, 2, 1),
          *dp = numbers(cells, 3, 1);
    float y[FEATURES];
    int32_t arg[TITLES * FEATURES];
    dy[5] = 0;
    for (int b = 0; b < TITLES; b++)
        convpool_forward(&s, p, row + start[b], start[b + 1] - start[b], y, arg + b * FEATURES);
    for (int wi = 0; wi < 2; wi++) { /* in unequal blocks; every column is cleared by one of them */
        convpool_backward(&s, wi, 0, 4, row, start, TITLES, dy, arg, dp, ROWS);
        convpool_backward(&s, wi, 4, 5, row, start, TITLES, dy, arg, dp, ROWS);
    }
    double wide[ROWS * 45];
    for (size_t i = 0; i < cells; i++)
        wide[i] = p[i];
    for (size_t i = 0; i < cells; i++) {
        double side[2], h = 1e-6;
        for (int k = 0; k < 2; k++) {
            double kept = wide[i];
            int at;
            wide[i] += k ? h : -h;
            side[k] = 0;
            for (int b = 0; b < TITLES; b++)
                for (int f = 0; f < FEATURES; f++)
                    side[k] +=
                        dy[b * FEATURES + f] *
                        twin(&s, wide, row + start[b], start[b + 1] - start[b], f / 9, f % 9, &at);
            wide[i] = kept;
        }
        assert_near(dp[i], (side[1] - side[0]) / (2 * h), 1e-5);
    }
    free(p);
    free(dy);
    free(dp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hand), cmocka_unit_test(test_twin),
                                       cmocka_unit_test(test_fixed),
                                       cmocka_unit_test(test_backward)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
