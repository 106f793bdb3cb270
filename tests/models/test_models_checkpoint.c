/* models/checkpoint.c; the trainer has a checkpoint.c too.  The weights of a model directory in every
 * form: PyTorch's two layouts, shards, files saved by hand; and what is wrong with a directory, by its
 * text.  Golden files: tests/golden/torch_files.py. */
#include "models/checkpoint.h"

#include "base/buf.h"
#include "base/json.h"
#include "models/inspect.h"
#include "models/model.h"
#include "tests/models/golden.h"

#define ROOT "tests/golden/torch/"
#define BERT "tests/golden/transformers/bert/"

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

/* The golden BERT cut in two shards, its encoder's names beginning with prefix and its head's with
 * outer and head; map NULL writes a right index. */
static void shard_as(const char *prefix, const char *outer, const char *head, const char *map)
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
        const char *dot = strchr(list[i].name, '.'); /* behind "bert" or "classifier" */
        list[i].name =
            base ? file_path("%s%s", prefix, dot + 1) : file_path("%s%s%s", outer, head, dot);
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

static void shard(const char *prefix, const char *map)
{
    shard_as(prefix, "", "classifier", map);
}

static void refused_dir(const char *text)
{
    struct err err;
    struct checkpoint *ck = NULL;
    assert_int_equal(checkpoint_open(scratch_dir(), &ck, &err), -1);
    assert_null(ck);
    size_t n = strlen(scratch_dir()); /* every message names the directory's file first */
    if (strncmp(err.msg, scratch_dir(), n) != 0 || strcmp(err.msg + n, text) != 0)
        fail_msg("\"%s\" is not \"DIR%s\"", err.msg, text);
}

static void test_shards(void **state)
{
    (void)state;
    static const struct {
        const char *prefix, *outer, *head;
    } names[] = {
        {"bert.", "", "classifier"},
        {"macbert.", "", "fc"},
        {"", "", "classifier"},
        {"", "", "fc"},
        {"module.bert.", "module.", "classifier"}, /* DataParallel */
        {"module.bert.", "module.", "fc"},
        {"module.", "module.", "classifier"}, /* of a model whose encoder has no name */
        {"module.", "module.", "fc"},
        {"model.encoder.bert.", "model.encoder.", "fc"},
        {"bert.", "bert.", "fc"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        clear_scratch();
        put(BERT "config.json", "config.json");
        put(BERT "vocab.txt", "vocab.txt");
        shard_as(names[i].prefix, names[i].outer, names[i].head, NULL);
        same_as_bert(MODEL_HEAD_AUTO);
    }
}

#define INDEX "/model.safetensors.index.json: "
#define ONE "model-00001-of-00002.safetensors"
#define TWO "model-00002-of-00002.safetensors"
#define MAP(pairs) "{\"weight_map\": {" pairs "}}"
#define NO_FILE ", which names no file beside the index"

static void bad_index(const char *index, const char *text)
{
    shard("bert.", index);
    refused_dir(text);
}

static void test_bad_index(void **state)
{
    (void)state;
    clear_scratch();
    bad_index("{}", INDEX "no \"weight_map\" of tensors to files");
    bad_index("[]", INDEX "no \"weight_map\" of tensors to files");
    bad_index("{\"weight_map\": []}", INDEX "no \"weight_map\" of tensors to files");
    bad_index(MAP(""), INDEX "no \"weight_map\" of tensors to files");
    bad_index("{", INDEX "line 1 column 1: string or '}' expected near end of file");
    bad_index(MAP("\"a\": \"" ONE "\", \"a\": \"" TWO "\""),
              INDEX "line 1 column 60: duplicate object key near '\"a\"'");
    static const char *const names[] = {"../model.safetensors",
                                        "/etc/model.safetensors",
                                        "a/b.bin",
                                        "a\\\\b.bin",
                                        ".hidden.bin",
                                        "..",
                                        "",
                                        "model.txt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char index[200], expected[300];
        (void)snprintf(index, sizeof index, MAP("\"a\": \"%s\""), names[i]);
        (void)snprintf(expected, sizeof expected, INDEX "\"a\" is in \"%s\"" NO_FILE,
                       strcmp(names[i], "a\\\\b.bin") == 0 ? "a\\b.bin" : names[i]);
        bad_index(index, expected);
    }
    bad_index(MAP("\"a\": 7"), INDEX "\"a\" is in \"nothing\"" NO_FILE);
    bad_index(MAP("\"a\": \"" ONE "\""),
              INDEX "tensor \"a\" is not in " ONE ", where it should be");
    char text[600];
    (void)snprintf(text, sizeof text, INDEX "%s/%s: open: No such file or directory", scratch_dir(),
                   "model-00003-of-00002.safetensors");
    bad_index(MAP("\"a\": \"model-00003-of-00002.safetensors\""), text);
    shard("bert.",
          MAP("\"bert.pooler.dense.bias\": \"" TWO "\", \"classifier.bias\": \"" ONE "\""));
    struct err err;
    struct checkpoint *ck = NULL; /* which shard has what is safetensors_write()'s choice */
    assert_int_equal(checkpoint_open(scratch_dir(), &ck, &err), -1);
    assert_int_equal(err.code, ERR_INCOMPLETE);
    char *deep = xmalloc(1 << 24); /* [[],[],… takes fifty times its length */
    for (int i = 0; i < 1 << 24; i++)
        deep[i] = i ? "[],"[(i - 1) % 3] : '[';
    free(scratch_write("model.safetensors.index.json", deep, 1 << 24));
    free(deep);
    assert_int_equal(checkpoint_open(scratch_dir(), &ck, &err), -1);
    assert_non_null(strstr(err.msg, "reading it could take"));
}

/* The same tensors in two shards, in both formats; only the mapped one is read, unless both are. */
static void test_twice(void **state)
{
    (void)state;
    struct err err;
    struct checkpoint *ck;
    clear_scratch();
    put(ROOT "small.bin", "a.bin");
    put(ROOT "nested.pt", "b.bin");
    put(ROOT "small-legacy.bin", "c.bin");
#define BIN "pytorch_model.bin.index.json"
    static const char apart[] = MAP("\"f32\": \"a.bin\", \"w\": \"b.bin\""),
                      both[] = MAP("\"f32\": \"a.bin\", \"whole\": \"c.bin\"");
    free(scratch_write(BIN, apart, sizeof apart - 1));
    if (checkpoint_open(scratch_dir(), &ck, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(checkpoint_tensors(ck)->n, 2);
    assert_non_null(tensor_set_find(checkpoint_tensors(ck), "w"));
    assert_null(tensor_set_find(checkpoint_tensors(ck), "f16"));
    char hex[SHA256_HEX], both_hex[2 * SHA256_HEX], expected[SHA256_HEX];
    assert_int_equal(sha256_file(ROOT "small.bin", hex, NULL, &err), 0);
    memcpy(both_hex, hex, SHA256_HEX - 1);
    assert_int_equal(sha256_file(ROOT "nested.pt", hex, NULL, &err), 0);
    memcpy(both_hex + SHA256_HEX - 1, hex, SHA256_HEX - 1);
    struct sha256 *h = sha256_open();
    sha256_add(h, both_hex, 2 * (SHA256_HEX - 1));
    sha256_close(h, expected);
    assert_string_equal(checkpoint_sha256(ck), expected);
    checkpoint_close(ck);
    free(scratch_write(BIN, both, sizeof both - 1));
    refused_dir("/" BIN ": tensor \"whole\" is mapped to c.bin, but a.bin has one too");
}

static void test_which_file(void **state)
{
    (void)state;
    struct err err;
    struct checkpoint *ck;
    clear_scratch();
    refused_dir(": no weights: neither model.safetensors nor pytorch_model.bin, nor an index of "
                "either, nor another file ending in .bin or .pt");
    put(ROOT "small.bin", "one.bin");
    put(ROOT "nested.pt", "optimizer.pt"); /* no weights by its name */
    put(ROOT "nested.pt", "training_args.bin");
    assert_int_equal(checkpoint_open(scratch_dir(), &ck, &err), 0);
    assert_int_equal(checkpoint_tensors(ck)->n, 14);
    char hex[SHA256_HEX];
    assert_int_equal(sha256_file(ROOT "small.bin", hex, NULL, &err), 0);
    assert_string_equal(checkpoint_sha256(ck), hex);
    checkpoint_close(ck);
    put(ROOT "nested.pt", "two.pt");
    refused_dir(": 2 files end in .bin or .pt (one.bin, two.pt), and none is called "
                "model.safetensors or pytorch_model.bin");
    put(ROOT "nested.pt", "three.pt");
    refused_dir(": 3 files end in .bin or .pt (one.bin, two.pt, ...), and none is called "
                "model.safetensors or pytorch_model.bin");
    /* Each usual name wins over those tried before it here. */
    static const char index[] = MAP("\"f32\": \"one.bin\"");
    free(scratch_write("pytorch_model.bin.index.json", index, sizeof index - 1));
    assert_int_equal(checkpoint_open(scratch_dir(), &ck, &err), 0);
    assert_non_null(tensor_set_find(checkpoint_tensors(ck), "f32"));
    assert_int_equal(checkpoint_tensors(ck)->n, 1);
    checkpoint_close(ck);
    put(ROOT "nested.pt", "pytorch_model.bin");
    assert_int_equal(checkpoint_open(scratch_dir(), &ck, &err), 0);
    assert_non_null(tensor_set_find(checkpoint_tensors(ck), "w"));
    checkpoint_close(ck);
    static const char second[] = MAP("\"f32\": \"one.bin\", \"f16\": \"one.bin\"");
    free(scratch_write("model.safetensors.index.json", second, sizeof second - 1));
    assert_int_equal(checkpoint_open(scratch_dir(), &ck, &err), 0);
    assert_int_equal(checkpoint_tensors(ck)->n, 2);
    checkpoint_close(ck);
    put(BERT "model.safetensors", "model.safetensors");
    assert_int_equal(checkpoint_open(scratch_dir(), &ck, &err), 0);
    assert_true(checkpoint_tensors(ck)->n > 30);
    checkpoint_close(ck);
    checkpoint_close(NULL);
}

static void test_skipped(void **state)
{
    (void)state;
    struct err err;
    struct buf out;
    clear_scratch();
    put(ROOT "nested.pt", "pytorch_model.bin"); /* "w" and "steps": 7 */
    static const char config[] = "{\"model_type\": \"textcnn\"}";
    free(scratch_write("config.json", config, sizeof config - 1));
    buf_init(&out, 4096);
    if (model_inspect(scratch_dir(), PRECISION_FP32, &out, &err) != 0)
        fail_msg("%s", err.msg);
    assert_non_null(strstr(out.data, "values of the state dictionary that are no tensors: 1\n"));
    put(ROOT "small.bin", "pytorch_model.bin");
    buf_reset(&out);
    assert_int_equal(model_inspect(scratch_dir(), PRECISION_FP32, &out, &err), 0);
    assert_null(strstr(out.data, "no tensors"));
    buf_done(&out);
}

static void test_pointers(void **state)
{
    (void)state;
    static const char pointer[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\n";
    clear_scratch();
    free(scratch_write("pytorch_model.bin", pointer, sizeof pointer - 1));
    refused_dir("/pytorch_model.bin: a pointer of git-lfs in place of the file: fetch it, git lfs "
                "pull");
    free(scratch_write("model.safetensors", pointer, sizeof pointer - 1));
    refused_dir("/model.safetensors: a pointer of git-lfs in place of the file: fetch it, git lfs "
                "pull");
    clear_scratch();
    free(scratch_write("pytorch_model.bin", "not a file", 10));
    refused_dir("/pytorch_model.bin: 10 bytes that begin neither as a zip archive nor as PyTorch's "
                "older layout: not what torch.save() writes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_files), cmocka_unit_test(test_shards),
        cmocka_unit_test(test_bad_index),   cmocka_unit_test(test_twice),
        cmocka_unit_test(test_which_file),  cmocka_unit_test(test_pointers),
        cmocka_unit_test(test_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
