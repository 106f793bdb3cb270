#include "models/linear.h"

#include "base/rng.h"
#include "models/model.h"
#include "tests/models/golden.h"

static const char golden_path[] = "tests/golden/linear.safetensors";
enum { VOCAB = 40, LABELS = 4 };

struct oracle {
    struct safetensors *st;
    struct batch train, dev;
    int64_t *keys;
    float *idf, *weight, *bias, *value, *scores;
    int32_t *start, *index, n;
};

static struct oracle oracle_open(void)
{
    struct oracle o = {.st = golden_open(golden_path)};
    o.train = golden_batch(o.st, "train.ids", "train.start", NULL);
    o.dev = golden_batch(o.st, "dev.ids", "dev.start", NULL);
    o.keys = golden_copy(o.st, "ngrams", DT_I64, &o.n);
    o.idf = golden_copy(o.st, "idf", DT_F32, NULL);
    o.weight = golden_copy(o.st, "weight", DT_F32, NULL);
    o.bias = golden_copy(o.st, "bias", DT_F32, NULL);
    o.start = golden_copy(o.st, "features.start", DT_I32, NULL);
    o.index = golden_copy(o.st, "features.index", DT_I32, NULL);
    o.value = golden_copy(o.st, "features.value", DT_F32, NULL);
    o.scores = golden_copy(o.st, "scores", DT_F32, NULL);
    return o;
}

static void oracle_done(struct oracle *o)
{
    void *const parts[] = {o->keys,  o->idf,   o->weight, o->bias,
                           o->start, o->index, o->value,  o->scores};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        free(parts[i]);
    golden_batch_done(&o->train);
    golden_batch_done(&o->dev);
    safetensors_close(o->st);
}

static struct ngrams *build(const struct oracle *o)
{
    struct err err;
    struct ngrams *g;
    if (ngrams_build(&o->train, 2, &g, &err) != 0)
        fail_msg("%s", err.msg);
    return g;
}

static void test_table(void **state)
{
    (void)state;
    struct oracle o = oracle_open();
    struct ngrams *g = build(&o);
    assert_int_equal(ngrams_count(g), o.n);
    assert_memory_equal(ngrams_keys(g), o.keys, (size_t)o.n * sizeof *o.keys);
    for (int32_t i = 0; i < o.n; i++) {
        assert_true(fabsf(ngrams_idf(g)[i] - o.idf[i]) <= 1e-6f * o.idf[i]);
        assert_int_equal(ngrams_find(g, o.keys[i]), i);
        if (i + 1 == o.n || o.keys[i + 1] > o.keys[i] + 1)
            assert_int_equal(ngrams_find(g, o.keys[i] + 1), -1);
    }
    ngrams_close(g);
    oracle_done(&o);
}

static void test_features(void **state)
{
    (void)state;
    struct oracle o = oracle_open();
    struct ngrams *g = build(&o);
    int32_t *index = xmalloc(3 * 64 * sizeof *index);
    float *value = xmalloc(3 * 64 * sizeof *value);
    struct linear_weights lw = {g, o.weight, o.bias, LABELS, 64, 1.0f};
    for (int32_t i = 0; i < o.dev.n; i++) {
        int32_t from = o.start[i], n = o.start[i + 1] - from;
        double scores[LABELS];
        assert_int_equal(linear_features(g, o.dev.ids + o.dev.start[i],
                                         o.dev.start[i + 1] - o.dev.start[i], index, value),
                         n);
        assert_memory_equal(index, o.index + from, (size_t)n * sizeof *index);
        for (int32_t k = 0; k < n; k++)
            assert_true(fabsf(value[k] - o.value[from + k]) < 1e-6f);
        linear_scores(&lw, index, value, n, scores);
        for (int k = 0; k < LABELS; k++)
            assert_true(fabs(scores[k] - (double)o.scores[i * LABELS + k]) < 1e-5);
    }
    free(index);
    free(value);
    ngrams_close(g);
    oracle_done(&o);
}

static void save(const struct oracle *o, struct ngrams *g, float scale)
{
    struct err err;
    struct vocab *v = golden_vocab(VOCAB);
    struct classes classes = golden_classes(LABELS);
    struct linear_weights lw = {g, o->weight, o->bias, LABELS, 64, scale};
    if (linear_save(scratch_dir(), "small", &lw, v, &classes, DT_F32, &err) != 0)
        fail_msg("%s", err.msg);
    vocab_close(v);
}

/* The largest difference of the opened model's probabilities from softmax(scale * oracle's scores).
 */
static double model_off(const struct oracle *o, double scale)
{
    struct err err;
    struct model *m;
    if (model_open(scratch_dir(), PRECISION_AUTO, &m, &err) != 0)
        fail_msg("%s", err.msg);
    struct workspace *ws = workspace_open(m, o->dev.n, o->dev.start[o->dev.n]);
    float *p = xmalloc(sizeof *p * (size_t)(o->dev.n * LABELS));
    double off = 0;
    model_classify(m, ws, &o->dev, p);
    for (int32_t i = 0; i < o->dev.n; i++) {
        const float *scores = o->scores + i * LABELS;
        double sum = 0;
        for (int k = 0; k < LABELS; k++)
            sum += exp(scale * (double)scores[k]);
        for (int k = 0; k < LABELS; k++)
            off = fmax(off, fabs((double)p[i * LABELS + k] - exp(scale * (double)scores[k]) / sum));
    }
    free(p);
    workspace_close(ws);
    model_close(m);
    return off;
}

static void test_model(void **state)
{
    (void)state;
    struct oracle o = oracle_open();
    struct ngrams *g = build(&o);
    save(&o, g, 1.0f);
    assert_true(model_off(&o, 1.0) < 2e-6);
    save(&o, g, 3.5f);
    assert_true(model_off(&o, 3.5) < 5e-6);
    /* Sharpness: a weight of a frequent n-gram, a bias and the scale must each be noticed. */
    assert_true(model_off(&o, 3.4) > 1e-4);
    o.bias[1] += 0.01f;
    save(&o, g, 3.5f);
    assert_true(model_off(&o, 3.5) > 1e-4);
    o.bias[1] -= 0.01f;
    o.weight[o.n + o.index[0]] += 0.05f;
    save(&o, g, 3.5f);
    assert_true(model_off(&o, 3.5) > 1e-4);
    ngrams_close(g);
    oracle_done(&o);
}

/* A thousand labels, the longest title, every n-gram many times: the model against the fitter's
 * scores. */
static void test_large(void **state)
{
    (void)state;
    enum { LONG = LINEAR_MAX_TOKENS, MANY = 333 };
    struct err err;
    int32_t *ids = xmalloc(sizeof *ids * 2 * LONG);
    const int32_t start[] = {0, LONG, 2 * LONG};
    for (int i = 0; i < 2 * LONG; i++)
        ids[i] = 3 + (int32_t)(rng_u64(1, 1, (uint64_t)(i % LONG)) % (VOCAB - 3));
    ids[5] = VOCAB_UNK;
    struct batch b = {.ids = ids, .start = start, .n = 2};
    struct ngrams *g;
    assert_int_equal(ngrams_build(&b, 1, &g, &err), 0);
    size_t n = (size_t)ngrams_count(g);
    float *weight = xmalloc(sizeof *weight * n * MANY), bias[MANY],
          *value = xmalloc(sizeof *value * 3 * LONG);
    int32_t *index = xmalloc(sizeof *index * 3 * LONG);
    char **names = xmalloc(sizeof *names * MANY);
    for (size_t i = 0; i < n * MANY; i++)
        weight[i] = (float)rng_normal(1, 2, i);
    for (int i = 0; i < MANY; i++) {
        bias[i] = (float)i / 100;
        names[i] = file_path("label %d", i);
    }
    struct vocab *v = golden_vocab(VOCAB);
    struct classes classes = {names, MANY};
    struct linear_weights lw = {g, weight, bias, MANY, LONG, 1.0f};
    assert_int_equal(linear_save(scratch_dir(), "large", &lw, v, &classes, DT_F32, &err), 0);
    struct model *m;
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), 0);
    struct workspace *ws = workspace_open(m, 2, 2 * LONG);
    float *p = xmalloc(sizeof *p * 2 * MANY);
    model_classify(m, ws, &b, p);
    for (int i = 0; i < 2; i++) {
        double scores[MANY], sum = 0;
        int32_t k = linear_features(g, ids + i * LONG, LONG, index, value);
        linear_scores(&lw, index, value, k, scores);
        for (int l = 0; l < MANY; l++)
            sum += exp(scores[l]);
        for (int l = 0; l < MANY; l++)
            assert_true(fabs((double)p[i * MANY + l] - exp(scores[l]) / sum) < 1e-5);
    }
    workspace_close(ws);
    model_close(m);
    vocab_close(v);
    ngrams_close(g);
    for (int i = 0; i < MANY; i++)
        free(names[i]);
    free(names);
    free(weight);
    free(value);
    free(index);
    free(ids);
    free(p);
}

/* A table of two slots: every n-gram with the same last characters as the known one has its tag,
 * half of them its slot. Only the whole key tells them apart. */
static void test_same_tag(void **state)
{
    (void)state;
    struct err err;
    struct ngrams *g;
    const int64_t key = (int64_t)6 << 42 | (int64_t)7 << 21 | 8;
    const float idf = 1, weight[] = {5, 0}, bias[] = {0, 0};
    assert_int_equal(ngrams_from("t", &key, &idf, 1, &g, &err), 0);
    struct vocab *v = golden_vocab(VOCAB);
    struct classes classes = golden_classes(2);
    struct linear_weights lw = {g, weight, bias, 2, 64, 1.0f};
    assert_int_equal(linear_save(scratch_dir(), "tag", &lw, v, &classes, DT_F32, &err), 0);
    struct model *m;
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), 0);
    struct workspace *ws = workspace_open(m, 1, 3);
    for (int32_t first = 3; first < VOCAB; first++) {
        const int32_t ids[] = {first, 6, 7}, start[] = {0, 3};
        struct batch b = {.ids = ids, .start = start, .n = 1};
        float p[2];
        model_classify(m, ws, &b, p);
        assert_true(first == 5 ? p[0] > 0.99f : p[0] == 0.5f);
    }
    workspace_close(ws);
    model_close(m);
    vocab_close(v);
    ngrams_close(g);
}

static void test_nothing_to_learn(void **state)
{
    (void)state;
    struct err err;
    struct ngrams *g = NULL;
    const int32_t ids[] = {3, 4, 5, VOCAB_UNK}, start[] = {0, 2, 4};
    struct batch b = {.ids = ids, .start = start, .n = 2};
    assert_int_equal(ngrams_build(&b, 2, &g, &err), -1);
    assert_error(&err, ERR_FORMAT,
                 "0 n-grams stand in at least 2 of 2 titles: nothing to learn from");
    b.n = 0;
    assert_int_equal(ngrams_build(&b, 1, &g, &err), -1);
    assert_null(g);
}

static void test_from(void **state)
{
    (void)state;
    struct err err;
    struct ngrams *g;
    int64_t keys[] = {4, 5, (int64_t)5 << 21 | 4};
    float idf[] = {1, 2, 3};
    assert_int_equal(ngrams_from("t", keys, idf, 3, &g, &err), 0);
    assert_int_equal(ngrams_find(g, (int64_t)5 << 21 | 4), 2);
    assert_int_equal(ngrams_find(g, 6), -1);
    ngrams_close(g);
    keys[1] = 4;
    assert_int_equal(ngrams_from("t", keys, idf, 3, &g, &err), -1);
    assert_error(&err, ERR_FORMAT, "t: ngrams[1] is not above the one before it");
    keys[1] = 2; /* [UNK] */
    assert_int_equal(ngrams_from("t", keys, idf, 3, &g, &err), -1);
    assert_error(&err, ERR_FORMAT, "t: ngrams[1] = 2 is no n-gram");
    keys[1] = 5;
    idf[2] = NAN;
    assert_int_equal(ngrams_from("t", keys, idf, 3, &g, &err), -1);
    assert_error(&err, ERR_NUMERIC, "t: idf[2] = nan is not a positive number");
    assert_int_equal(ngrams_from("t", keys, idf, 0, &g, &err), -1);
    assert_error(&err, ERR_FORMAT, "t: 0 n-grams");
    ngrams_close(NULL);
}

struct file {
    struct tensor t[5];
    size_t n;
    int64_t *keys;
    float *idf, *weight, *bias;
};

static void swap_keys(struct file *f)
{
    int64_t k = f->keys[3];
    f->keys[3] = f->keys[4];
    f->keys[4] = k;
}

static void same_keys(struct file *f)
{
    f->keys[4] = f->keys[3];
}

static void foreign_key(struct file *f)
{
    f->keys[f->t[0].dims[0] - 1] = INT64_MAX;
}

static void negative_key(struct file *f)
{
    f->keys[0] = -1;
}

static void nan_weight(struct file *f)
{
    f->weight[7] = NAN;
}

static void infinite_bias(struct file *f)
{
    f->bias[2] = -INFINITY;
}

static void negative_idf(struct file *f)
{
    f->idf[1] = -1;
}

static void float_keys(struct file *f)
{
    f->t[0].dtype = DT_F64;
}

static void fewer_labels(struct file *f)
{
    f->t[2].dims[0]--;
    f->t[2].bytes = (size_t)(f->t[2].dims[0] * f->t[2].dims[1]) * sizeof(float);
}

static void one_more(struct file *f)
{
    f->t[4] = f->t[3];
    f->t[4].name = "extra";
    f->n = 5;
}

static void no_bias(struct file *f)
{
    f->n = 3;
}

static void refused(const struct oracle *o, void (*change)(struct file *f), enum err_code code,
                    const char *expected)
{
    struct err err;
    struct model *m = NULL;
    struct file f = {.n = 4};
    f.keys = golden_copy(o->st, "ngrams", DT_I64, NULL);
    f.idf = golden_copy(o->st, "idf", DT_F32, NULL);
    f.weight = golden_copy(o->st, "weight", DT_F32, NULL);
    f.bias = golden_copy(o->st, "bias", DT_F32, NULL);
    static const char *const names[] = {"ngrams", "idf", "weight", "bias"};
    void *const data[] = {f.keys, f.idf, f.weight, f.bias};
    for (int i = 0; i < 4; i++) {
        f.t[i] = *golden_tensor(o->st, names[i]);
        f.t[i].name = names[i];
        f.t[i].data = data[i];
    }
    change(&f);
    char *path = scratch_file("model.safetensors");
    if (safetensors_write(path, f.t, f.n, NULL, &err) != 0)
        fail_msg("%s", err.msg);
    free(path);
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), -1);
    assert_null(m);
    if (!strstr(err.msg, expected) || !strstr(err.msg, "model.safetensors"))
        fail_msg("\"%s\" lacks \"%s\" or its file", err.msg, expected);
    assert_int_equal(err.code, code);
    for (int i = 0; i < 4; i++)
        free(data[i]);
}

static void test_bad_weights(void **state)
{
    (void)state;
    struct oracle o = oracle_open();
    struct ngrams *g = build(&o);
    save(&o, g, 1.0f);
    refused(&o, swap_keys, ERR_FORMAT, "tensor \"ngrams\": value 4 is not above the one before it");
    refused(&o, same_keys, ERR_FORMAT, "tensor \"ngrams\": value 4 is not above the one before it");
    refused(&o, foreign_key, ERR_FORMAT, "is no n-gram of a vocabulary of 40");
    refused(&o, negative_key, ERR_FORMAT, "tensor \"ngrams\": value 0, -1, is no n-gram");
    refused(&o, nan_weight, ERR_NUMERIC, "tensor \"weight\": value 7, nan");
    refused(&o, infinite_bias, ERR_NUMERIC, "tensor \"bias\": value 2, -inf");
    refused(&o, negative_idf, ERR_NUMERIC, "tensor \"idf\": value 1, -1");
    refused(&o, float_keys, ERR_FORMAT, "tensor \"ngrams\": type F64, expected I64");
    refused(&o, fewer_labels, ERR_FORMAT, "\"weight\"");
    refused(&o, one_more, ERR_FORMAT, "5 tensors, expected");
    refused(&o, no_bias, ERR_MISSING, "\"bias\"");
    ngrams_close(g);
    oracle_done(&o);
}

static void bad_config(const struct oracle *o, struct ngrams *g, const char *key, const char *value,
                       const char *expected)
{
    struct err err;
    struct model *m = NULL;
    save(o, g, 1.0f);
    golden_edit(key, value);
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), -1);
    assert_error(&err, ERR_FORMAT, expected);
}

static void test_bad_config(void **state)
{
    (void)state;
    struct oracle o = oracle_open();
    struct ngrams *g = build(&o);
    bad_config(&o, g, "scale", NULL, "config.json: \"scale\": 0 is not in (0, 1e+06]");
    bad_config(&o, g, "scale", "-2", "config.json: \"scale\": -2 is not in (0, 1e+06]");
    bad_config(&o, g, "ngram_max", "4", "config.json: \"ngram_max\": 4 is not between 3 and 3");
    bad_config(&o, g, "max_length", "5000",
               "config.json: \"max_length\": 5000 is not between 1 and 1024");
    bad_config(&o, g, "num_features", NULL, "config.json: \"num_features\" is missing");
    ngrams_close(g);
    oracle_done(&o);
}

static void test_bad_save(void **state)
{
    (void)state;
    struct err err;
    struct oracle o = oracle_open();
    struct ngrams *g = build(&o);
    struct vocab *v = golden_vocab(VOCAB);
    struct classes classes = golden_classes(LABELS);
    struct linear_weights lw = {g, o.weight, o.bias, LABELS, 64, 0.0f};
    assert_int_equal(linear_save(scratch_dir(), "small", &lw, v, &classes, DT_F32, &err), -1);
    assert_error(&err, ERR_NUMERIC, "scale 0 is not a positive number");
    lw.scale = 1;
    o.weight[3] = NAN;
    assert_int_equal(linear_save(scratch_dir(), "small", &lw, v, &classes, DT_F32, &err), -1);
    assert_int_equal(err.code, ERR_FORMAT);
    assert_non_null(strstr(err.msg, "tensor \"weight\": element 3 of "));
    o.weight[3] = 70000;
    assert_int_equal(linear_save(scratch_dir(), "small", &lw, v, &classes, DT_F16, &err), -1);
    assert_non_null(strstr(err.msg, "tensor \"weight\": element 3 of "));
    assert_int_equal(linear_save(scratch_dir(), "small", &lw, v, &classes, DT_BF16, &err), 0);
    vocab_close(v);
    ngrams_close(g);
    oracle_done(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),      cmocka_unit_test(test_features),
        cmocka_unit_test(test_model),      cmocka_unit_test(test_large),
        cmocka_unit_test(test_same_tag),   cmocka_unit_test(test_nothing_to_learn),
        cmocka_unit_test(test_from),       cmocka_unit_test(test_bad_weights),
        cmocka_unit_test(test_bad_config), cmocka_unit_test(test_bad_save),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
