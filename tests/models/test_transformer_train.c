/* Loss and gradients of every golden row against PyTorch's (tests/golden/transformers_gradients.py), ten steps of
 * AdamW, and what may not matter: threads, how a batch is cut, recomputation, precision (much). */
#include "tests/models/gradients.h"
#include "tests/models/rows.h"

#include "models/transformer_save.h"
#include "models/transformer_train.h"
#include "ops/adamw.h"
#include "ops/gemm.h"

static const char *const rows[] = {
    "bert",        "bert-odd",      "macbert", "ernie", "electra",    "albert", "electra-small",
    "albert-gelu", "albert-groups", "nezha",   "xlnet", "xlnet-gelu", "t5",     "mt5"};
enum { ROWS = sizeof rows / sizeof *rows, MAX_T = 48 };

struct trained {
    struct trainable *t;
    float *w, *g;
    struct safetensors *expected, *gradients;
    struct batch b;
    struct pool *pool;
    struct transformer_train *tt;
};

static struct trained open_row(const char *row, enum product_type type, int threads, bool recompute,
                               struct dropout_rates drop)
{
    struct trained r = {.expected = expected_of(row), .pool = pool_open(threads)};
    struct err err;
    char *path = file_path("tests/golden/gradients/%s.safetensors", row),
         *dir = file_path(ROWS_ROOT "/%s", row), *config_path = file_path("%s/config.json", dir);
    json_t *config = json_parse_file(config_path, 1 << 20, &err);
    bool *fresh;
    r.gradients = golden_open(path);
    r.b = golden_batch(r.expected, "ids", "start", NULL);
    r.b.labels = golden_copy(r.gradients, "labels", DT_I32, NULL);
    if (trainable_read(dir, config, &(struct head_choice){.keep = true, .labels = 10}, &r.t, &r.w,
                       &fresh, &err) != 0)
        fail_msg("%s: %s", row, err.msg);
    for (size_t i = 0; i < r.t->n; i++)
        assert_false(fresh[i]);
    r.g = xcalloc(r.t->size, sizeof *r.g);
    struct transformer_train_options opt = {.type = type,
                                            .max_titles = 2 * r.b.n,
                                            .max_ids = 2 * r.b.start[r.b.n],
                                            .max_tokens = MAX_T,
                                            .recompute = recompute,
                                            .dropout = drop};
    r.tt = transformer_train_open(r.t, &opt, r.pool);
    transformer_train_weights(r.tt, r.w);
    free(fresh);
    free(path);
    free(dir);
    free(config_path);
    json_decref(config);
    return r;
}

static void close_row(struct trained *r)
{
    transformer_train_close(r->tt);
    pool_close(r->pool);
    trainable_close(r->t);
    free(r->w);
    free(r->g);
    golden_batch_done(&r->b);
    safetensors_close(r->expected);
    safetensors_close(r->gradients);
}

static float only(const struct safetensors *st, const char *name)
{
    float x;
    memcpy(&x, golden_tensor(st, name)->data, sizeof x);
    return x;
}

static const struct dropout_rates none = {0};

static double gradients_of(struct trained *r, uint64_t step, const struct loss *loss)
{
    struct train_result result;
    memset(r->g, 0, r->t->size * sizeof *r->g);
    transformer_train_gradients(r->tt, r->w, r->g, &r->b, loss, 7, step, 100, &result);
    return result.loss * (double)loss->scale;
}

static void test_gradients(void **state)
{
    (void)state;
    enum gemm_backend before = gemm_backend();
    for (int k = 0; k < GEMM_BACKENDS; k++) {
        if (!gemm_backend_built((enum gemm_backend)k))
            continue;
        gemm_backend_set((enum gemm_backend)k);
        for (int i = 0; i < ROWS; i++)
            for (int recompute = 0; recompute < 2; recompute++) {
                struct trained r = open_row(rows[i], PRODUCT_FP32, 2, recompute, none);
                struct loss loss = {.scale = 1.0f / (float)r.b.n};
                double got = gradients_of(&r, 0, &loss);
                assert_true(fabs(got - only(r.gradients, "loss")) < 1e-5 * got);
                const char *name = "";
                double off = worst_gradient(r.t, r.g, r.gradients, &name);
                if (!(off <= 1e-3))
                    fail_msg("%s: %s: off by %.3g of its gradient", rows[i], name, off);
                close_row(&r);
            }
    }
    gemm_backend_set(before);
}

/* Each tensor's gradient a hundredth too large is seen, in every row, unless it is nearly zero. */
static void test_mistakes_are_seen(void **state)
{
    (void)state;
    int seen = 0, all = 0;
    for (int i = 0; i < ROWS; i++) {
        struct trained r = open_row(rows[i], PRODUCT_FP32, 2, false, none);
        struct loss loss = {.scale = 1.0f / (float)r.b.n};
        (void)gradients_of(&r, 0, &loss);
        for (size_t k = 0; k < r.t->n; k++) {
            const struct trainable_tensor *x = &r.t->tensors[k];
            float *g = r.g + x->offset;
            const char *name = "";
            for (size_t j = 0; j < x->size; j++)
                g[j] *= 1.01f;
            bool sees =
                worst_gradient(r.t, r.g, r.gradients, &name) > 1e-3 && strcmp(name, x->name) == 0;
            seen += sees;
            all++;
            /* Keys' biases shift all scores of a query alike: their gradient is zero. */
            if (!sees && norm(g, x->size) > 1e-3)
                fail_msg("%s: %s: a gradient of norm %.3g may be wrong unseen", rows[i], x->name,
                         norm(g, x->size));
            for (size_t j = 0; j < x->size; j++)
                g[j] /= 1.01f;
        }
        close_row(&r);
    }
    assert_true(seen > 9 * all / 10);
}

static const struct trainable_tensor *last_matrix(const struct trainable *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->tensors[i].which == P_HEAD_W)
            return &t->tensors[i];
    fail();
    return NULL;
}

static void test_smoothing_and_class_weights(void **state)
{
    (void)state;
    float weights[10];
    for (int i = 0; i < 10; i++)
        weights[i] = 1 + 0.25f * (float)i;
    for (int i = 0; i < ROWS; i++) {
        struct trained r = open_row(rows[i], PRODUCT_FP32, 2, false, none);
        struct loss loss = {
            .scale = 1.0f / (float)r.b.n, .smoothing = 0.1f, .class_weights = weights};
        double got = gradients_of(&r, 0, &loss);
        assert_true(fabs(got - only(r.gradients, "loss.smooth")) < 1e-5 * got);
        const struct trainable_tensor *x = last_matrix(r.t);
        char *name = file_path("smooth.%s", x->name);
        const float *expected = golden_tensor(r.gradients, name)->data;
        for (size_t k = 0; k < x->size; k++)
            assert_true(fabsf(r.g[x->offset + k] - expected[k]) < 1e-4f);
        free(name);
        close_row(&r);
    }
}

static void test_ten_steps(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        struct trained r = open_row(rows[i], PRODUCT_FP32, 2, false, none);
        struct loss loss = {.scale = 1.0f / (float)r.b.n};
        const float *ten = golden_tensor(r.gradients, "ten")->data;
        float *m = xcalloc(r.t->size, sizeof *m), *v = xcalloc(r.t->size, sizeof *v);
        for (int s = 0; s < 10; s++) {
            double got = gradients_of(&r, 0, &loss);
            if (!(fabs(got - ten[s]) < 2e-3 * ten[s]))
                fail_msg("%s, step %d: loss %.6f, PyTorch's %.6f", rows[i], s, got, ten[s]);
            double size = grad_norm(r.g, r.t->size, r.pool);
            struct adamw base = {.lr = 1e-3f,
                                 .beta1 = 0.9f,
                                 .beta2 = 0.999f,
                                 .eps = 1e-8f,
                                 .grad_scale = (float)(size > 1 ? 1 / (size + 1e-6) : 1)};
            for (size_t k = 0; k < r.t->n; k++) {
                const struct trainable_tensor *x = &r.t->tensors[k];
                base.weight_decay = x->decay ? 0.01f : 0;
                struct adamw at = adamw_at(&base, s + 1);
                adamw_step(&at, r.w + x->offset, r.g + x->offset, m + x->offset, v + x->offset,
                           x->size, r.pool);
            }
            transformer_train_weights(r.tt, r.w);
        }
        free(m);
        free(v);
        close_row(&r);
    }
}

/* With everything dropped that can be: the loss falls along its gradient as fast as that says, and neither
 * threads nor recomputation change a bit. */
static void test_dropout(void **state)
{
    (void)state;
    const struct dropout_rates all = {0.2f, 0.3f, 0.25f, 0.1f, 0.4f};
    for (int i = 0; i < ROWS; i++) {
        struct trained r = open_row(rows[i], PRODUCT_FP32, 1, false, all),
                       s = open_row(rows[i], PRODUCT_FP32, 4, true, all);
        struct loss loss = {.scale = 1.0f / (float)r.b.n};
        double a = gradients_of(&r, 5, &loss), b = gradients_of(&s, 5, &loss);
        assert_true(a == b);
        assert_memory_equal(r.g, s.g, r.t->size * sizeof *r.g);
        double square = pow(norm(r.g, r.t->size), 2), side[2], slope[2];
        double step =
            1e-2 / square; /* so far that the loss moves by a hundredth: less is lost in rounding */
        float *g = xmalloc(r.t->size * sizeof *g), *w = xmalloc(r.t->size * sizeof *w);
        memcpy(g, r.g, r.t->size * sizeof *g);
        memcpy(w, r.w, r.t->size * sizeof *w);
        for (int k = 0; k < 2; k++) {
            for (size_t j = 0; j < r.t->size; j++)
                r.w[j] = (float)(w[j] + (k ? -step : step) * g[j]);
            side[k] = gradients_of(&r, 5, &loss);
            slope[k] = 0;
            for (size_t j = 0; j < r.t->size; j++)
                slope[k] += (double)r.g[j] * g[j];
        }
        /* Simpson's rule over the three slopes. */
        double ratio = (side[0] - side[1]) / (2 * step * (slope[0] + 4 * square + slope[1]) / 6);
        if (!(fabs(ratio - 1) < 0.01))
            fail_msg("%s: %.4f times the slope", rows[i], ratio);
        memcpy(r.w, w, r.t->size * sizeof *w);
        assert_true(gradients_of(&r, 6, &loss) != a); /* another step, another mask */
        free(g);
        free(w);
        close_row(&r);
        close_row(&s);
    }
}

/* A batch in two halves gives the same sum, dropout and all: titles count, not batches. */
static void test_accumulation(void **state)
{
    (void)state;
    const struct dropout_rates all = {0.2f, 0.3f, 0.25f, 0.1f, 0.4f};
    struct trained r = open_row("bert", PRODUCT_FP32, 2, false, all);
    struct loss loss = {.scale = 1.0f / (float)r.b.n};
    struct train_result one, two;
    double whole = gradients_of(&r, 3, &loss);
    float *g = xcalloc(r.t->size, sizeof *g);
    int32_t half = r.b.n / 2, start[20];
    struct batch first = r.b, second = {.ids = r.b.ids + r.b.start[half],
                                        .start = start,
                                        .labels = r.b.labels + half,
                                        .n = r.b.n - half};
    first.n = half;
    for (int32_t i = 0; i <= second.n; i++)
        start[i] = r.b.start[half + i] - r.b.start[half];
    transformer_train_gradients(r.tt, r.w, g, &first, &loss, 7, 3, 100, &one);
    transformer_train_gradients(r.tt, r.w, g, &second, &loss, 7, 3, 100 + (uint32_t)half, &two);
    assert_true(fabs((one.loss + two.loss) / r.b.n - whole) < 1e-6 * whole);
    double off = 0;
    for (size_t i = 0; i < r.t->size; i++)
        off += ((double)g[i] - r.g[i]) * ((double)g[i] - r.g[i]);
    assert_true(sqrt(off) < 1e-5 * norm(r.g, r.t->size));
    free(g);
    close_row(&r);
}

/* R-Drop of two different halves, for without dropout equal ones do not diverge. */
static void test_r_drop(void **state)
{
    (void)state;
    struct trained r = open_row("bert", PRODUCT_FP32, 2, false, none);
    json_t *golden = json_parse_file("tests/golden/recipes.json", 1 << 20, NULL),
           *expected = json_object_get(golden, "rdrop");
    int32_t half = r.b.n / 2;
    struct train_result result;
    struct loss loss = {.scale = 1.0f / (float)half,
                        .r_drop = (float)json_number_value(json_object_get(expected, "alpha"))};
    memcpy((int32_t *)(uintptr_t)r.b.labels + half, r.b.labels, (size_t)half * sizeof(int32_t));
    memset(r.g, 0, r.t->size * sizeof *r.g);
    transformer_train_gradients(r.tt, r.w, r.g, &r.b, &loss, 7, 0, 0, &result);
    double want = json_number_value(json_object_get(expected, "loss"));
    assert_true(fabs(result.loss / half - want) < 1e-5 * want);
    const struct trainable_tensor *x = last_matrix(r.t);
    const json_t *gradient = json_object_get(expected, "gradient");
    assert_int_equal(json_array_size(gradient), x->size);
    for (size_t i = 0; i < x->size; i++)
        assert_true(fabs(r.g[x->offset + i] - json_number_value(json_array_get(gradient, i))) <
                    1e-4);
    json_decref(golden);
    close_row(&r);
}

/* Pairs in two parts give the same sum, dropout and all. */
static void test_r_drop_in_parts(void **state)
{
    (void)state;
    const struct dropout_rates all = {0.2f, 0.3f, 0.25f, 0.1f, 0.4f};
    struct trained r = open_row("bert", PRODUCT_FP32, 2, false, all);
    int32_t n = 6, ids[400], start[20], labels[20];
    struct loss loss = {.scale = 1.0f / (float)n, .r_drop = 2, .second = 1000};
    float *g[2] = {xcalloc(r.t->size, sizeof(float)), xcalloc(r.t->size, sizeof(float))};
    for (int cut = 0; cut < 2; cut++)
        for (int32_t from = 0, m = cut ? 2 : n; from < n; from += m) {
            struct train_result result;
            start[0] = 0;
            for (int32_t i = 0; i < 2 * m; i++) { /* titles from .. from + m, twice */
                int32_t t = from + i % m, len = r.b.start[t + 1] - r.b.start[t];
                memcpy(ids + start[i], r.b.ids + r.b.start[t], (size_t)len * sizeof *ids);
                start[i + 1] = start[i] + len;
                labels[i] = r.b.labels[t];
            }
            struct batch b = {.ids = ids, .start = start, .labels = labels, .n = 2 * m};
            transformer_train_gradients(r.tt, r.w, g[cut], &b, &loss, 7, 3, (uint32_t)from,
                                        &result);
        }
    double off = 0;
    for (size_t i = 0; i < r.t->size; i++)
        off += pow((double)g[0][i] - g[1][i], 2);
    if (!(sqrt(off) < 1e-5 * norm(g[0], r.t->size)))
        fail_msg("parts are off by %.3g of %.3g", sqrt(off), norm(g[0], r.t->size));
    free(g[0]);
    free(g[1]);
    close_row(&r);
}

/* Halves end at 65,504: what does not fit is refused, and nothing is left that could be taken for a
 * model. */
static void test_save_overflow(void **state)
{
    (void)state;
    struct trained r = open_row("bert", PRODUCT_FP32, 1, false, none);
    json_t *config = json_parse_file(ROWS_ROOT "/bert/config.json", 1 << 20, NULL);
    static char *names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
    struct classes c = {names, 10};
    struct err err;
    char *path = scratch_file("config.json");
    r.w[r.t->tensors[3].offset] = 7e4f;
    assert_int_equal(
        transformer_save(scratch_dir(), ROWS_ROOT "/bert", config, "m", r.t, r.w, &c, DT_F16, &err),
        -1);
    if (!strstr(err.msg, r.t->tensors[3].name) || !strstr(err.msg, "in F16"))
        fail_msg("%s", err.msg);
    assert_false(file_exists(path));
    assert_int_equal(transformer_save(scratch_dir(), ROWS_ROOT "/bert", config, "m", r.t, r.w, &c,
                                      DT_BF16, &err),
                     0);
    assert_true(file_exists(path));
    free(path);
    json_decref(config);
    close_row(&r);
}

static void test_bf16(void **state)
{
    (void)state;
    if (!product_has(PRODUCT_BF16)) {
        print_message("[  SKIPPED ] bfloat16: this processor or build has none\n");
        return;
    }
    for (int i = 0; i < ROWS; i++) {
        struct trained r = open_row(rows[i], PRODUCT_BF16, 2, false, none);
        struct loss loss = {.scale = 1.0f / (float)r.b.n};
        double got = gradients_of(&r, 0, &loss), off = 0, whole = 0;
        assert_true(fabs(got - only(r.gradients, "loss")) < 0.03 * got);
        for (size_t k = 0; k < r.t->n; k++) {
            const struct trainable_tensor *x = &r.t->tensors[k];
            char *name = file_path("grad.%s", x->name);
            const float *expected = golden_tensor(r.gradients, name)->data;
            for (size_t j = 0; j < x->size; j++) {
                off += pow((double)r.g[x->offset + j] - expected[j], 2);
                whole += pow((double)expected[j], 2);
            }
            free(name);
        }
        double theirs = only(r.gradients, "bf16");
        if (!(sqrt(off / whole) < 1.25 * theirs))
            fail_msg("%s in bfloat16: gradients off by %.3g, PyTorch's by %.3g", rows[i],
                     sqrt(off / whole), theirs);
        close_row(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_mistakes_are_seen),
        cmocka_unit_test(test_smoothing_and_class_weights),
        cmocka_unit_test(test_ten_steps),
        cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_accumulation),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_r_drop),
        cmocka_unit_test(test_r_drop_in_parts),
        cmocka_unit_test(test_save_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
