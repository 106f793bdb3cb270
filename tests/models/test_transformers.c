/* Every transformer row against what transformers and PyTorch computed (tests/golden/
 * transformers_rows.py): ids, embeddings, each layer, logits, on the path that ships. Then the test
 * is tested: each particular of a row, switched off, must make the comparison fail. */
#include "tests/models/golden.h"

#include <dirent.h>

#include "base/json.h"
#include "models/trace.h"
#include "models/tensors.h"
#include "ops/gemm.h"
#include "ops/product.h"

#define ROOT "tests/golden/transformers"
/* Rows at their published sizes, made by `make parity`, are elsewhere and not all there. */
static const char *root(void)
{
    const char *other = getenv("RUBRIC_GOLDEN_ROWS");
    return other ? other : ROOT;
}

static bool has_row(const char *row)
{
    char *path = file_path("%s/%s/expected.safetensors", root(), row);
    bool there = file_exists(path);
    free(path);
    return there || !getenv("RUBRIC_GOLDEN_ROWS"); /* the committed ones must be */
}

#define TOLERANCE 1e-4 /* of the largest number of the tensor */

static const char *const rows[] = {
    "bert",   "bert-odd",      "bert-bare", "mengzi", "ernie",      "electra", "electra-small",
    "albert", "albert-groups", "nezha",     "xlnet",  "xlnet-gelu", "t5",      "mt5"};
enum { ROWS = sizeof rows / sizeof *rows, MAX_NAMES = 24 };

/* What a trace is compared with, name by name. */
struct comparison {
    const struct safetensors *expected;
    struct {
        char name[40];
        int64_t seen;
        double worst, largest;
    } names[MAX_NAMES];
    int n;
    bool wrong_shape;
};

static void compare(void *arg, const char *name, int32_t first_title, const float *x, int n_rows,
                    int columns)
{
    struct comparison *c = arg;
    const struct tensor *t = tensor_set_find(safetensors_tensors(c->expected), name);
    int i = 0;
    (void)first_title;
    if (!t)
        return;
    while (i < c->n && strcmp(c->names[i].name, name) != 0)
        i++;
    if (i == c->n) {
        assert_true(c->n < MAX_NAMES);
        (void)snprintf(c->names[c->n++].name, sizeof c->names[i].name, "%s", name);
    }
    if (t->dims[1] != columns || c->names[i].seen + n_rows > t->dims[0]) {
        c->wrong_shape = true;
        return;
    }
    const float *from = (const float *)t->data + c->names[i].seen * columns;
    for (int k = 0; k < n_rows * columns; k++) {
        double d = fabs((double)x[k] - from[k]);
        c->names[i].worst = d > c->names[i].worst || isnan(d) ? d : c->names[i].worst;
        c->names[i].largest = fmax(c->names[i].largest, fabs(from[k]));
    }
    c->names[i].seen += n_rows;
}

static struct safetensors *expected_of(const char *row)
{
    char *path = file_path("%s/%s/expected.safetensors", root(), row);
    struct safetensors *st = golden_open(path);
    free(path);
    return st;
}

/* The largest relative error over all tensors of a row, computed by the model in dir. */
static double error_of(const char *dir, const char *row, enum precision precision)
{
    struct err err;
    struct model *m = NULL;
    struct safetensors *st = expected_of(row);
    struct comparison c = {.expected = st};
    struct batch b = golden_batch(st, "ids", "start", NULL);
    float p[12 * 16];
    if (model_open(dir, precision, &m, &err) != 0)
        fail_msg("%s", err.msg);
    struct workspace *ws = workspace_open(m, b.n, b.start[b.n]);
    model_trace(m, ws, &b, &(struct trace){compare, &c}, p);
    double worst = c.wrong_shape ? INFINITY : 0;
    for (int i = 0; i < c.n; i++) {
        double e = c.names[i].worst / c.names[i].largest;
        worst = e > worst || isnan(e) ? e : worst;
        assert_int_equal(c.names[i].seen, golden_tensor(st, c.names[i].name)->dims[0]);
    }
    assert_true(c.n >= 3); /* embeddings, a layer, the last layer or logits */
    workspace_close(ws);
    model_close(m);
    golden_batch_done(&b);
    safetensors_close(st);
    return worst;
}

static void test_parity(void **state)
{
    (void)state;
    enum gemm_backend before = gemm_backend();
    for (int k = 0; k < GEMM_BACKENDS; k++) {
        if (!gemm_backend_built((enum gemm_backend)k) ||
            (k == GEMM_NAIVE && getenv("RUBRIC_GOLDEN_ROWS"))) /* it would take hours */
            continue;
        gemm_backend_set((enum gemm_backend)k);
        for (int i = 0; i < ROWS; i++) {
            if (!has_row(rows[i]))
                continue;
            char *dir = file_path("%s/%s", root(), rows[i]);
            double e = error_of(dir, rows[i], PRECISION_FP32);
            if (!(e <= TOLERANCE))
                fail_msg("%s, %s: off by %.2g of the largest", rows[i],
                         gemm_backend_name((enum gemm_backend)k), e);
            free(dir);
        }
    }
    gemm_backend_set(before);
}

static void test_tokenizers(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        if (!has_row(rows[i]))
            continue;
        char *dir = file_path("%s/%s", root(), rows[i]);
        struct safetensors *st = expected_of(rows[i]);
        struct err err;
        struct model *m = NULL;
        struct batch b = golden_batch(st, "ids", "start", NULL);
        int32_t n, *start = golden_copy(st, "title_start", DT_I32, &n), ids[600];
        char *text = golden_copy(st, "titles", DT_U8, NULL);
        assert_int_equal(model_open(dir, PRECISION_FP32, &m, &err), 0);
        assert_int_equal(n - 1, b.n);
        for (int32_t t = 0; t < b.n; t++) {
            int32_t got =
                model_encode(m, text + start[t], (size_t)(start[t + 1] - start[t]), ids, 600, NULL);
            assert_int_equal(got, b.start[t + 1] - b.start[t]);
            assert_memory_equal(ids, b.ids + b.start[t], (size_t)got * sizeof *ids);
        }
        model_close(m);
        free(start);
        free(text);
        golden_batch_done(&b);
        safetensors_close(st);
        free(dir);
    }
}

/* The logits of a batch, as softmax leaves them. */
static void classify(const struct model *m, struct workspace *ws, const int32_t *ids,
                     const int32_t *start, int32_t n, float *p)
{
    struct batch b = {.ids = ids, .start = start, .n = n};
    model_classify(m, ws, &b, p);
}

/* A title gets the same alone, among others and in another order, in another workspace. */
static void test_company_does_not_matter(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        if (!has_row(rows[i]))
            continue;
        char *dir = file_path("%s/%s", root(), rows[i]);
        struct safetensors *st = expected_of(rows[i]);
        struct err err;
        struct model *m = NULL;
        struct batch b = golden_batch(st, "ids", "start", NULL);
        assert_int_equal(model_open(dir, PRECISION_FP32, &m, &err), 0);
        int32_t labels = model_info(m)->n_labels, n = b.start[b.n];
        if (labels) {
            struct workspace *one = workspace_open(m, b.n, n), *two = workspace_open(m, 1, n);
            float *all = xcalloc((size_t)(b.n * labels), sizeof *all),
                  *back = xcalloc((size_t)(b.n * labels), sizeof *back), alone[16];
            int32_t *ids = xcalloc((size_t)n, sizeof *ids), start[20] = {0};
            classify(m, one, b.ids, b.start, b.n, all);
            for (int32_t t = 0; t < b.n; t++) {
                int32_t from = b.start[b.n - 1 - t], len = b.start[b.n - t] - from;
                memcpy(ids + start[t], b.ids + from, (size_t)len * sizeof *ids);
                start[t + 1] = start[t] + len;
            }
            classify(m, one, ids, start, b.n, back);
            for (int32_t t = 0; t < b.n; t++) {
                int32_t just[] = {0, b.start[t + 1] - b.start[t]};
                classify(m, two, b.ids + b.start[t], just, 1, alone);
                for (int32_t k = 0; k < labels; k++) {
                    assert_true(fabsf(alone[k] - all[t * labels + k]) <= 1e-5f);
                    assert_true(fabsf(alone[k] - back[(b.n - 1 - t) * labels + k]) <= 1e-5f);
                }
            }
            workspace_close(one);
            workspace_close(two);
            free(all);
            free(back);
            free(ids);
        }
        model_close(m);
        golden_batch_done(&b);
        safetensors_close(st);
        free(dir);
    }
}

struct logits {
    float *x;
    int32_t at;
};

static void keep_logits(void *arg, const char *name, int32_t first, const float *x, int n,
                        int columns)
{
    struct logits *l = arg;
    if (strcmp(name, "logits") == 0)
        memcpy(l->x + first * columns, x, (size_t)(n * columns) * sizeof *x);
}

static double rms_from(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum / (double)n);
}

/* In bfloat16 the logits are as near to fp32's as PyTorch's in bfloat16 are, or nearer. */
static void test_bf16(void **state)
{
    (void)state;
    if (!product_has(PRODUCT_BF16)) {
        print_message("[  SKIPPED ] bfloat16: this processor or build has none\n");
        return;
    }
    for (int i = 0; i < ROWS; i++) {
        if (!has_row(rows[i]))
            continue;
        char *dir = file_path("%s/%s", root(), rows[i]);
        struct safetensors *st = expected_of(rows[i]);
        struct err err;
        struct model *m = NULL;
        struct batch b = golden_batch(st, "ids", "start", NULL);
        assert_int_equal(model_open(dir, PRECISION_BF16, &m, &err), 0);
        assert_int_equal(model_info(m)->precision, PRECISION_BF16);
        size_t n = (size_t)(b.n * model_info(m)->n_labels);
        if (n) {
            struct logits l = {xcalloc(n, sizeof(float)), 0};
            float *p = xcalloc(n, sizeof *p), *exact = golden_copy(st, "logits", DT_F32, NULL),
                  *theirs = golden_copy(st, "logits.bf16", DT_F32, NULL);
            struct workspace *ws = workspace_open(m, b.n, b.start[b.n]);
            model_trace(m, ws, &b, &(struct trace){keep_logits, &l}, p);
            double ours = rms_from(l.x, exact, n), reference = rms_from(theirs, exact, n);
            if (!(ours <= 1.25 * reference))
                fail_msg("%s in bfloat16: off by %.3g, PyTorch by %.3g", rows[i], ours, reference);
            workspace_close(ws);
            free(l.x);
            free(p);
            free(exact);
            free(theirs);
        }
        model_close(m);
        golden_batch_done(&b);
        safetensors_close(st);
        free(dir);
    }
}

/* Copies a row's directory to the scratch folder. */
static void copy_row(const char *row)
{
    char *from = file_path("%s/%s", root(), row);
    struct file_list list;
    struct err err;
    assert_int_equal(file_list(scratch_dir(), &list, &err), 0);
    for (size_t i = 0; i < list.n; i++) {
        char *path = scratch_file(list.names[i]);
        (void)remove(path);
        free(path);
    }
    file_list_free(&list);
    assert_int_equal(file_list(from, &list, &err), 0);
    for (size_t i = 0; i < list.n; i++) {
        char *a = file_path("%s/%s", from, list.names[i]), *b = scratch_file(list.names[i]);
        assert_int_equal(file_copy(a, b, &err), 0);
        free(a);
        free(b);
    }
    file_list_free(&list);
    free(from);
}

/* Sets a key of config.json; value NULL takes it out. */
static void set_key(const char *key, const char *value)
{
    char *path = scratch_file("config.json");
    struct err err;
    json_t *config = json_parse_file(path, 1 << 20, &err);
    assert_non_null(config);
    if (value)
        assert_int_equal(json_object_set_new(config, key, json_loads(value, JSON_DECODE_ANY, NULL)),
                         0);
    else
        (void)json_object_del(config, key);
    char *text = json_dumps(config, 0);
    assert_int_equal(file_replace(path, text, strlen(text), &err), 0);
    free(text);
    json_decref(config);
    free(path);
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* Every tensor whose name ends so becomes zeros, or leaves the file; how many there were. */
static int alter(const char *end, bool leave)
{
    char *path = scratch_file("model.safetensors"), *data;
    struct err err;
    struct safetensors *st;
    size_t len, kept = 0;
    int n = 0;
    assert_int_equal(file_read(path, 1 << 24, &data, &len, &err), 0);
    assert_int_equal(safetensors_parse("copy", data, len, &st, &err), 0);
    const struct tensor_set *set = safetensors_tensors(st);
    struct tensor *list = xcalloc(set->n, sizeof *list);
    for (size_t i = 0; i < set->n; i++) {
        bool hit = ends_with(set->tensors[i].name, end);
        n += hit;
        if (hit && leave)
            continue;
        list[kept] = set->tensors[i];
        if (hit)
            list[kept].data = xcalloc(1, list[kept].bytes);
        kept++;
    }
    static const char *const meta[] = {"format", "pt", NULL};
    assert_int_equal(safetensors_write(path, list, kept, meta, &err), 0);
    for (size_t i = 0; i < kept; i++)
        if (ends_with(list[i].name, end))
            free((void *)(uintptr_t)list[i].data);
    free(list);
    safetensors_close(st);
    free(data);
    free(path);
    return n;
}

static const struct mutation {
    const char *row, *tensor; /* zeroed, or */
    const char *key, *value;  /* the key set */
} mutations[] = {
    {"bert", "position_embeddings.weight", NULL, NULL},
    {"bert", "token_type_embeddings.weight", NULL, NULL},
    {"bert", "embeddings.LayerNorm.bias", NULL, NULL},
    {"bert", "self.query.bias", NULL, NULL},
    {"bert", "self.value.bias", NULL, NULL},
    {"bert", "intermediate.dense.bias", NULL, NULL},
    {"bert", "pooler.dense.bias", NULL, NULL},
    {"bert", "classifier.bias", NULL, NULL},
    {"bert", NULL, "hidden_act", "\"gelu_new\""},
    {"bert", NULL, "hidden_act", "\"relu\""},
    {"bert", NULL, "layer_norm_eps", "0.001"},
    {"bert-odd", NULL, "hidden_act", "\"gelu\""},
    {"bert-bare", "position_embeddings.weight", NULL, NULL},
    {"mengzi", "classifier.bias", NULL, NULL},
    {"ernie", "task_type_embeddings.weight", NULL, NULL},
    {"ernie", "token_type_embeddings.weight", NULL, NULL},
    {"ernie", NULL, "use_task_id", "false"},
    {"ernie", NULL, "layer_norm_eps", "0.001"},
    {"electra", "classifier.dense.bias", NULL, NULL},
    {"electra-small", "embeddings_project.bias", NULL, NULL},
    {"electra-small", "position_embeddings.weight", NULL, NULL},
    {"albert", NULL, "hidden_act", "\"gelu\""},
    {"albert", "embedding_hidden_mapping_in.bias", NULL, NULL},
    {"albert", "pooler.bias", NULL, NULL},
    {"albert-groups", NULL, "hidden_act", "\"gelu\""},
    {"albert-groups", "albert_layer_groups.1.albert_layers.1.ffn.bias", NULL, NULL},
    {"albert-groups", "albert_layer_groups.1.albert_layers.0.attention.dense.bias", NULL, NULL},
    {"nezha", NULL, "max_relative_position", "7"},
    {"nezha", NULL, "max_relative_position", "64"},
    {"nezha", "token_type_embeddings.weight", NULL, NULL},
    {"xlnet", "r_w_bias", NULL, NULL},
    {"xlnet", "r_r_bias", NULL, NULL},
    {"xlnet", "r_s_bias", NULL, NULL},
    {"xlnet", "seg_embed", NULL, NULL},
    {"xlnet", "rel_attn.r", NULL, NULL},
    {"xlnet", "summary.bias", NULL, NULL},
    {"xlnet", NULL, "ff_activation", "\"gelu\""},
    {"xlnet-gelu", NULL, "ff_activation", "\"gelu_new\""},
    {"t5", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", NULL, NULL},
    {"t5", "EncDecAttention.o.weight", NULL, NULL},
    {"t5", "encoder.final_layer_norm.weight", NULL, NULL},
    {"t5", "decoder.final_layer_norm.weight", NULL, NULL},
    {"t5", "classification_head.dense.bias", NULL, NULL},
    {"t5", NULL, "relative_attention_max_distance", "30"},
    {"t5", NULL, "decoder_start_token_id", "3"},
    {"t5", NULL, "rubric_decoder", "\"start\""},
    {"mt5", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", NULL, NULL},
    {"mt5", NULL, "feed_forward_proj", "\"gated-relu\""},
    {"mt5", "decoder.block.1.layer.1.EncDecAttention.v.weight", NULL, NULL},
};

static void test_sharpness(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mutations / sizeof *mutations; i++) {
        const struct mutation *m = &mutations[i];
        copy_row(m->row);
        if (m->tensor && alter(m->tensor, false) < 1)
            fail_msg("%s: no tensor ends in %s", m->row, m->tensor);
        if (m->key)
            set_key(m->key, m->value);
        double e = error_of(scratch_dir(), m->row, PRECISION_FP32);
        if (e <= TOLERANCE)
            fail_msg("%s without %s%s: off by %.2g only, and passes", m->row,
                     m->tensor ? m->tensor : "", m->key ? m->key : "", e);
    }
}

/* T5 with its start token alone is a model of its own, with a reference of its own. */
static void test_t5_start(void **state)
{
    (void)state;
    static const char *const names[] = {"t5", "mt5"};
    for (int i = 0; i < 2; i++) {
        struct safetensors *st = expected_of(names[i]);
        struct err err;
        struct model *m = NULL;
        struct batch b = golden_batch(st, "ids", "start", NULL);
        copy_row(names[i]);
        set_key("rubric_decoder", "\"start\"");
        assert_int_equal(model_open(scratch_dir(), PRECISION_FP32, &m, &err), 0);
        size_t n = (size_t)(b.n * model_info(m)->n_labels);
        struct logits l = {xcalloc(n, sizeof(float)), 0};
        float *p = xcalloc(n, sizeof *p), *exact = golden_copy(st, "logits.start", DT_F32, NULL);
        struct workspace *ws = workspace_open(m, b.n, b.start[b.n]);
        model_trace(m, ws, &b, &(struct trace){keep_logits, &l}, p);
        assert_true(rms_from(l.x, exact, n) < 1e-4);
        workspace_close(ws);
        model_close(m);
        free(l.x);
        free(p);
        free(exact);
        golden_batch_done(&b);
        safetensors_close(st);
    }
}

static void refused(const char *text)
{
    struct err err;
    struct model *m = NULL;
    assert_int_equal(model_open(scratch_dir(), PRECISION_FP32, &m, &err), -1);
    assert_null(m);
    if (!strstr(err.msg, text))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *row, *tensor, *key, *value, *says;
    } cases[] = {
        {"bert", "encoder.layer.1.output.dense.weight", NULL, NULL,
         "bert.encoder.layer.1.output.dense.weight"},
        {"bert", "embeddings.word_embeddings.weight", NULL, NULL, "none of its"},
        {"bert", "pooler.dense.weight", NULL, NULL, "pooler.dense.weight"},
        {"ernie", "task_type_embeddings.weight", NULL, NULL, "task_type_embeddings.weight"},
        {"xlnet", "layer.2.rel_attn.seg_embed", NULL, NULL, "layer.2.rel_attn.seg_embed"},
        {"t5", "decoder.block.0.layer.1.EncDecAttention.k.weight", NULL, NULL, "EncDecAttention.k"},
        {"bert", NULL, "hidden_size", "64", "expected shape"},
        {"bert", NULL, "intermediate_size", "65", "expected shape [65, 32], found [64, 32]"},
        {"bert", NULL, "num_hidden_layers", "4", "encoder.layer.3."},
        {"bert", NULL, "num_attention_heads", "5", "no multiple of 5 heads"},
        {"bert", NULL, "hidden_act", "\"swish\"", "the activation \"swish\" is not known"},
        {"bert", NULL, "position_embedding_type", "\"relative_key\"", "relative_key"},
        {"bert", NULL, "model_type", "\"roberta\"", "\"roberta\" is unknown"},
        {"bert", NULL, "vocab_size", "\"many\"", "vocab_size"},
        {"bert", NULL, "layer_norm_eps", "-1", "layer_norm_eps"},
        {"bert", NULL, "id2label", "{\"0\": \"one\", \"1\": \"two\"}", "10 outputs"},
        {"bert", NULL, "id2label", "{\"0\": \"one\", \"2\": \"two\"}", "no name for \"1\""},
        {"albert-groups", NULL, "num_hidden_groups", "3", "no multiple of"},
        {"xlnet", NULL, "attn_type", "\"uni\"", "only \"bi\""},
        {"xlnet", NULL, "summary_type", "\"first\"", "only \"last\""},
        {"xlnet", NULL, "untie_r", "false", "untie_r"},
        {"t5", NULL, "feed_forward_proj", "\"gated-silu\"", "silu"},
        {"t5", NULL, "rubric_decoder", "\"none\"", "shifted or start"},
        {"t5", NULL, "decoder_start_token_id", "4000", "decoder_start_token_id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        copy_row(cases[i].row);
        if (cases[i].tensor)
            assert_true(alter(cases[i].tensor, true) >= 1);
        if (cases[i].key)
            set_key(cases[i].key, cases[i].value);
        refused(cases[i].says);
    }
}

/* Files of other ages and hands: the same model under other names. */
static void test_other_names(void **state)
{
    (void)state;
    /* A revision of ERNIE 3.0 calls itself a BERT. */
    copy_row("ernie");
    set_key("model_type", "\"bert\"");
    set_key("use_task_id", NULL);
    assert_true(error_of(scratch_dir(), "ernie", PRECISION_FP32) <= TOLERANCE);
    /* One of NEZHA does, and says so by a key. */
    copy_row("nezha");
    set_key("model_type", "\"bert\"");
    set_key("use_relative_position", "true");
    assert_true(error_of(scratch_dir(), "nezha", PRECISION_FP32) <= TOLERANCE);
    /* The very first files have no model_type. */
    copy_row("bert");
    set_key("model_type", NULL);
    set_key("layer_norm_eps", NULL);
    set_key("pad_token_id", NULL);
    assert_true(error_of(scratch_dir(), "bert", PRECISION_FP32) <= TOLERANCE);
}

static void test_bare(void **state)
{
    (void)state;
    struct err err;
    struct model *m = NULL;
    assert_int_equal(model_open(ROOT "/bert-bare", PRECISION_FP32, &m, &err), 0);
    assert_int_equal(model_info(m)->n_labels, 0);
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parity),
        cmocka_unit_test(test_tokenizers),
        cmocka_unit_test(test_company_does_not_matter),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_sharpness),
        cmocka_unit_test(test_t5_start),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_other_names),
        cmocka_unit_test(test_bare),
    };
    if (getenv("RUBRIC_GOLDEN_ROWS")) { /* the others need rows that are not there */
        const struct CMUnitTest some[] = {
            cmocka_unit_test(test_parity), cmocka_unit_test(test_tokenizers),
            cmocka_unit_test(test_company_does_not_matter), cmocka_unit_test(test_bf16)};
        return cmocka_run_group_tests(some, NULL, scratch_done);
    }
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
