/* What is wrong with a transformer's weights and configuration, by the text of the error; int8_keep; and
 * that no forward pass allocates. */
#include "tests/base/allocations.h"
#include "tests/models/rows.h"

#include "base/buf.h"
#include "models/inspect.h"
#include "models/labels.h"
#include "models/model.h"
#include "ops/gemm.h"

static void refused(const char *text)
{
    struct err err;
    struct model *m = NULL;
    assert_int_equal(model_open(scratch_dir(), PRECISION_INT8, &m, &err), -1);
    assert_null(m);
    size_t n = strlen(scratch_dir()); /* every message names the directory's file first */
    if (strncmp(err.msg, scratch_dir(), n) != 0 || strcmp(err.msg + n, text) != 0)
        fail_msg("\"%s\" is not \"DIR%s\"", err.msg, text);
}

#define WEIGHTS "/model.safetensors: "

static void test_weights(void **state)
{
    (void)state;
    static const enum dtype whole[] = {DT_I8, DT_U8, DT_I32, DT_I64, DT_BOOL};
    for (int i = 0; i < 5; i++) {
        char text[200];
        copy_row("bert");
        assert_int_equal(rewrite("layer.1.attention.self.key.weight", false, whole[i], 0), 1);
        (void)snprintf(text, sizeof text,
                       WEIGHTS
                       "tensor \"bert.encoder.layer.1.attention.self.key.weight\": expected "
                       "a floating type, found %s%s",
                       dtype_name(whole[i]), whole[i] == DT_I8 ? " without its scale" : "");
        refused(text);
    }
    copy_row("bert");
    assert_int_equal(rewrite("bert.embeddings.LayerNorm.bias", false, DT_F32, 0x7fc00000), 1);
    refused(WEIGHTS
            "tensor \"bert.embeddings.LayerNorm.bias\": element 0 of 32 is infinite or not a "
            "number");
    copy_row("bert");
    assert_int_equal(rewrite("classifier.bias", false, DT_F32, 0xff800000), 1);
    refused(WEIGHTS "tensor \"classifier.bias\": element 0 of 10 is infinite or not a number");
}

static void test_keep_mistakes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"\"all\"", "/config.json: \"int8_keep\" is no list of names"},
        {"[7]", "/config.json: \"int8_keep\": entry 0 is no name"},
        {"[\"bert.encoder.layer.1\", \"layer.9\"]",
         "/config.json: \"int8_keep\": no product of this model is called \"layer.9\""},
        {"[\"embeddings.LayerNorm\"]", "/config.json: \"int8_keep\": no product of this model is "
                                       "called \"embeddings.LayerNorm\""},
        {"[\"ayer.1\"]",
         "/config.json: \"int8_keep\": no product of this model is called \"ayer.1\""},
        {"[\"\"]", "/config.json: \"int8_keep\": no product of this model is called \"\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        copy_row("bert");
        set_key("int8_keep", cases[i][0]);
        refused(cases[i][1]);
    }
    struct err err;
    struct buf out;
    buf_init(&out, 1 << 20);
    copy_row("bert");
    set_key("int8_keep", "[\"layer.9\"]");
    assert_int_equal(model_inspect(scratch_dir(), PRECISION_INT8, &out, &err), -1);
    assert_non_null(strstr(err.msg, "no product of this model is called \"layer.9\""));
    buf_done(&out);
}

static double int8_error(const char *keep)
{
    copy_row("bert");
    set_key("int8_keep", keep);
    return error_of(scratch_dir(), "bert", PRECISION_INT8);
}

static int lines_with(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
        n++;
    return n;
}

/* Products kept out of int8 run in more, and inspect marks just them. */
static void test_keep(void **state)
{
    (void)state;
    struct err err;
    struct buf out;
    double none = int8_error("[]"), all = int8_error("[\"encoder\"]");
    assert_true(all < 0.7 * none);
    buf_init(&out, 1 << 20);
    copy_row("bert");
    set_key("int8_keep", "[\"encoder.layer.0.output.dense\", \"layer.1.attention\"]");
    if (model_inspect(scratch_dir(), PRECISION_INT8, &out, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(lines_with(out.data, "  int8\n"), 1 + 18 - 5); /* the table of words, too */
    buf_done(&out);
}

/* Our own code allocates nothing from ids to probabilities: with the plain products there is no other. */
static void test_no_allocation(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "bert", "ernie", "electra-small", "albert-groups", "nezha", "xlnet", "t5", "mt5"};
    static const enum precision precisions[] = {PRECISION_FP32, PRECISION_INT8};
    enum gemm_backend before = gemm_backend();
    if (!COUNTED)
        print_message("allocations were not counted: a sanitizer owns the allocator\n");
    gemm_backend_set(GEMM_NAIVE);
    for (size_t i = 0; i < 2 * sizeof rows / sizeof *rows; i++) {
        struct err err;
        struct model *m;
        char *dir = file_path("%s/%s", ROWS_ROOT, rows[i / 2]);
        struct safetensors *st = expected_of(rows[i / 2]);
        struct batch b = golden_batch(st, "ids", "start", NULL);
        assert_int_equal(model_open(dir, precisions[i % 2], &m, &err), 0);
        struct workspace *ws = workspace_open(m, b.n, b.start[b.n]);
        float p[12 * 16];
        long n = allocations;
        for (int again = 0; again < 3; again++)
            model_classify(m, ws, &b, p);
        assert_int_equal(allocations, n);
        workspace_close(ws);
        model_close(m);
        golden_batch_done(&b);
        safetensors_close(st);
        free(dir);
    }
    gemm_backend_set(before);
}

/* The names of a directory's classes without opening its model: what a restart compares. */
static void test_labels(void **state)
{
    (void)state;
    struct err err;
    struct classes c = {0};
    copy_row("bert");
    assert_int_equal(labels_read_dir(scratch_dir(), &c, &err), 0);
    assert_int_equal(c.n, 10);
    assert_string_equal(c.names[0], "finance");
    classes_done(&c);
    char *path = scratch_write("labels.txt", "a\nb\n", 4);
    assert_int_equal(labels_read_dir(scratch_dir(), &c, &err), 0);
    assert_int_equal(c.n, 2);
    classes_done(&c);
    assert_int_equal(remove(path), 0);
    free(path);
    set_key("id2label", NULL);
    c = (struct classes){0};
    assert_int_equal(labels_read_dir(scratch_dir(), &c, &err), 0);
    assert_int_equal(c.n, 0);
    path = scratch_file("config.json");
    assert_int_equal(remove(path), 0);
    free(path);
    assert_int_equal(labels_read_dir(scratch_dir(), &c, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights), cmocka_unit_test(test_keep_mistakes),
        cmocka_unit_test(test_keep),    cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_labels),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
