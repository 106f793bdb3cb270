/* Checkpoints in every form: PyTorch's two layouts, shards, files saved by hand; and what is wrong with
 * them, by its text. Golden files: tests/golden/torch_files.py. */
#include "tests/models/golden.h"

#include "base/json.h"
#include "models/checkpoint.h"
#include "models/model.h"
#include "models/torch_file.h"

#define ROOT "tests/golden/torch/"
#define BERT "tests/golden/transformers/bert/"

static const struct tensor *get(const struct tensor_set *set, const char *name, enum dtype dtype,
                                int n_dims)
{
    const struct tensor *t = tensor_set_find(set, name);
    if (!t)
        fail_msg("no tensor %s", name);
    assert_int_equal(t->dtype, dtype);
    assert_int_equal(t->n_dims, n_dims);
    return t;
}

static void check_floats(const struct tensor_set *set, const char *name, enum dtype dtype,
                         int n_dims, int n, float step)
{
    float x[64];
    const struct tensor *t = get(set, name, dtype, n_dims);
    assert_int_equal(t->bytes, (size_t)n * dtype_size(dtype));
    assert_int_equal(tensor_to_f32(t, x, NULL), 0);
    for (int i = 0; i < n; i++)
        assert_true(fabsf(x[i] - (float)i * step) < 1e-6f);
}

static void check_small(const char *path)
{
    struct err err;
    struct torch_file *f;
    if (torch_file_open(path, &f, &err) != 0)
        fail_msg("%s", err.msg);
    const struct tensor_set *s = torch_file_tensors(f);
    assert_int_equal(s->n, 14);
    check_floats(s, "f32", DT_F32, 3, 24, 0.5f);
    check_floats(s, "f16", DT_F16, 1, 24, 0.25f);
    check_floats(s, "bf16", DT_BF16, 1, 6, 1);
    check_floats(s, "f64", DT_F64, 1, 3, 1.0f / 3);
    check_floats(s, "whole", DT_F32, 1, 24, 1);
    check_floats(s, "empty", DT_F32, 2, 0, 0);
    float x[24];
    assert_int_equal(tensor_to_f32(get(s, "tail", DT_F32, 1), x, NULL), 0);
    assert_true(x[0] == 20 && x[3] == 23);
    assert_ptr_equal(get(s, "tail", DT_F32, 1)->data, /* one storage, no copy */
                     (const char *)get(s, "whole", DT_F32, 1)->data + 80);
    const struct tensor *turned = get(s, "turned", DT_F32, 2);
    assert_true(turned->dims[0] == 6 && turned->dims[1] == 4);
    assert_int_equal(tensor_to_f32(turned, x, NULL), 0);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 4; j++)
            assert_true(x[i * 4 + j] == (float)(j * 6 + i));
    assert_int_equal(tensor_to_f32(get(s, "parameter", DT_F32, 1), x, NULL), 0);
    assert_true(x[2] == 2);
    assert_int_equal(tensor_to_f32(get(s, "scalar", DT_F32, 0), x, NULL), 0);
    assert_true(x[0] == 3.5f);
    int64_t wide[2];
    memcpy(wide, get(s, "i64", DT_I64, 1)->data, sizeof wide);
    assert_true(wide[0] == -5 && wide[1] == 7);
    assert_int_equal(get(s, "i32", DT_I32, 2)->dims[0], 2);
    assert_int_equal(*(const unsigned char *)get(s, "flags", DT_BOOL, 1)->data, 1);
    assert_int_equal(((const unsigned char *)get(s, "bytes", DT_U8, 1)->data)[1], 255);
    torch_file_close(f);
}

static void test_small(void **state)
{
    (void)state;
    check_small(ROOT "small.bin");
    check_small(ROOT "small-legacy.bin");
    struct err err;
    struct torch_file *f;
    assert_int_equal(torch_file_open(ROOT "nested.pt", &f, &err), 0);
    assert_int_equal(torch_file_tensors(f)->n, 1);
    check_floats(torch_file_tensors(f), "w", DT_F32, 1, 4, 1);
    torch_file_close(f);
}

static void refused_file(const char *path, enum err_code code, const char *text)
{
    struct err err;
    struct torch_file *f = NULL;
    assert_int_equal(torch_file_open(path, &f, &err), -1);
    assert_null(f);
    if (!strstr(err.msg, text))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
    assert_int_equal(err.code, code);
}

static void test_refused_globals(void **state)
{
    (void)state;
    refused_file(ROOT "code.pt", ERR_FORMAT, "the global \"os system\" is not allowed");
    refused_file(ROOT "quantized.pt", ERR_FORMAT, "save the model in floats");
}

/* Every shorter file is refused or, where only the end of nothing important is missing, read: never more. */
static void test_truncated(void **state)
{
    (void)state;
    static const char *const files[] = {ROOT "small.bin", ROOT "small-legacy.bin"};
    for (int k = 0; k < 2; k++) {
        char *data;
        size_t len;
        struct err err;
        assert_int_equal(file_read(files[k], 1 << 20, &data, &len, &err), 0);
        for (size_t n = 0; n < len; n++) {
            char *part = xmalloc(n + !n); /* exactly so long: a sanitizer sees more */
            struct torch_file *f = NULL;
            memcpy(part, data, n);
            if (torch_file_parse("part", part, n, &f, &err) == 0)
                fail_msg("%s: %zu of %zu bytes pass", files[k], n, len);
            assert_null(f);
            free(part);
        }
        free(data);
    }
}

/* Each byte turned: an error or another file, never a crash. */
static void test_turned_bytes(void **state)
{
    (void)state;
    static const char *const files[] = {ROOT "small.bin", ROOT "small-legacy.bin"};
    for (int k = 0; k < 2; k++) {
        char *data;
        size_t len;
        struct err err;
        assert_int_equal(file_read(files[k], 1 << 20, &data, &len, &err), 0);
        for (size_t i = 0; i < len; i++)
            for (int bit = 0; bit < 8; bit += 3) {
                struct torch_file *f = NULL;
                data[i] = (char)(data[i] ^ 1 << bit);
                if (torch_file_parse("turned", data, len, &f, &err) == 0) {
                    const struct tensor_set *s = torch_file_tensors(f);
                    unsigned sum = 0;
                    for (size_t t = 0; t < s->n; t++)
                        for (size_t b = 0; b < s->tensors[t].bytes; b++)
                            sum += ((const unsigned char *)s->tensors[t].data)[b];
                    assert_true(sum < UINT32_MAX);
                    torch_file_close(f);
                }
                data[i] = (char)(data[i] ^ 1 << bit);
            }
        free(data);
    }
}

static void clear_scratch(void)
{
    struct file_list list;
    assert_int_equal(file_list(scratch_dir(), &list, NULL), 0);
    for (size_t i = 0; i < list.n; i++) {
        char *path = scratch_file(list.names[i]);
        (void)remove(path);
        free(path);
    }
    file_list_free(&list);
}

static void put(const char *from, const char *name)
{
    struct err err;
    char *to = scratch_file(name);
    if (file_copy(from, to, &err) != 0)
        fail_msg("%s", err.msg);
    free(to);
}

/* The golden BERT's probabilities from the model in the scratch folder are those of its own. */
static void same_as_bert(enum model_head head)
{
    struct err err;
    struct model *a, *b = NULL;
    struct safetensors *st = golden_open(BERT "expected.safetensors");
    struct batch batch = golden_batch(st, "ids", "start", NULL);
    float p[2][12 * 10];
    assert_int_equal(model_open("tests/golden/transformers/bert", PRECISION_FP32, &a, &err), 0);
    if (model_open_with(scratch_dir(), &(struct model_options){PRECISION_FP32, head}, &b, &err) !=
        0)
        fail_msg("%s", err.msg);
    struct workspace *wa = workspace_open(a, batch.n, batch.start[batch.n]),
                     *wb = workspace_open(b, batch.n, batch.start[batch.n]);
    model_classify(a, wa, &batch, p[0]);
    model_classify(b, wb, &batch, p[1]);
    assert_memory_equal(p[0], p[1], sizeof p[0]);
    workspace_close(wa);
    workspace_close(wb);
    model_close(a);
    model_close(b);
    golden_batch_done(&batch);
    safetensors_close(st);
}

static void test_other_files(void **state)
{
    (void)state;
    clear_scratch(); /* LayerNorm.gamma and beta, in an archive */
    put(BERT "config.json", "config.json");
    put(BERT "vocab.txt", "vocab.txt");
    put(ROOT "bert.bin", "pytorch_model.bin");
    same_as_bert(MODEL_HEAD_AUTO);
    clear_scratch(); /* by hand: the older layout, no prefix, a head called fc */
    put(BERT "config.json", "config.json");
    put(BERT "vocab.txt", "vocab.txt");
    put(ROOT "bert-hand.pt", "bert_headlines.pt");
    same_as_bert(MODEL_HEAD_AUTO);
    same_as_bert(MODEL_HEAD_POOLED);
    /* The same weights under a head that reads the row itself are another model. */
    struct err err;
    struct model *m;
    struct model_options row = {PRECISION_FP32, MODEL_HEAD_ROW};
    assert_int_equal(model_open_with(scratch_dir(), &row, &m, &err), 0);
    model_close(m);
}

/* The golden BERT cut in two shards, its names renamed by prefix; map NULL writes a right index. */
static void shard(const char *prefix, const char *map)
{
    struct err err;
    struct safetensors *st = golden_open(BERT "model.safetensors");
    const struct tensor_set *set = safetensors_tensors(st);
    struct tensor *list = xcalloc(set->n, sizeof *list);
    json_t *weights = json_object();
    static const char *const names[] = {"model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors"};
    for (size_t i = 0; i < set->n; i++) {
        list[i] = set->tensors[i];
        bool base = strncmp(list[i].name, "bert.", 5) == 0;
        list[i].name = file_path("%s%s", base ? prefix : "", list[i].name + (base ? 5 : 0));
        (void)json_object_set_new(weights, list[i].name, json_string(names[i >= set->n / 2]));
    }
    for (int k = 0; k < 2; k++) {
        char *path = scratch_file(names[k]);
        size_t half = set->n / 2;
        assert_int_equal(
            safetensors_write(path, k ? list + half : list, k ? set->n - half : half, NULL, &err),
            0);
        free(path);
    }
    json_t *index = json_object();
    (void)json_object_set_new(index, "weight_map", weights);
    char *text = json_dumps(index, 0);
    free(scratch_write("model.safetensors.index.json", map ? map : text, strlen(map ? map : text)));
    free(text);
    json_decref(index);
    for (size_t i = 0; i < set->n; i++)
        free((void *)(uintptr_t)list[i].name);
    free(list);
    safetensors_close(st);
}

static void refused_dir(const char *text)
{
    struct err err;
    struct checkpoint *ck = NULL;
    assert_int_equal(checkpoint_open(scratch_dir(), &ck, &err), -1);
    assert_null(ck);
    if (!strstr(err.msg, text))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
}

static void test_shards(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"bert.", "macbert.", "", "module.bert."};
    for (int i = 0; i < 4; i++) {
        clear_scratch();
        put(BERT "config.json", "config.json");
        put(BERT "vocab.txt", "vocab.txt");
        shard(prefixes[i], NULL);
        if (i < 3) /* module. stands before the head too */
            same_as_bert(MODEL_HEAD_AUTO);
    }
    shard("bert.", "{}");
    refused_dir("no \"weight_map\"");
    shard("bert.", "{\"weight_map\": {\"a\": \"../model.safetensors\"}}");
    refused_dir("names no file beside the index");
    shard("bert.", "{\"weight_map\": {\"a\": 7}}");
    refused_dir("names no file beside the index");
    shard("bert.", "{\"weight_map\": {\"a\": \"model-00003-of-00002.safetensors\"}}");
    refused_dir("model-00003-of-00002.safetensors");
    shard("bert.", "{\"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\"}}");
    refused_dir("tensor \"a\" is not in model-00001-of-00002.safetensors");
}

static void test_which_file(void **state)
{
    (void)state;
    struct err err;
    struct checkpoint *ck;
    clear_scratch();
    refused_dir("no weights: neither model.safetensors nor pytorch_model.bin");
    put(ROOT "small.bin", "one.bin");
    assert_int_equal(checkpoint_open(scratch_dir(), &ck, &err), 0);
    assert_int_equal(checkpoint_tensors(ck)->n, 14);
    char hex[SHA256_HEX];
    assert_int_equal(sha256_file(ROOT "small.bin", hex, NULL, &err), 0);
    assert_string_equal(checkpoint_sha256(ck), hex);
    checkpoint_close(ck);
    put(ROOT "nested.pt", "two.pt");
    refused_dir("2 files end in .bin or .pt");
    put(ROOT "nested.pt", "pytorch_model.bin"); /* the usual name wins */
    assert_int_equal(checkpoint_open(scratch_dir(), &ck, &err), 0);
    assert_int_equal(checkpoint_tensors(ck)->n, 1);
    checkpoint_close(ck);
    put(BERT "model.safetensors", "model.safetensors");
    assert_int_equal(checkpoint_open(scratch_dir(), &ck, &err), 0);
    assert_true(checkpoint_tensors(ck)->n > 50);
    checkpoint_close(ck);
    clear_scratch();
    free(scratch_write("pytorch_model.bin", "not a file", 10));
    refused_dir("pytorch_model.bin");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),       cmocka_unit_test(test_refused_globals),
        cmocka_unit_test(test_truncated),   cmocka_unit_test(test_turned_bytes),
        cmocka_unit_test(test_other_files), cmocka_unit_test(test_shards),
        cmocka_unit_test(test_which_file),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
