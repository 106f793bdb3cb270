#include "models/forest.h"

#include "models/model.h"
#include "tests/models/golden.h"

static const char golden_path[] = "tests/golden/forest.safetensors";
enum { VOCAB = 40, LABELS = 4 };

struct oracle {
    struct safetensors *st;
    struct batch dev;
    struct ngrams *g;
    struct forest f;
    float *probabilities;
};

static struct oracle oracle_open(void)
{
    struct oracle o = {.st = golden_open(golden_path)};
    struct err err;
    int32_t n, leaves;
    int64_t *keys = golden_copy(o.st, "ngrams", DT_I64, &n);
    float *idf = golden_copy(o.st, "idf", DT_F32, NULL);
    assert_int_equal(ngrams_from("golden", keys, idf, n, &o.g, &err), 0);
    o.dev = golden_batch(o.st, "dev.ids", "dev.start", NULL);
    o.f.root = golden_copy(o.st, "root", DT_I32, &o.f.trees);
    int32_t *feature = golden_copy(o.st, "feature", DT_I32, &o.f.nodes);
    float *threshold = golden_copy(o.st, "threshold", DT_F32, NULL);
    int32_t *child = golden_copy(o.st, "child", DT_I32, NULL);
    o.f.leaf = golden_copy(o.st, "leaf", DT_F32, &leaves);
    o.f.leaves = leaves / LABELS;
    o.f.labels = LABELS;
    o.f.node = xcalloc((size_t)o.f.nodes, sizeof *o.f.node);
    for (int32_t i = 0; i < o.f.nodes; i++)
        o.f.node[i] = (struct forest_node){
            feature[i], threshold[i], {child[2 * (size_t)i], child[2 * (size_t)i + 1]}};
    o.probabilities = golden_copy(o.st, "probabilities", DT_F32, NULL);
    free(keys);
    free(idf);
    free(feature);
    free(threshold);
    free(child);
    return o;
}

static void oracle_done(struct oracle *o)
{
    free(o->probabilities);
    ngrams_close(o->g);
    forest_done(&o->f);
    golden_batch_done(&o->dev);
    safetensors_close(o->st);
}

static void save(const struct oracle *o)
{
    struct err err;
    struct vocab *v = golden_vocab(VOCAB);
    struct classes classes = golden_classes(LABELS);
    if (forest_save(scratch_dir(), "small", &o->f, o->g, 64, v, &classes, &err) != 0)
        fail_msg("%s", err.msg);
    vocab_close(v);
}

/* scikit-learn's own forest gives its own probabilities. */
static void test_same_as_scikit_learn(void **state)
{
    (void)state;
    struct oracle o = oracle_open();
    struct err err;
    struct model *m;
    save(&o);
    if (model_open(scratch_dir(), PRECISION_AUTO, &m, &err) != 0)
        fail_msg("%s", err.msg);
    const struct model_info *info = model_info(m);
    assert_string_equal(info->family, "forest");
    assert_string_equal(info->name, "small");
    assert_int_equal(info->n_labels, LABELS);
    float *p = xmalloc((size_t)(o.dev.n * LABELS) * sizeof *p);
    struct workspace *ws = workspace_open(m, o.dev.n, o.dev.start[o.dev.n]);
    for (int again = 0; again < 2; again++) { /* nothing of one title is left for the next */
        model_classify(m, ws, &o.dev, p);
        for (int32_t i = 0; i < o.dev.n * LABELS; i++)
            assert_true(fabsf(p[i] - o.probabilities[i]) <= 1e-6f);
    }
    free(p);
    workspace_close(ws);
    model_close(m);
    oracle_done(&o);
}

static void refused(struct oracle *o, enum err_code code, const char *message)
{
    struct err err;
    struct model *m;
    save(o);
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), -1);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, message) || !strstr(err.msg, "/model.safetensors: "))
        fail_msg("expected \"%s\" in \"%s\"", message, err.msg);
}

static void test_mistakes(void **state)
{
    (void)state;
    struct oracle o = oracle_open();
    struct forest_node *node = &o.f.node[5], was = *node;
    node->child[1] = 5;
    refused(&o, ERR_FORMAT,
            "tensor \"child\": value 11, 5, is neither a question behind this one, of 113, nor a "
            "leaf of 120");
    node->child[1] = o.f.nodes;
    refused(&o, ERR_FORMAT, "tensor \"child\": value 11, 113, is neither");
    *node = was;
    node->child[0] = -1 - o.f.leaves;
    refused(&o, ERR_FORMAT, "tensor \"child\": value 10, -121, is neither");
    node->child[0] = INT32_MIN;
    refused(&o, ERR_FORMAT, "tensor \"child\": value 10, -2147483648, is neither");
    *node = was;
    node->feature = -1;
    refused(&o, ERR_FORMAT, "tensor \"feature\": value 5, -1, is none of 330 features");
    node->feature = 330;
    refused(&o, ERR_FORMAT, "tensor \"feature\": value 5, 330, is none of 330 features");
    *node = was;
    node->threshold = NAN;
    refused(&o, ERR_NUMERIC, "tensor \"threshold\": value 5 is nan");
    node->threshold = -0.5f; /* no feature is below 0 */
    refused(&o, ERR_NUMERIC, "tensor \"threshold\": value 5 is -0.5");
    *node = was;
    o.f.root[2] = o.f.nodes;
    refused(&o, ERR_FORMAT, "tensor \"root\": value 2, 113, is neither");
    o.f.root[2] = 0;
    o.f.leaf[4] += 0.1f;
    refused(&o, ERR_NUMERIC, "tensor \"leaf\": row 1 is no distribution");
    o.f.leaf[4] -= 0.1f;
    o.f.leaf[4] = -0.5f;
    o.f.leaf[5] = 1.5f;
    refused(&o, ERR_NUMERIC, "tensor \"leaf\": row 1 is no distribution");
    oracle_done(&o);
}

/* Trees of nothing but a leaf. */
static void test_stumps(void **state)
{
    (void)state;
    struct oracle o = oracle_open();
    struct err err;
    struct model *m;
    o.f.trees = 2;
    o.f.nodes = 0;
    o.f.root[0] = o.f.root[1] = -1;
    save(&o);
    if (model_open(scratch_dir(), PRECISION_AUTO, &m, &err) != 0)
        fail_msg("%s", err.msg);
    float p[LABELS];
    struct batch one = {.ids = o.dev.ids, .start = o.dev.start, .n = 1};
    struct workspace *ws = workspace_open(m, 1, 64);
    model_classify(m, ws, &one, p);
    for (int k = 0; k < LABELS; k++)
        assert_true(fabsf(p[k] - o.f.leaf[k]) <= 1e-6f);
    workspace_close(ws);
    model_close(m);
    oracle_done(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_scikit_learn),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_stumps),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
