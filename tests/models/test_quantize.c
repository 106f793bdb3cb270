/* Directories with weights in bytes: as the model in int8 that was opened from the floats, for every family; what
 * stays as it is; what is refused. */
#include "tests/models/rows.h"

#include "models/model.h"
#include "models/quantize.h"
#include "models/trace.h"
#include "ops/product.h"

static const char *const rows[] = {"bert",   "bert-odd", "ernie",         "electra-small",
                                   "albert", "nezha",    "albert-groups", "xlnet",
                                   "t5",     "mt5"};
enum { ROWS = sizeof rows / sizeof *rows, MOST_UNITS = 100 };

/* The row's directory in bytes, keep naming what stays; in a folder of the scratch directory. */
static char *make(const char *row, const char *keep)
{
    struct err err;
    struct quantize *q;
    bool kept[MOST_UNITS] = {0};
    char *from = file_path("%s/%s", rows_root(), row),
         *out = file_path("%s/%s-8", scratch_dir(), row);
    if (quantize_open(from, &q, &err) != 0)
        fail_msg("%s", err.msg);
    assert_true(quantize_units(q) <= MOST_UNITS);
    if (keep)
        assert_true(quantize_mark(q, keep, kept) > 0);
    if (quantize_write(q, kept, out, &err) != 0)
        fail_msg("%s", err.msg);
    quantize_close(q);
    free(from);
    return out;
}

static void remove_made(char *dir)
{
    struct err err;
    assert_int_equal(file_remove_dir(dir, &err), 0);
    free(dir);
}

/* The golden titles' logits [n][labels]; their number. */
static size_t logits_in(const char *dir, const char *row, enum precision precision, float *x,
                        enum precision *runs)
{
    struct err err;
    struct model *m;
    struct safetensors *st = expected_of(row);
    struct batch b = golden_batch(st, "ids", "start", NULL);
    struct logits l = {x, 0};
    float p[12 * 16];
    if (model_open(dir, precision, &m, &err) != 0)
        fail_msg("%s", err.msg);
    *runs = model_info(m)->precision;
    size_t n = (size_t)(b.n * model_info(m)->n_labels);
    struct workspace *ws = workspace_open(m, b.n, b.start[b.n]);
    model_trace(m, ws, &b, &(struct trace){keep_logits, &l}, p);
    workspace_close(ws);
    model_close(m);
    golden_batch_done(&b);
    safetensors_close(st);
    return n;
}

static double largest(const float *x, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)x[i]));
    return most;
}

static size_t weights_size(const char *dir)
{
    char *path = file_path("%s/model.safetensors", dir);
    struct file_map map;
    struct err err;
    assert_int_equal(file_map_open(&map, path, &err), 0);
    size_t n = map.len;
    file_map_close(&map);
    free(path);
    return n;
}

static void test_same_as_int8(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        float floats[200], int8[200], bytes[200], wide[200];
        enum precision runs;
        char *from = file_path("%s/%s", rows_root(), rows[i]), *to = make(rows[i], NULL);
        size_t n = logits_in(from, rows[i], PRECISION_FP32, floats, &runs);
        (void)logits_in(from, rows[i], PRECISION_INT8, int8, &runs);
        (void)logits_in(to, rows[i], PRECISION_AUTO, bytes, &runs);
        assert_int_equal(runs, product_has(PRODUCT_INT8) ? PRECISION_INT8 : PRECISION_FP32);
        (void)logits_in(to, rows[i], PRECISION_FP32, wide, &runs);
        assert_int_equal(runs, PRECISION_FP32);
        double size = largest(floats, n);
        /* The positions are in bytes too: not the same, but as near to the floats. */
        double was = rms_from(int8, floats, n) / size, is = rms_from(bytes, floats, n) / size,
               alone = rms_from(wide, floats, n) / size;
        if (!(is <= 1.5 * was + 0.01 && alone <= 1.5 * was + 0.01 && alone > 0))
            fail_msg("%s: off by %.3g, by %.3g in fp32; the floats in int8 by %.3g", rows[i], is,
                     alone, was);
        assert_true(weights_size(to) < weights_size(from) * 2 / 3);
        free(from);
        remove_made(to);
    }
}

/* Each matrix by itself: what is multiplied out is at most half a step from what it was, along the outputs. */
static void test_steps(void **state)
{
    (void)state;
    char *dir = make("xlnet", NULL), *path = file_path("%s/model.safetensors", dir),
         *whole_path = file_path("%s/xlnet/model.safetensors", rows_root());
    struct safetensors *st = golden_open(path), *whole = golden_open(whole_path);
    const char *const names[] = {"transformer.layer.0.rel_attn.q", "transformer.layer.1.rel_attn.o",
                                 "transformer.word_embedding.weight"};
    for (int i = 0; i < 3; i++) {
        const struct tensor *t = golden_tensor(st, names[i]), *w = golden_tensor(whole, names[i]);
        size_t n = t->bytes, first = (size_t)t->dims[0], rest = n / first;
        float *x = xmalloc(n * sizeof *x), *y = xmalloc(n * sizeof *y);
        assert_int_equal(t->dtype, DT_I8);
        assert_int_equal(t->scale_trails, i == 0);
        assert_int_equal(tensor_to_f32(t, x, NULL), 0);
        assert_int_equal(tensor_to_f32(w, y, NULL), 0);
        for (size_t k = 0; k < n; k++) {
            float step;
            memcpy(&step, (const char *)t->scale + (i == 0 ? k % rest : k / rest) * sizeof step,
                   sizeof step);
            assert_true(fabsf(x[k] - y[k]) <= 0.5001f * step);
        }
        free(x);
        free(y);
    }
    safetensors_close(st);
    safetensors_close(whole);
    remove_made(dir);
    free(path);
    free(whole_path);
}

static void test_keeps(void **state)
{
    (void)state;
    char *dir = make("bert", "encoder.layer.1"), *path = file_path("%s/model.safetensors", dir),
         *config_path = file_path("%s/config.json", dir);
    struct err err;
    struct safetensors *st = golden_open(path);
    assert_int_equal(golden_tensor(st, "bert.encoder.layer.1.output.dense.weight")->dtype, DT_F32);
    assert_int_equal(golden_tensor(st, "bert.encoder.layer.0.output.dense.weight")->dtype, DT_I8);
    assert_int_equal(golden_tensor(st, "bert.embeddings.position_embeddings.weight")->dtype, DT_I8);
    assert_int_equal(golden_tensor(st, "bert.pooler.dense.weight")->dtype, DT_F32);
    safetensors_close(st);
    json_t *config = json_parse_file(config_path, 1 << 20, &err);
    assert_int_equal(json_array_size(json_object_get(config, "int8_keep")), 6);
    json_t *how = json_object_get(config, "rubric_quantization");
    assert_int_equal(json_integer_value(json_object_get(how, "bits")), 8);
    assert_int_equal(strlen(json_string_value(json_object_get(how, "source"))), 64);
    json_decref(config);
    /* All that may stay, stays: the same numbers as before. */
    float a[200], b[200];
    enum precision runs;
    char *whole = make("albert", "albert"), *from = file_path("%s/albert", rows_root());
    size_t n = logits_in(from, "albert", PRECISION_FP32, a, &runs);
    (void)logits_in(whole, "albert", PRECISION_FP32, b, &runs);
    assert_memory_equal(a, b, n * sizeof *a);
    remove_made(dir);
    free(path);
    free(config_path);
    remove_made(whole);
    free(from);
}

static void refused(const char *dir, enum err_code code, const char *message)
{
    struct err err;
    struct quantize *q;
    assert_int_equal(quantize_open(dir, &q, &err), -1);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, message))
        fail_msg("expected \"%s\" in \"%s\"", message, err.msg);
}

static void test_refused(void **state)
{
    (void)state;
    char *dir = make("bert", NULL);
    refused(dir, ERR_CONFLICT, "its weights are in bytes already");
    refused("/nowhere", ERR_MISSING, "/nowhere/config.json");
    copy_row("bert");
    set_key("model_type", "\"linear\"");
    refused(scratch_dir(), ERR_USAGE, "linear has no matrices to quantise");
    set_key("model_type", "\"cascade\"");
    refused(scratch_dir(), ERR_USAGE, "cascade has no matrices to quantise");
    set_key("model_type", "\"bert\"");
    (void)alter("bert.encoder.layer.1.output.dense.weight", true);
    refused(scratch_dir(), ERR_MISSING, "bert.encoder.layer.1.output.dense.weight");
    /* A TextCNN's embedding that is no matrix: nothing is divided by its zeros. */
    char *weights = scratch_file("model.safetensors");
    struct tensor odd = {.name = "embedding.weight", .dtype = DT_F32, .n_dims = 2, .dims = {0, 3}};
    struct err why;
    set_key("model_type", "\"textcnn\"");
    odd.data = "";
    assert_int_equal(safetensors_write(weights, &odd, 1, NULL, &why), 0);
    refused(scratch_dir(), ERR_FORMAT, "\"embedding.weight\" of shape [0, 3] is no matrix");
    odd.n_dims = 0;
    odd.data = "1234";
    odd.bytes = 4;
    assert_int_equal(safetensors_write(weights, &odd, 1, NULL, &why), 0);
    refused(scratch_dir(), ERR_FORMAT, "\"embedding.weight\" of shape [] is no matrix");
    free(weights);
    /* No directory can be made within a file. */
    struct err err;
    struct quantize *q;
    bool keep[MOST_UNITS] = {0};
    char *from = file_path("%s/bert", rows_root()), *file = file_path("%s/config.json/x", dir);
    assert_int_equal(quantize_open(from, &q, &err), 0);
    assert_int_equal(quantize_mark(q, "no.such", keep), 0);
    assert_int_equal(quantize_write(q, keep, file, &err), -1);
    assert_int_equal(err.code, ERR_IO);
    quantize_close(q);
    free(from);
    free(file);
    remove_made(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_int8),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_keeps),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
