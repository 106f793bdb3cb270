/* Every transformer row against what transformers and PyTorch computed (tests/golden/
 * transformers_rows.py): ids, embeddings, each layer, logits, on the path that ships.  That these
 * comparisons can fail is the subject of test_transformers_sharp.c. */
#include "tests/models/rows.h"

#include "ops/gemm.h"
#include "ops/product.h"

static const char *const rows[] = {"bert",        "bert-odd",      "bert-bare",  "bert-bare-pooler",
                                   "bert-fc",     "macbert",       "mengzi",     "ernie",
                                   "electra",     "electra-small", "electra-fc", "albert",
                                   "albert-gelu", "albert-groups", "nezha",      "xlnet",
                                   "xlnet-gelu",  "xlnet-fc",      "t5",         "mt5"};
enum {
    ROWS = sizeof rows / sizeof *rows,
};

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
            char *dir = file_path("%s/%s", rows_root(), rows[i]);
            double e = error_of(dir, rows[i], PRECISION_FP32);
            if (!(e <= ROWS_TOLERANCE))
                fail_msg("%s, %s: off by %.2g of the largest", rows[i],
                         gemm_backend_name((enum gemm_backend)k), e);
            free(dir);
        }
    }
    gemm_backend_set(before);
}

/* The titles' ids, by the tokenizer of the model in dir. */
static void same_ids(const char *dir, const char *row)
{
    struct safetensors *st = expected_of(row);
    struct err err;
    struct model *m = NULL;
    struct batch b = golden_batch(st, "ids", "start", NULL);
    int32_t n, *start = golden_copy(st, "title_start", DT_I32, &n), ids[600];
    char *text = golden_copy(st, "titles", DT_U8, NULL);
    if (model_open(dir, PRECISION_FP32, &m, &err) != 0)
        fail_msg("%s", err.msg);
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
}

static void test_tokenizers(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        if (!has_row(rows[i]))
            continue;
        char *dir = file_path("%s/%s", rows_root(), rows[i]);
        same_ids(dir, rows[i]);
        free(dir);
    }
}

/* The logits of a batch. */
static void logits_of(const struct model *m, struct workspace *ws, const int32_t *ids,
                      const int32_t *start, int32_t n, float *logits)
{
    struct batch b = {.ids = ids, .start = start, .n = n};
    struct logits l = {logits, 0};
    float p[12 * 16];
    model_trace(m, ws, &b, &(struct trace){keep_logits, &l}, p);
}

/* A title gets the same alone, among others and in another order, in another workspace. */
static void test_company_does_not_matter(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        if (!has_row(rows[i]))
            continue;
        char *dir = file_path("%s/%s", rows_root(), rows[i]);
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
            logits_of(m, one, b.ids, b.start, b.n, all);
            for (int32_t t = 0; t < b.n; t++) {
                int32_t from = b.start[b.n - 1 - t], len = b.start[b.n - t] - from;
                memcpy(ids + start[t], b.ids + from, (size_t)len * sizeof *ids);
                start[t + 1] = start[t] + len;
            }
            logits_of(m, one, ids, start, b.n, back);
            for (int32_t t = 0; t < b.n; t++) {
                int32_t just[] = {0, b.start[t + 1] - b.start[t]};
                logits_of(m, two, b.ids + b.start[t], just, 1, alone);
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
        char *dir = file_path("%s/%s", rows_root(), rows[i]);
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

static void test_bare(void **state)
{
    (void)state;
    struct err err;
    struct model *m = NULL;
    assert_int_equal(model_open(ROWS_ROOT "/bert-bare", PRECISION_FP32, &m, &err), 0);
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
        cmocka_unit_test(test_t5_start),
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
