#include "models/model.h"

#include "base/cpu.h"
#include "models/textcnn.h"
#include "tests/base/allocations.h"
#include "tests/models/golden.h"

static const struct textcnn_config cfg = {40, 6, 67, 3, {2, 3, 4}, 5, 16, 0.5f};

static void save_with(const struct textcnn_config *c, float embedding_std)
{
    struct err err;
    struct vocab *v = golden_vocab(c->vocab_size);
    struct classes classes = golden_classes(c->n_labels);
    float *w = xmalloc(textcnn_size(c) * sizeof *w);
    textcnn_init(c, 11, embedding_std, w);
    if (textcnn_save(scratch_dir(), "small", c, w, v, &classes, DT_F32, &err) != 0)
        fail_msg("%s", err.msg);
    free(w);
    vocab_close(v);
}

static struct model *open_with(enum precision precision)
{
    struct err err;
    struct model *m;
    if (model_open(scratch_dir(), precision, &m, &err) != 0)
        fail_msg("%s", err.msg);
    return m;
}

static const int32_t ids[] = {3, 4, 5, 4, 3, 9, 39, 38, 37, 20, 20, 20, 20, 20, 1, 2, 3, 33, 12, 7};
static const int32_t start[] = {0, 1, 3, 6, 20};
static const struct batch titles = {.ids = ids, .start = start, .n = 4};

static void test_info(void **state)
{
    (void)state;
    save_with(&cfg, 1);
    struct model *m = open_with(PRECISION_AUTO);
    const struct model_info *info = model_info(m);
    assert_string_equal(info->family, "textcnn");
    assert_string_equal(info->name, "small");
    assert_int_equal(strlen(info->sha256), 64);
    assert_int_equal(strlen(info->version), 12);
    assert_memory_equal(info->version, info->sha256, 12);
    assert_int_equal(info->n_labels, 5);
    assert_string_equal(info->labels[4], "science");
    assert_int_equal(info->parameters, textcnn_size(&cfg));
    assert_int_equal(info->max_tokens, 16);
    assert_int_equal(info->precision, PRECISION_INT16);
    model_close(m);
    free(scratch_write("manifest.json", "{\"version\": \"0123456789abcdef\"}", 31));
    m = open_with(PRECISION_FP32);
    assert_string_equal(model_info(m)->version, "0123456789abcdef");
    assert_int_equal(model_info(m)->precision, PRECISION_FP32);
    model_close(m);
    char *path = scratch_file("manifest.json");
    assert_int_equal(remove(path), 0);
    free(path);
    golden_edit("model_name", NULL);
    m = open_with(PRECISION_FP32);
    assert_string_equal(model_info(m)->name, "textcnn");
    model_close(m);
    model_close(NULL);
    workspace_close(NULL);
}

/* Probabilities of the opened model against the training code's logits. */
static void check(const struct textcnn_config *c, enum precision precision, double tolerance)
{
    struct err err;
    struct textcnn_config got;
    float *w, logits[4 * 5], p[4 * 5];
    assert_int_equal(textcnn_load(scratch_dir(), &got, &w, &err), 0);
    struct textcnn_train *train = textcnn_train_open(c, 4, 20);
    textcnn_forward(c, w, train, &titles, NULL, logits);
    struct model *m = open_with(precision);
    if (precision != PRECISION_AUTO)
        assert_int_equal(model_info(m)->precision, precision);
    struct workspace *ws = workspace_open(m, 4, 20);
    model_classify(m, ws, &titles, p);
    for (int i = 0; i < 4; i++) {
        double sum = 0, total = 0;
        for (int k = 0; k < 5; k++)
            sum += exp((double)logits[i * 5 + k]);
        for (int k = 0; k < 5; k++) {
            double expected = exp((double)logits[i * 5 + k]) / sum;
            if (fabs((double)p[i * 5 + k] - expected) > tolerance)
                fail_msg("title %d, label %d: %g, expected %g", i, k, (double)p[i * 5 + k],
                         expected);
            total += (double)p[i * 5 + k];
        }
        assert_true(fabs(total - 1) < 1e-6);
    }
    workspace_close(ws);
    model_close(m);
    textcnn_train_close(train);
    free(w);
}

static void test_precisions(void **state)
{
    (void)state;
    save_with(&cfg, 3);
    check(&cfg, PRECISION_FP32, 1e-6);
    check(&cfg, PRECISION_BF16, 1e-2);
    check(&cfg, PRECISION_INT16, 2e-4);
    check(&cfg, PRECISION_AUTO, 2e-4);
    check(&cfg, PRECISION_INT8, 2e-2);
}

/* A vocabulary whose table would pass 256 MiB: each batch projects its own characters. */
static void test_without_table(void **state)
{
    (void)state;
    const struct textcnn_config large = {16000, 4, 2048, 3, {2, 3, 4}, 5, 16, 0.5f};
    save_with(&large, 3);
    check(&large, PRECISION_FP32, 1e-6);
    struct model *m = open_with(PRECISION_INT16);
    assert_int_equal(model_info(m)->precision, PRECISION_FP32); /* what runs */
    assert_int_equal(model_info(m)->weights_bytes, textcnn_size(&large) * 4);
    model_close(m);
}

static void test_overflow(void **state)
{
    (void)state;
    struct err err;
    struct model *m = NULL;
    save_with(&cfg, 1e6f); /* steps follow the weights: large ones lose nothing */
    check(&cfg, PRECISION_INT16, 1e-6);
    save_with(&cfg, 1e36f);
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), -1);
    assert_error(&err, ERR_NUMERIC,
                 "model.safetensors: the weights are so large that results may overflow");
}

static void test_no_allocation(void **state)
{
    (void)state;
    save_with(&cfg, 1);
    for (int i = PRECISION_FP32; i < PRECISION_COUNT; i++) {
        struct model *m = open_with((enum precision)i);
        struct workspace *ws = workspace_open(m, 4, 20);
        float p[4 * 5];
        int32_t own[16], best[3];
        long before = allocations;
        if (COUNTED)
            assert_true(before > 0); /* the counter counts */
        for (int round = 0; round < 3; round++) {
            model_classify(m, ws, &titles, p);
            (void)model_encode(m, "一丁丂", 9, own, 16, NULL);
            (void)model_top_k(p, 5, 3, best);
        }
        assert_int_equal(allocations, before);
        struct batch none = {.ids = ids, .start = start};
        model_classify(m, ws, &none, NULL);
        workspace_close(ws);
        model_close(m);
    }
    if (!COUNTED)
        print_message("allocations were not counted: a sanitizer owns the allocator\n");
}

static void test_encode(void **state)
{
    (void)state;
    save_with(&cfg, 1);
    struct model *m = open_with(PRECISION_FP32);
    int32_t got[64];
    bool cut = true;
    assert_int_equal(model_encode(m, "一丁 x", 8, got, 64, &cut), 4); /* U+4E00 is id 3 */
    assert_false(cut);
    assert_int_equal(got[0], 3);
    assert_int_equal(got[1], 4);
    assert_int_equal(got[2], VOCAB_SPACE);
    assert_int_equal(got[3], VOCAB_UNK);
    char text[60];
    memset(text, 'x', sizeof text);
    assert_int_equal(model_encode(m, text, 60, got, 64, &cut), 16); /* cut at max_tokens */
    assert_true(cut);
    assert_int_equal(model_encode(m, text, 16, got, 64, &cut), 16);
    assert_false(cut);
    assert_int_equal(model_encode(m, text, 60, got, 5, &cut), 5);
    model_close(m);
}

static void test_top_k(void **state)
{
    (void)state;
    const float p[] = {0.1f, 0.3f, 0.3f, 0.05f, 0.25f};
    int32_t best[5];
    assert_int_equal(model_top_k(p, 5, 9, best), 5);
    const int32_t all[] = {1, 2, 4, 0, 3};
    assert_memory_equal(best, all, sizeof all);
    assert_int_equal(model_top_k(p, 5, 1, best), 1);
    assert_int_equal(best[0], 1);
    assert_int_equal(model_top_k(p, 5, 0, best), 0);
    assert_int_equal(model_top_k(p, 5, -1, best), 0);
}

static void test_precision_names(void **state)
{
    (void)state;
    struct err err;
    enum precision p;
    for (int i = PRECISION_AUTO; i < PRECISION_COUNT; i++) {
        assert_int_equal(precision_parse(precision_name((enum precision)i), &p, &err), 0);
        assert_int_equal(p, i);
    }
    assert_int_equal(precision_parse("int4", &p, &err), -1);
    assert_error(&err, ERR_CONFIG,
                 "precision \"int4\" is not one of auto, fp32, bf16, int16, int8");
}

static void refused(enum err_code code, const char *expected)
{
    struct err err;
    struct model *m = NULL;
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), -1);
    assert_null(m);
    assert_error(&err, code, expected);
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, NULL), -1); /* err may be NULL */
    save_with(&cfg, 1);
}

static void test_bad_directory(void **state)
{
    (void)state;
    save_with(&cfg, 1);
    golden_edit("model_type", "\"gpt9\"");
    refused(ERR_FORMAT,
            "config.json: model_type \"gpt9\" is unknown (known: textcnn, linear, forest, "
            "fasttext, ensemble, cascade, "
            "bert, ernie, electra, albert, nezha, xlnet, t5, mt5)");
    golden_edit("model_type", NULL);
    refused(ERR_FORMAT, "config.json: \"model_type\" is missing");
    free(scratch_write("config.json", "[]", 2));
    refused(ERR_FORMAT, "config.json: expected an object");
    golden_edit("num_labels", "4");
    refused(ERR_CONFLICT, "config.json: num_labels is 4, but labels.txt has 5 lines");
    golden_edit("num_labels", NULL);
    refused(ERR_FORMAT, "config.json: \"num_labels\" is missing");
    golden_edit("vocab_size", "39");
    refused(ERR_CONFLICT, "config.json: vocab_size is 39, but vocab.txt has 40 lines");
    free(scratch_write("labels.txt", "a\nb\nc\nd\ne\nf\n", 12));
    refused(ERR_CONFLICT, "config.json: num_labels is 5, but labels.txt has 6 lines");
    /* Labels and config agree, the classifier does not. */
    free(scratch_write("labels.txt", "a\nb\nc\nd\n", 8));
    golden_edit("num_labels", "4");
    refused(
        ERR_FORMAT,
        "model.safetensors: tensor \"classifier.weight\": expected shape [4, 201], found [5, 201]");
    golden_edit("filter_widths", "[2, 3]");
    refused(
        ERR_FORMAT,
        "model.safetensors: tensor \"classifier.weight\": expected shape [5, 134], found [5, 201]");
    free(scratch_write("manifest.json", "{\"version\": 7}", 14));
    refused(ERR_FORMAT, "manifest.json: \"version\": expected a string");
    char *path = scratch_file("manifest.json");
    assert_int_equal(remove(path), 0);
    free(path);
    path = scratch_file("model.safetensors");
    assert_int_equal(remove(path), 0);
    free(path);
    struct err err;
    struct model *m = NULL;
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), -1);
    assert_non_null(strstr(err.msg, "model.safetensors"));
    assert_int_equal(model_open("/nonexistent", PRECISION_AUTO, &m, &err), -1);
    assert_non_null(strstr(err.msg, "/nonexistent/config.json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info),          cmocka_unit_test(test_precisions),
        cmocka_unit_test(test_without_table), cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_no_allocation), cmocka_unit_test(test_encode),
        cmocka_unit_test(test_top_k),         cmocka_unit_test(test_precision_names),
        cmocka_unit_test(test_bad_directory),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
