/* Growing trees: every question is the best there is, by a search that knows nothing of bins and lists; the sample, the
 * limits; the same bytes on any number of threads; `fit --arch forest`. */
#include "tests/trainer/run.h"

#include <math.h>

#include "base/rng.h"
#include "trainer/forest_train.h"

enum { ROWS = 300, COLUMNS = 40, MOST = 12, LABELS = 3 };

/* Rows that a label makes likely; a feature has up to three values, so that bins hold one each. */
struct sample {
    struct sparse x;
    int64_t start[ROWS + 1];
    int32_t count[ROWS], index[ROWS * MOST], labels[ROWS];
    float value[ROWS * MOST], full[ROWS][COLUMNS];
};

static void make(struct sample *s)
{
    static const float values[3] = {0.25f, 0.5f, 0.75f};
    memset(s, 0, sizeof *s);
    for (int32_t i = 0; i < ROWS; i++) {
        int32_t n = 0;
        s->labels[i] = i % LABELS;
        s->start[i] = (int64_t)i * MOST;
        for (int32_t f = 0; f < COLUMNS && n < MOST; f++) {
            uint64_t at = (uint64_t)(i * COLUMNS + f);
            if (rng_uniform(4, 1, at) > (f % LABELS == s->labels[i] ? 0.35 : 0.2))
                continue;
            float v = values[(int)(rng_uniform(4, 2, at) * 3)];
            s->full[i][f] = v;
            s->index[s->start[i] + n] = f;
            s->value[s->start[i] + n++] = v;
        }
        s->count[i] = n;
    }
    s->x = (struct sparse){ROWS, COLUMNS, s->start, s->count, s->index, s->value};
}

static double gini(const int32_t *of, int32_t n)
{
    double sum = 1;
    for (int k = 0; k < LABELS; k++)
        sum -= n ? (double)of[k] / n * of[k] / n : 0;
    return sum;
}

/* Mean impurity of the sides of a question about titles. */
static double impurity(const struct sample *s, const bool *in, int32_t f, float threshold)
{
    int32_t side[2][LABELS] = {{0}}, n[2] = {0};
    for (int32_t i = 0; i < ROWS; i++)
        if (in[i]) {
            int right = s->full[i][f] > threshold;
            side[right][s->labels[i]]++;
            n[right]++;
        }
    if (!n[0] || !n[1])
        return INFINITY;
    return (n[0] * gini(side[0], n[0]) + n[1] * gini(side[1], n[1])) / (n[0] + n[1]);
}

/* The subtree at a place, told about its titles; its depth. */
static int check_tree(const struct sample *s, const struct forest *f, int32_t at, const bool *in)
{
    if (at < 0) {
        const float *leaf = f->leaf + (size_t)(-1 - at) * LABELS;
        int32_t of[LABELS] = {0}, n = 0;
        for (int32_t i = 0; i < ROWS; i++)
            if (in[i]) {
                of[s->labels[i]]++;
                n++;
            }
        for (int k = 0; k < LABELS; k++)
            assert_true(fabs((double)of[k] / n - (double)leaf[k]) < 1e-6);
        return 0;
    }
    static const float thresholds[] = {0, 0.25f, 0.5f};
    const struct forest_node *node = &f->node[at];
    double best = INFINITY, is = impurity(s, in, node->feature, node->threshold);
    for (int32_t c = 0; c < COLUMNS; c++)
        for (int k = 0; k < 3; k++)
            best = fmin(best, impurity(s, in, c, thresholds[k]));
    assert_true(is <= best + 1e-9);
    int depth = 0;
    for (int side = 0; side < 2; side++) {
        bool part[ROWS];
        for (int32_t i = 0; i < ROWS; i++)
            part[i] = in[i] && (s->full[i][node->feature] > node->threshold) == side;
        int d = check_tree(s, f, node->child[side], part);
        depth = d > depth ? d : depth;
    }
    return depth + 1;
}

static void best_questions(void **state)
{
    (void)state;
    static struct sample s;
    make(&s);
    struct forest_options opt = {.trees = 1, .min_leaf = 1, .max_features = COLUMNS, .seed = 1};
    struct pool *pool = pool_open(1);
    struct forest f;
    bool all[ROWS];
    double oob;
    for (int32_t i = 0; i < ROWS; i++)
        all[i] = true;
    forest_train(&s.x, s.labels, LABELS, &opt, pool, &f, &oob);
    assert_true(isnan(oob));
    assert_true(check_tree(&s, &f, f.root[0], all) > 6);
    double right = 0;
    struct forest_row row = forest_row_open(COLUMNS);
    for (int32_t i = 0; i < ROWS; i++) {
        double sum[LABELS] = {0};
        forest_row_put(&row, s.index + s.start[i], s.value + s.start[i], s.count[i]);
        forest_add(&f, &row, 0, 1, sum);
        forest_row_clear(&row, s.index + s.start[i], s.count[i]);
        right += sum[s.labels[i]] > 0.5;
    }
    assert_true(right / ROWS > 0.95); /* but for equal rows of two labels */
    forest_row_close(&row);
    forest_done(&f);
    opt.max_depth = 3;
    forest_train(&s.x, s.labels, LABELS, &opt, pool, &f, &oob);
    assert_int_equal(check_tree(&s, &f, f.root[0], all), 3);
    assert_true(f.nodes <= 7);
    forest_done(&f);
    pool_close(pool);
}

static void least_leaf(const struct sample *s, const struct forest *f, int32_t at, const bool *in,
                       int32_t least)
{
    int32_t n = 0;
    for (int32_t i = 0; i < ROWS; i++)
        n += in[i];
    assert_true(n >= least);
    for (int side = 0; at >= 0 && side < 2; side++) {
        bool part[ROWS];
        for (int32_t i = 0; i < ROWS; i++)
            part[i] = in[i] && (s->full[i][f->node[at].feature] > f->node[at].threshold) == side;
        least_leaf(s, f, f->node[at].child[side], part, least);
    }
}

static void samples_and_limits(void **state)
{
    (void)state;
    static struct sample s;
    make(&s);
    struct forest_options opt = {.trees = 40, .min_leaf = 1, .seed = 1, .bootstrap = true};
    struct forest one, two, other;
    double a, b, c;
    struct pool *pool = pool_open(1), *pool3 = pool_open(3);
    forest_train(&s.x, s.labels, LABELS, &opt, pool, &one, &a);
    forest_train(&s.x, s.labels, LABELS, &opt, pool3, &two, &b);
    assert_true(a == b && a > 0.45 && a < 1); /* chance is a third */
    assert_int_equal(one.nodes, two.nodes);
    assert_int_equal(one.leaves, two.leaves);
    assert_memory_equal(one.node, two.node, (size_t)one.nodes * sizeof *one.node);
    assert_memory_equal(one.leaf, two.leaf, (size_t)one.leaves * LABELS * sizeof *one.leaf);
    assert_memory_equal(one.root, two.root, 40 * sizeof *one.root);
    opt.seed = 2;
    forest_train(&s.x, s.labels, LABELS, &opt, pool, &other, &c);
    assert_true(other.nodes != one.nodes ||
                memcmp(one.node, other.node, (size_t)one.nodes * sizeof *one.node) != 0);
    forest_done(&one);
    forest_done(&two);
    forest_done(&other);
    bool all[ROWS];
    for (int32_t i = 0; i < ROWS; i++)
        all[i] = true;
    opt = (struct forest_options){.trees = 1, .min_leaf = 20, .max_features = COLUMNS, .seed = 1};
    forest_train(&s.x, s.labels, LABELS, &opt, pool, &one, &a);
    assert_true(one.nodes > 2);
    least_leaf(&s, &one, one.root[0], all, 20);
    forest_done(&one);
    pool_close(pool);
    pool_close(pool3);
}

static void fits(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, "--arch", "forest", "--data", TINY, "--out", "%/m",
                              "--trees", "60", "--threads", "2", "--log-json", "%/log"),
                     0);
    run_expect_text("stdout", "out of bag ");
    run_expect_text("log", "\"out_of_bag_accuracy\":");
    run_expect_text("m/config.json", "\"num_trees\": 60");
    run_expect_text("m/lineage.json", "\"trees\": \"60\"");
    assert_int_equal(run_verb(verb_fit, "--arch", "forest", "--data", TINY, "--out", "%/n",
                              "--trees", "60", "--threads", "1"),
                     0);
    char *a = run_read("m/model.safetensors", NULL), *b = run_read("n/model.safetensors", NULL);
    assert_string_equal(a, b);
    free(a);
    free(b);
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/m", "--data", TINY "/train.txt"), 0);
    run_expect_text("stdout", "accuracy 100.00 %");
    assert_int_equal(run_verb(verb_calibrate, "--model", "%/m", "--titles", TINY "/dev.txt"), 0);
    assert_int_not_equal(run_verb(verb_fit, "--arch", "forest", "--data", TINY, "--out", "%/m"), 0);
    run_expect_text("stderr", "holds a model already");
    assert_int_not_equal(
        run_verb(verb_fit, "--arch", "forest", "--data", TINY, "--out", "%/x", "--min-df", "9999"),
        0);
    run_expect_text("stderr", "n-gram");
    assert_false(run_exists("x/model.safetensors"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_questions),
        cmocka_unit_test(samples_and_limits),
        cmocka_unit_test_setup_teardown(fits, run_setup, run_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
