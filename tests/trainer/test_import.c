/* `import`: an export by PyTorch gives the checkpoint it was made of, bit for bit; what is not recognised is
 * refused by name, and no bytes do harm. */
#include "tests/trainer/run.h"

#include "base/json.h"
#include "base/rng.h"
#include "models/safetensors.h"
#include "proto/codec_onnx.h"
#include "trainer/import_onnx.h"

#define ONNX "tests/golden/encoder.onnx"
#define ROW "tests/golden/transformers/bert-bare"

static long whole(const json_t *config, const char *key)
{
    return (long)json_integer_value(json_object_get(config, key));
}

static void same_config(const char *path)
{
    static const char *const keys[] = {"vocab_size",        "hidden_size",
                                       "num_hidden_layers", "num_attention_heads",
                                       "intermediate_size", "max_position_embeddings",
                                       "type_vocab_size"};
    json_t *got = json_parse_file(path, 1 << 20, NULL),
           *expected = json_parse_file(ROW "/config.json", 1 << 20, NULL);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_int_equal(whole(got, keys[i]), whole(expected, keys[i]));
    assert_string_equal(json_string_value(json_object_get(got, "hidden_act")), "gelu");
    assert_true(json_real_value(json_object_get(got, "layer_norm_eps")) == 1e-12);
    json_decref(got);
    json_decref(expected);
}

static void same_weights(const char *path)
{
    struct safetensors *a, *b;
    assert_int_equal(safetensors_open(path, &a, NULL), 0);
    assert_int_equal(safetensors_open(ROW "/model.safetensors", &b, NULL), 0);
    const struct tensor_set *got = safetensors_tensors(a), *expected = safetensors_tensors(b);
    assert_int_equal(got->n, expected->n);
    for (size_t i = 0; i < expected->n; i++) {
        const struct tensor *e = &expected->tensors[i], *t = tensor_set_find(got, e->name);
        if (!t)
            fail_msg("no %s", e->name);
        assert_int_equal(t->n_dims, e->n_dims);
        assert_memory_equal(t->dims, e->dims, (size_t)e->n_dims * sizeof *e->dims);
        assert_int_equal(t->bytes, e->bytes);
        assert_memory_equal(t->data, e->data, e->bytes);
    }
    safetensors_close(a);
    safetensors_close(b);
}

static void bit_for_bit(void **state)
{
    (void)state;
    assert_int_equal(
        run_verb(verb_import, "--onnx", ONNX, "--vocab", ROW "/vocab.txt", "--out", "%/m"), 0);
    char *path = file_path("%s/m/config.json", run_dir);
    same_config(path);
    free(path);
    path = file_path("%s/m/model.safetensors", run_dir);
    same_weights(path);
    free(path);
    run_expect_text("m/tokenizer_config.json", "\"do_lower_case\": true");
    /* And it is a checkpoint to go on from. */
    path = file_path("%s/m", run_dir);
    assert_int_equal(run_verb(verb_fit, "--arch", "bert", "--from", path, "--data", TINY, "--batch",
                              "32", "--epochs", "1", "--out", "%/n"),
                     0);
    run_expect_text("stdout", "new: bert.pooler.dense.weight");
    assert_int_equal(
        run_verb(verb_import, "--onnx", ONNX, "--vocab", ROW "/vocab.txt", "--out", "%/m"), 70);
    run_expect_text("stderr", "holds a model already");
    free(path);
}

/* The same pieces as a tokenizer.json holds them. */
static void write_json(const char *name, long shift)
{
    char *text, *rest, *path = file_path("%s/%s", run_dir, name);
    json_t *vocab = json_object(), *root = json_pack("{s:{s:o}}", "model", "vocab", vocab);
    long id = 0;
    assert_int_equal(file_read(ROW "/vocab.txt", 1 << 20, &text, NULL, NULL), 0);
    rest = text;
    for (char *line; (line = strsep(&rest, "\n")) && *line; id++)
        (void)json_object_set_new(vocab, line, json_integer(id == 7 ? id + shift : id));
    char *out = json_dumps(root, 0);
    assert_int_equal(file_replace(path, out, strlen(out), NULL), 0);
    json_decref(root);
    free(out);
    free(text);
    free(path);
}

static void vocabularies(void **state)
{
    (void)state;
    write_json("good.json", 0);
    write_json("bad.json", 1);
    assert_int_equal(run_verb(verb_import, "--onnx", ONNX, "--vocab", "%/good.json", "--out", "%/m",
                              "--do-lower-case=false"),
                     0);
    char *a = run_read("m/vocab.txt", NULL), *b;
    assert_int_equal(file_read(ROW "/vocab.txt", 1 << 20, &b, NULL, NULL), 0);
    assert_string_equal(a, b);
    free(a);
    free(b);
    run_expect_text("m/tokenizer_config.json", "\"do_lower_case\": false");
    assert_int_equal(run_verb(verb_import, "--onnx", ONNX, "--vocab", "%/bad.json", "--out", "%/n"),
                     65);
    run_expect_text("stderr", "its id is no number of its own below");
    assert_int_equal(
        run_verb(verb_import, "--onnx", ONNX, "--vocab", ROW "/config.json", "--out", "%/n"), 65);
    run_expect_text("stderr", "no \"vocab\" of pieces in \"model\"");
    assert_int_equal(run_verb(verb_import, "--onnx", ROW "/vocab.txt", "--vocab", ROW "/vocab.txt",
                              "--out", "%/n"),
                     65);
    run_expect_text("stderr", "not an ONNX model");
    assert_false(run_exists("n/config.json"));
    assert_false(run_exists("n/vocab.txt"));
}

static char *read_golden(size_t *len)
{
    char *data;
    assert_int_equal(file_read(ONNX, 1 << 24, &data, len, NULL), 0);
    return data;
}

/* The error of importing the golden file where one text stands for another of the same length. */
static void refused(const char *from, const char *to, const char *expected)
{
    size_t len, n = strlen(from), hits = 0;
    char *data = read_golden(&len), *path = file_path("%s/x.onnx", run_dir);
    struct onnx_graph *g;
    struct imported m;
    struct err err;
    assert_int_equal(strlen(to), n);
    for (char *p = data; (p = memmem(p, len - (size_t)(p - data), from, n)) != NULL; p += n) {
        memcpy(p, to, n);
        hits++;
    }
    assert_true(hits > 0);
    assert_int_equal(file_replace(path, data, len, NULL), 0);
    assert_int_equal(onnx_open(path, &g, &err), 0);
    assert_int_equal(import_onnx(g, &m, &err), -1);
    assert_int_equal(m.n, 0);
    if (!strstr(err.msg, expected) || strncmp(err.msg, path, strlen(path)) != 0)
        fail_msg("%s", err.msg);
    onnx_close(g);
    free(path);
    free(data);
}

static void not_recognised(void **state)
{
    (void)state;
    refused("Softmax", "Sigmoid", "expected attention's probabilities times its values");
    refused("Erf", "Tan", "expected gelu or relu");
    refused("Sqrt", "Cbrt", "expected a layer's norm");
    refused("token_type_ids", "token_kind_ids",
            "expected rows of input_ids, of token_type_ids and of positions");
    refused("encoder.layer.1.output.dense.bias", "encoder.layer.0.output.dense.bias",
            "tensor \"encoder.layer.");
}

/* Positions that count ids from their values, as RoBERTa's do, and a table of others than 0, 1, 2, … */
static void positions_of_others(void **state)
{
    (void)state;
    static const char *const ids[] = {"input_ids"}, *const counted[] = {"counted"},
                             *const slice[] = {"/embeddings/Slice_output_0"};
    struct onnx_graph *g;
    struct imported m;
    struct err err;
    assert_int_equal(onnx_open(ONNX, &g, &err), 0);
    struct onnx_node *nodes = xmalloc((g->n_nodes + 1) * sizeof *nodes);
    struct onnx_graph other = *g;
    memcpy(nodes, g->nodes, g->n_nodes * sizeof *nodes);
    nodes[g->n_nodes] = (struct onnx_node){
        .name = "count", .op = "CumSum", .in = ids, .out = counted, .n_in = 1, .n_out = 1};
    other.nodes = nodes;
    other.n_nodes++;
    size_t at = 0, table = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (nodes[i].n_out && strcmp(nodes[i].out[0], slice[0]) == 0)
            at = i;
        if (nodes[i].value && nodes[i].value->type == ONNX_INT64 && nodes[i].value->n_dims == 2)
            table = i;
    }
    assert_true(at > 0);
    struct onnx_node kept = nodes[at];
    nodes[at].in = ids; /* the slice of ids themselves */
    nodes[at].n_in = 1;
    assert_int_equal(import_onnx(&other, &m, &err), -1);
    assert_non_null(strstr(err.msg, "positions that count from 0"));
    nodes[at].in = counted; /* and of what is counted along them */
    assert_int_equal(import_onnx(&other, &m, &err), -1);
    assert_non_null(strstr(err.msg, "positions that count from 0"));
    nodes[at] = kept;
    struct onnx_tensor from_two = *nodes[table].value;
    int64_t *numbers = xmalloc(from_two.bytes);
    for (size_t i = 0; i < from_two.bytes / sizeof *numbers; i++)
        numbers[i] = (int64_t)i + 2;
    from_two.data = numbers;
    nodes[table].value = &from_two;
    assert_int_equal(import_onnx(&other, &m, &err), -1);
    assert_non_null(strstr(err.msg, "positions that count from 0"));
    nodes[table].value = g->nodes[table].value;
    /* The right table with something added, as BART has it. */
    const char *const sum[] = {g->nodes[table].out[0], kept.in[1]};
    const char *cut[] = {"counted", kept.in[1], kept.in[2], kept.in[3], kept.in[4]};
    nodes[g->n_nodes].op = "Add";
    nodes[g->n_nodes].in = sum;
    nodes[g->n_nodes].n_in = 2;
    nodes[at].in = cut;
    assert_int_equal(kept.n_in, 5);
    assert_int_equal(import_onnx(&other, &m, &err), -1);
    assert_non_null(strstr(err.msg, "positions that count from 0"));
    nodes[g->n_nodes].op = "Cast"; /* which leaves them as they are */
    assert_int_equal(import_onnx(&other, &m, &err), 0);
    imported_done(&m);
    /* From the second on. */
    const struct onnx_tensor *one = NULL;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (strcmp(g->nodes[i].out[0], kept.in[4]) == 0)
            one = g->nodes[i].value;
    assert_non_null(one);
    cut[0] = g->nodes[table].out[0];
    cut[1] = kept.in[4];
    assert_int_equal(import_onnx(&other, &m, &err), -1);
    nodes[at] = kept;
    assert_int_equal(import_onnx(&other, &m, &err), 0);
    imported_done(&m);
    free(numbers);
    free(nodes);
    onnx_close(g);
}

static size_t varint(uint64_t x, unsigned char *to)
{
    size_t n = 0;
    for (; x >= 0x80; x >>= 7)
        to[n++] = (unsigned char)(x | 0x80);
    to[n++] = (unsigned char)x;
    return n;
}

/* A model of one empty tensor of floats with these dimensions, whose product may wrap round to 0. */
static void sizes_that_wrap(void **state)
{
    (void)state;
    static const uint64_t dims[][2] = {{(uint64_t)1 << 40, (uint64_t)1 << 40},
                                       {(uint64_t)1 << 32, (uint64_t)1 << 32},
                                       {(uint64_t)1 << 62, 4},
                                       {UINT64_MAX, 1}};
    char *path = file_path("%s/x.onnx", run_dir);
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
        unsigned char t[64] = {0x0a, 0}, file[80], *p = t + 2; /* dims, packed */
        p += varint(dims[i][0], p);
        p += varint(dims[i][1], p);
        t[1] = (unsigned char)(p - t - 2);
        const unsigned char rest[] = {0x10, 1,    0x42, 1,
                                      'w',  0x4a, 0}; /* floats called w, no bytes */
        memcpy(p, rest, sizeof rest);
        size_t n = (size_t)(p - t) + sizeof rest;
        const unsigned char head[] = {0x3a, (unsigned char)(n + 2), 0x2a, (unsigned char)n};
        memcpy(file, head, sizeof head);
        memcpy(file + sizeof head, t, n);
        struct onnx_graph *g;
        struct err err;
        assert_int_equal(file_replace(path, file, sizeof head + n, NULL), 0);
        assert_int_equal(onnx_open(path, &g, &err), -1);
        if (!strstr(err.msg, "tensor \"w\": dimension "))
            fail_msg("%s", err.msg);
    }
    free(path);
}

/* Bytes changed anywhere: an error or a model, never harm (a sanitizer watches). */
static void hostile_bytes(void **state)
{
    (void)state;
    size_t len;
    char *data = read_golden(&len), *copy = xmalloc(len), *path = file_path("%s/x.onnx", run_dir);
    int opened = 0, imported = 0;
    for (uint64_t k = 0; k < 400; k++) {
        memcpy(copy, data, len);
        size_t n = k % 5 == 0 ? rng_u64(1, 1, k) % len : len;
        for (uint64_t i = 0; i < 1 + k % 4; i++) {
            /* Near the beginning are the nodes. */
            size_t at = rng_u64(1, 2 + i, k) % (k % 2 ? len : 40000);
            copy[at] = (char)rng_u64(1, 20 + i, k);
        }
        FILE *f = fopen(path, "wb");
        assert_int_equal(fwrite(copy, 1, n, f), n);
        (void)fclose(f);
        struct onnx_graph *g;
        struct imported m;
        struct err err;
        if (onnx_open(path, &g, &err) != 0)
            continue;
        opened++;
        if (import_onnx(g, &m, &err) == 0) {
            imported++;
            imported_done(&m);
        }
        onnx_close(g);
    }
    assert_true(opened > 20 && imported > 5);
    free(path);
    free(copy);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bit_for_bit, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(vocabularies, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(not_recognised, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(positions_of_others, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(sizes_that_wrap, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(hostile_bytes, run_setup, run_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
