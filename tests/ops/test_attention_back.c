/* Gradients of every kind of attention against finite differences of the definition in double, with
 * and without dropout. */
#include "ops/attention_back.h"

#include "ops/dropout.h"
#include "tests/ops/attention_sample.h"

/* What a loss is taken of: sum of weight · y over the queries first .. first + n_q of all heads. */
struct problem {
    struct sample s;
    struct attention_dropout drop;
    float *weight; /* [n_q, w] */
    int first, n_q;
};

static double loss(const struct problem *p)
{
    int d = p->s.d, w = H * d, t = p->s.t;
    double sum = 0;
    for (int h = 0; h < H; h++)
        for (int i = 0; i < p->n_q; i++) {
            float ones[MAX_T], mask[MAX_T];
            double y[64];
            for (int j = 0; j < t; j++)
                ones[j] = 1;
            dropout_row(mask, ones, t, p->drop.p, p->drop.seed, p->drop.step,
                        p->drop.row + (uint32_t)(h * MAX_T + p->first + i));
            oracle(&p->s, h, p->first + i, mask, y);
            for (int c = 0; c < d; c++)
                sum += y[c] * p->weight[i * w + h * d + c];
        }
    return sum;
}

/* The loss's derivative by *x; x is a factor of the loss. */
static double slope(const struct problem *p, float *x)
{
    const float before = *x, up = before + 2e-3f, down = before - 2e-3f;
    *x = up;
    double high = loss(p);
    *x = down;
    double low = loss(p);
    *x = before;
    return (high - low) / ((double)up - (double)down);
}

/* Some elements of a gradient that was added to numbers(n, stream). */
static void near_slopes(const struct problem *p, const char *what, float *x, const float *g,
                        size_t n, uint64_t stream)
{
    float *was = numbers(n, stream, stream ? 1 : 0);
    for (size_t k = 0; k < 9; k++) {
        size_t i = rng_u64(3, stream + 77, k) % n;
        double expected = slope(p, &x[i]) + was[i];
        if (!(fabs(g[i] - expected) <= 2e-3 + 1e-3 * fabs(expected)))
            fail_msg("%s[%zu]: got %g, expected %g", what, i, g[i], expected);
    }
    free(was);
}

/* The sample's key tables hold copies of its rows: their slopes are taken through a table of its own. */
static double slope_by_distance(struct problem *p, size_t i)
{
    return slope(p, &p->s.by_distance[i]);
}

static void check(int d, int t, unsigned with, int first, int n_q, float dropped)
{
    struct problem p = {
        .s = make(d, t, with), .drop = {dropped, 5, 6, 1000}, .first = first, .n_q = n_q};
    const struct attention *a = &p.s.a;
    int w = H * d, n = 2 * MAX_T - 1;
    size_t nq = (size_t)(n_q * w), nt = (size_t)(t * w);
    p.weight = numbers(nq, 30, 1);
    float *y = numbers(nq + ROWS_PAD, 20, 1), *scratch = numbers(attention_scratch(a), 21, 1),
          *back = numbers(attention_back_scratch(a), 22, 1),
          *prob = numbers((size_t)(H * n_q * attention_columns(t)), 23, 1),
          *dq = numbers(nq, 24, 1), *dk = numbers(nt, 25, 1), *dv = numbers(nt, 26, 1);
    float *rows_grad = numbers((size_t)(n * w), 31, 1), *q_bias = numbers((size_t)w, 32, 1),
          *position = numbers((size_t)w, 33, 1), *bias = numbers((size_t)(H * n), 34, 1),
          *segment = numbers((size_t)(2 * w), 35, 1), *segment_bias = numbers((size_t)w, 36, 1);
    bool by_head = with & KEYS_BY_HEAD;
    struct attention_back g = {.key_rows = a->key_table ? p.s.by_distance : NULL,
                               .ld_key_rows = w,
                               .one_table = !by_head,
                               .key_rows_grad = by_head ? rows_grad : NULL,
                               .q_bias_grad = a->q_bias ? q_bias : NULL,
                               .position_bias_grad = a->position_bias ? position : NULL,
                               .distance_bias_grad = a->distance_bias ? bias : NULL,
                               .segment_grad = a->segment ? segment : NULL,
                               .segment_bias_grad = a->segment ? segment_bias : NULL};
    const float *q = p.s.q + first * w;
    for (int h = 0; h < H; h++) {
        float *ph = prob + h * n_q * attention_columns(t);
        attention_train(a, h, q, w, n_q, first, p.s.k, p.s.v, w, t, y, w, ph, &p.drop, scratch);
        attention_back(a, &g, h, q, w, n_q, first, p.s.k, p.s.v, w, t, ph, &p.drop, p.weight, w, dq,
                       w, dk, dv, w, back);
    }
    double sum = 0;
    for (size_t i = 0; i < nq; i++)
        sum += (double)y[i] * p.weight[i];
    assert_near(sum, loss(&p), 1e-4 * (double)nq);
    near_slopes(&p, "dq", p.s.q + first * w, dq, nq, 0);
    near_slopes(&p, "dk", p.s.k, dk, nt, 0);
    near_slopes(&p, "dv", p.s.v, dv, nt, 0);
    if (a->q_bias)
        near_slopes(&p, "q bias", p.s.vec[0], q_bias, (size_t)w, 32);
    if (a->position_bias)
        near_slopes(&p, "position bias", p.s.vec[1], position, (size_t)w, 33);
    if (a->distance_bias)
        near_slopes(&p, "distance bias", p.s.bias, bias, (size_t)(H * n), 34);
    if (a->segment) {
        near_slopes(&p, "segments", p.s.segment, segment, (size_t)(2 * w), 35);
        near_slopes(&p, "segment bias", p.s.vec[2], segment_bias, (size_t)w, 36);
    }
    for (size_t k = 0; by_head && k < 9; k++) {
        size_t row = (size_t)MAX_T - 1 + rng_u64(4, 1, k) % (size_t)t;
        size_t i = (row - (k % 2 ? (size_t)t - 1 : 0)) * (size_t)w + rng_u64(4, 2, k) % (size_t)w;
        float *was = numbers((size_t)(n * w), 31, 1);
        assert_near(rows_grad[i], slope_by_distance(&p, i) + was[i], 3e-3);
        free(was);
    }
    float *const all[] = {p.weight, y,         scratch, back,     prob, dq,      dk,
                          dv,       rows_grad, q_bias,  position, bias, segment, segment_bias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    done(&p.s);
}

static void test_families(void **state)
{
    (void)state;
    static const int ts[] = {1, 2, 7, 20, 33}, ds[] = {5, 16, 24};
    for (size_t f = 0; f < sizeof sample_families / sizeof *sample_families; f++)
        for (int i = 0; i < 5; i++)
            for (int j = 0; j < 3; j++) {
                check(ds[j], ts[i], sample_families[f], 0, ts[i], 0);
                check(ds[j], ts[i], sample_families[f], 0, ts[i], 0.3f);
                check(ds[j], ts[i], sample_families[f], ts[i] - 1, 1, 0.3f);
                check(ds[j], ts[i], sample_families[f], 0, 1, 0);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_families)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
