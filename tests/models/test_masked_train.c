/* Masked-language models in training: loss and gradients against PyTorch's (tests/golden/transformers_masked.py),
 * and what may not matter. */
#include "tests/models/gradients.h"
#include "tests/models/rows.h"

#include "models/masked_train.h"
#include "ops/gemm.h"

static const char *const rows[] = {"bert", "ernie", "nezha", "albert"};
enum { ROWS = sizeof rows / sizeof *rows, MAX_T = 48 };

struct trained {
    struct trainable *t;
    float *w, *g;
    struct safetensors *expected, *golden;
    struct masked_batch b;
    int32_t *row, *word;
    struct pool *pool;
    struct masked_train *mt;
};

static struct trained open_row(const char *row, enum product_type type, int threads, bool recompute,
                               struct dropout_rates drop)
{
    struct trained r = {.expected = expected_of(row), .pool = pool_open(threads)};
    struct err err;
    char *path = file_path("tests/golden/masked/%s.safetensors", row),
         *dir = file_path(ROWS_ROOT "/%s", row), *config_path = file_path("%s/config.json", dir);
    json_t *config = json_parse_file(config_path, 1 << 20, &err);
    bool *fresh;
    r.golden = golden_open(path);
    r.b.batch = golden_batch(r.expected, "ids", "start", NULL);
    r.row = golden_copy(r.golden, "row", DT_I32, NULL);
    r.word = golden_copy(r.golden, "word", DT_I32, NULL);
    r.b.row = r.row;
    r.b.word = r.word;
    r.b.n = (int32_t)(golden_tensor(r.golden, "row")->bytes / 4);
    if (trainable_read(dir, config, &(struct head_choice){.masked = true}, &r.t, &r.w, &fresh,
                       &err) != 0)
        fail_msg("%s: %s", row, err.msg);
    for (size_t i = 0; i < r.t->n; i++) {
        const struct trainable_tensor *x = &r.t->tensors[i];
        char *name = file_path("head.%s", x->name);
        assert_int_equal(fresh[i], strstr(x->name, "predictions") != NULL);
        if (fresh[i])
            memcpy(r.w + x->offset, golden_tensor(r.golden, name)->data, x->size * sizeof *r.w);
        free(name);
    }
    r.g = xcalloc(r.t->size, sizeof *r.g);
    struct transformer_train_options opt = {.type = type,
                                            .max_titles = r.b.batch.n,
                                            .max_ids = r.b.batch.start[r.b.batch.n],
                                            .max_tokens = MAX_T,
                                            .recompute = recompute,
                                            .dropout = drop};
    r.mt = masked_train_open(r.t, &opt, r.b.n, r.pool);
    masked_train_weights(r.mt, r.w);
    free(fresh);
    free(path);
    free(dir);
    free(config_path);
    json_decref(config);
    return r;
}

static void close_row(struct trained *r)
{
    masked_train_close(r->mt);
    pool_close(r->pool);
    trainable_close(r->t);
    free(r->w);
    free(r->g);
    free(r->row);
    free(r->word);
    golden_batch_done(&r->b.batch);
    safetensors_close(r->expected);
    safetensors_close(r->golden);
}

static double gradients_of(struct trained *r, uint64_t step)
{
    struct masked_result result;
    memset(r->g, 0, r->t->size * sizeof *r->g);
    masked_train_gradients(r->mt, r->w, r->g, &r->b, 1.0f / (float)r->b.n, 7, step, 100, &result);
    return result.loss / r->b.n;
}

static const struct dropout_rates none = {0};

static float loss_of(const struct trained *r)
{
    return *(const float *)golden_tensor(r->golden, "loss")->data;
}

static void test_gradients(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++)
        for (int recompute = 0; recompute < 2; recompute++) {
            struct trained r = open_row(rows[i], PRODUCT_FP32, 2, recompute, none);
            const char *name = "";
            double got = gradients_of(&r, 0), off = worst_gradient(r.t, r.g, r.golden, &name);
            assert_true(fabs(got - (double)loss_of(&r)) < 1e-5 * got);
            if (!(off <= 1e-3))
                fail_msg("%s: %s: off by %.3g of its gradient", rows[i], name, off);
            close_row(&r);
        }
}

/* Each planted mistake must be seen: otherwise the comparison above compares nothing. */
static void test_mistakes_are_seen(void **state)
{
    static const enum param which[] = {P_MASK_DENSE_W, P_MASK_DENSE_B, P_MASK_NORM_W,
                                       P_MASK_NORM_B,  P_MASK_BIAS,    P_WORD};
    (void)state;
    for (size_t k = 0; k < sizeof which / sizeof *which; k++) {
        struct trained r = open_row("bert", PRODUCT_FP32, 1, false, none);
        const char *name = "";
        (void)gradients_of(&r, 0);
        assert_true(worst_gradient(r.t, r.g, r.golden, &name) <= 1e-3);
        for (size_t i = 0; i < r.t->n; i++)
            if (r.t->tensors[i].which == which[k])
                for (size_t j = 0; j < r.t->tensors[i].size; j++)
                    r.g[r.t->tensors[i].offset + j] *= 1.01f;
        assert_true(worst_gradient(r.t, r.g, r.golden, &name) > 1e-3);
        close_row(&r);
    }
}

static void test_judging_is_the_loss(void **state)
{
    (void)state;
    struct trained r = open_row("albert", PRODUCT_FP32, 2, false,
                                (struct dropout_rates){.hidden = 0.1f, .attention = 0.1f});
    struct masked_result result;
    masked_train_judge(r.mt, r.w, &r.b, &result);
    assert_true(fabs(result.loss / r.b.n - (double)loss_of(&r)) < 1e-5 * result.loss);
    assert_true(gradients_of(&r, 1) != gradients_of(&r, 2)); /* dropped */
    close_row(&r);
}

static void test_threads_do_not_matter(void **state)
{
    (void)state;
    struct dropout_rates drop = {.hidden = 0.1f, .attention = 0.1f};
    enum product_type type = product_has(PRODUCT_BF16) ? PRODUCT_BF16 : PRODUCT_FP32;
    struct trained a = open_row("bert", type, 1, false, drop),
                   b = open_row("bert", type, 3, false, drop);
    assert_true(gradients_of(&a, 5) == gradients_of(&b, 5));
    assert_memory_equal(a.g, b.g, a.t->size * sizeof *a.g);
    close_row(&a);
    close_row(&b);
}

static void test_bfloat16_is_near(void **state)
{
    (void)state;
    if (!product_has(PRODUCT_BF16))
        skip();
    for (int i = 0; i < ROWS; i++) {
        struct trained r = open_row(rows[i], PRODUCT_BF16, 2, false, none);
        double got = gradients_of(&r, 0);
        assert_true(fabs(got - (double)loss_of(&r)) < 0.03 * got);
        close_row(&r);
    }
}

static void test_families_without_masked_words(void **state)
{
    (void)state;
    struct err err;
    json_t *config = json_parse_file(ROWS_ROOT "/xlnet/config.json", 1 << 20, &err);
    struct trainable *t;
    assert_int_equal(trainable_make(config, &(struct head_choice){.masked = true}, &t, &err), -1);
    assert_non_null(strstr(err.msg, "xlnet"));
    json_decref(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_mistakes_are_seen),
        cmocka_unit_test(test_judging_is_the_loss),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_bfloat16_is_near),
        cmocka_unit_test(test_families_without_masked_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
