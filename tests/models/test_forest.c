#include "models/forest.h"

#include "base/json.h"
#include "models/model.h"
#include "models/safetensors.h"
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

/* A saved forest whose tensor has other bytes at a place does not open, and says why. */
static void refused(const struct oracle *o, const char *tensor, size_t at, const void *bytes,
                    size_t n, enum err_code code, const char *message)
{
    struct err err;
    struct model *m;
    char *path = scratch_file("model.safetensors"), *data;
    size_t len, header = 0;
    save(o);
    assert_int_equal(file_read(path, 1 << 24, &data, &len, &err), 0);
    memcpy(&header, data, sizeof(uint64_t));
    json_t *facts = json_parse(path, data + 8, header, &err);
    const json_t *place = json_object_get(json_object_get(facts, tensor), "data_offsets");
    size_t from = 8 + header + (size_t)json_integer_value(json_array_get(place, 0));
    assert_true(from + at + n <= 8 + header + (size_t)json_integer_value(json_array_get(place, 1)));
    memcpy(data + from + at, bytes, n);
    free(scratch_write("model.safetensors", data, len));
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), -1);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, message) || !strstr(err.msg, "/model.safetensors: "))
        fail_msg("expected \"%s\" in \"%s\"", message, err.msg);
    json_decref(facts);
    free(data);
    free(path);
}

static void refused_float(const struct oracle *o, const char *tensor, size_t at, float x,
                          const char *message)
{
    refused(o, tensor, at * sizeof x, &x, sizeof x, ERR_NUMERIC, message);
}

static void test_mistakes(void **state)
{
    (void)state;
    struct oracle o = oracle_open();
    static const uint8_t question[] = {0, 0, 0}, no_question[] = {0xff, 0xff, 0x7f},
                         leaf[] = {0, 0, 0x80}, no_leaf[] = {120, 0, 0x80};
    static const int32_t features[] = {-1, 330};
    size_t rows = 2 * (size_t)o.f.nodes + (size_t)o.f.trees;
    assert_int_equal(rows, 233);
    /* The first tree's root is a leaf, its last row a question: as many of each as trees need. */
    refused(&o, "node", 0, no_question, 3, ERR_FORMAT,
            "tensor \"node\": row 0, 8388607, is neither one of ");
    refused(&o, "node", 3 * (rows - 1), no_leaf, 3, ERR_FORMAT,
            "tensor \"node\": row 232, 8388728, is neither one of ");
    refused(&o, "node", 0, leaf, 3, ERR_FORMAT,
            "tensor \"node\": 233 rows, 112 of them questions, are not 7 trees");
    refused(&o, "node", 3 * (rows - 1), question, 3, ERR_FORMAT,
            "tensor \"node\": 233 rows, 114 of them questions, are not 7 trees");
    refused(&o, "question_feature", 0, &features[0], 4, ERR_FORMAT,
            "tensor \"question_feature\": value 0, -1, is none of 330 features");
    refused(&o, "question_feature", 4, &features[1], 4, ERR_FORMAT,
            "tensor \"question_feature\": value 1, 330, is none of 330 features");
    refused_float(&o, "question_threshold", 5, NAN, "\"question_threshold\": value 5 is nan");
    /* no feature is below 0 */
    refused_float(&o, "question_threshold", 5, -0.5f, "\"question_threshold\": value 5 is -0.5");
    refused_float(&o, "leaf", 4, 7, "tensor \"leaf\": row 1 is no distribution");
    refused_float(&o, "leaf", 4, -0.5f, "tensor \"leaf\": row 1 is no distribution");
    oracle_done(&o);
}

/* Rows that are as many as trees need and do not make them. */
static void test_nodes_out_of_order(void **state)
{
    (void)state;
    struct oracle o = oracle_open();
    static const uint8_t two_stumps_first[] = {0, 0, 0x80, 0, 0, 0x80, 0, 0, 0x80, 0, 0, 0},
                         ends_within[] = {0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0x80};
    o.f.trees = 2; /* a stump, and a question with its two leaves */
    o.f.nodes = 1;
    o.f.root[0] = -1;
    o.f.root[1] = 0;
    o.f.node[0].child[0] = o.f.node[0].child[1] = -1;
    refused(&o, "node", 0, two_stumps_first, sizeof two_stumps_first, ERR_FORMAT,
            "tensor \"node\": 2 trees end at row 2");
    refused(&o, "node", 0, ends_within, sizeof ends_within, ERR_FORMAT,
            "tensor \"node\": 4 rows, 2 of them questions, are not 2 trees");
    o.f.trees = 1; /* rows: question, leaf, leaf */
    o.f.root[0] = 0;
    refused(&o, "node", 0, two_stumps_first + 3, 9, ERR_FORMAT,
            "tensor \"node\": 1 trees end at row 1");
    oracle_done(&o);
}

/* What is read is what was saved, in the order of the file. */
static int32_t same_tree(const struct forest *a, int32_t at, const struct forest *b, int32_t in)
{
    if (at < 0) {
        assert_int_equal(at, in);
        return 0;
    }
    assert_true(a->node[at].feature == b->node[in].feature);
    assert_true(a->node[at].threshold == b->node[in].threshold);
    return 1 + same_tree(a, a->node[at].child[0], b, b->node[in].child[0]) +
           same_tree(a, a->node[at].child[1], b, b->node[in].child[1]);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct oracle o = oracle_open();
    struct err err;
    char *path = scratch_file("model.safetensors");
    save(&o);
    struct safetensors *st = golden_open(path);
    struct forest f = {.trees = o.f.trees, .labels = LABELS};
    if (forest_read(safetensors_tensors(st), 330, &f, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(f.leaves, o.f.leaves);
    int32_t questions = 0;
    for (int32_t t = 0; t < f.trees; t++)
        questions += same_tree(&o.f, o.f.root[t], &f, f.root[t]);
    assert_int_equal(questions, o.f.nodes);
    assert_memory_equal(f.leaf, o.f.leaf, (size_t)(f.leaves * LABELS) * sizeof *f.leaf);
    forest_done(&f);
    safetensors_close(st);
    free(path);
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
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_nodes_out_of_order),
        cmocka_unit_test(test_stumps),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
