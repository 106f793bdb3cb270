#include "models/textcnn.h"

#include "base/rng.h"
#include "models/textcnn_parts.h"
#include "ops/dropout.h"
#include "ops/gemm.h"
#include "tests/models/golden.h"

static const char golden_path[] = "tests/golden/textcnn.safetensors";
static const struct textcnn_config cfg = {40, 6, 67, 3, {2, 3, 4}, 5, 64, 0.0f};

static const char config_text[] = "{\n  \"model_type\": \"textcnn\",\n  \"vocab_size\": 40,\n  "
                                  "\"embedding_size\": 6,\n  \"num_filters\": 67,\n"
                                  "  \"filter_widths\": [2, 3, 4],\n  \"num_labels\": 5,\n  "
                                  "\"max_length\": 64,\n  \"hidden_dropout_prob\": 0.0\n}\n";

/* Writes the golden weights as a model directory; change, when given, may edit the tensors. */
static void write_golden(void (*change)(struct tensor *t, size_t *n))
{
    struct err err;
    struct safetensors *st = golden_open(golden_path);
    struct textcnn_param p[TEXTCNN_MAX_PARAMS];
    struct tensor t[TEXTCNN_MAX_PARAMS + 1];
    size_t n = (size_t)textcnn_params(&cfg, p);
    for (size_t i = 0; i < n; i++)
        t[i] = *golden_tensor(st, p[i].name);
    if (change)
        change(t, &n);
    char *path = scratch_file("model.safetensors");
    assert_int_equal(safetensors_write(path, t, n, NULL, &err), 0);
    free(path);
    free(scratch_write("config.json", config_text, sizeof config_text - 1));
    safetensors_close(st);
}

static float *load_golden(void)
{
    struct err err;
    struct textcnn_config got;
    float *w = NULL;
    write_golden(NULL);
    if (textcnn_load(scratch_dir(), &got, &w, &err) != 0)
        fail_msg("%s", err.msg);
    assert_memory_equal(&got, &cfg, sizeof cfg);
    return w;
}

/* The largest difference from the oracle, over the logits or over one tensor's gradient in the
 * file's layout. */
static double logits_off(const struct safetensors *st, const struct batch *b, const float *w)
{
    struct textcnn_train *ws = textcnn_train_open(&cfg, b->n, b->start[b->n]);
    float *logits = xmalloc(sizeof *logits * (size_t)(b->n * cfg.n_labels));
    float *expected = golden_copy(st, "logits", DT_F32, NULL);
    textcnn_forward(&cfg, w, ws, b, NULL, logits);
    double off = 0;
    for (int i = 0; i < b->n * cfg.n_labels; i++)
        off = fmax(off, fabs((double)logits[i] - (double)expected[i]));
    textcnn_train_close(ws);
    free(logits);
    free(expected);
    return off;
}

static double gradient_off(const struct safetensors *st, const struct textcnn_param *p,
                           const float *grads, float shift)
{
    char name[48];
    (void)snprintf(name, sizeof name, "grad.%.40s", p->name);
    const struct tensor *t = golden_tensor(st, name);
    assert_int_equal(t->n_dims, p->n_dims);
    float *expected = golden_copy(st, name, DT_F32, NULL);
    double off = 0;
    for (size_t i = 0; i < p->size; i++) {
        size_t at = i;
        if (p->n_dims == 3) { /* [F, E, width] in the file, [width][F][E] in memory */
            size_t e = (size_t)p->dims[1], w = (size_t)p->dims[2];
            at = ((i % w) * (size_t)p->dims[0] + i / (e * w)) * e + i / w % e;
        }
        off = fmax(off, fabs((double)(grads[p->offset + at] - shift) - (double)expected[i]));
    }
    free(expected);
    return off;
}

static void test_logits(void **state)
{
    (void)state;
    struct safetensors *st = golden_open(golden_path);
    struct batch b = golden_batch(st, "ids", "start", "labels");
    float *w = load_golden();
    for (int i = 0; i < GEMM_BACKENDS; i++) {
        if (!gemm_backend_built((enum gemm_backend)i))
            continue;
        enum gemm_backend before = gemm_backend();
        gemm_backend_set((enum gemm_backend)i);
        double off = logits_off(st, &b, w);
        gemm_backend_set(before);
        if (off > 1e-5)
            fail_msg("%s: logits off by %g", gemm_backend_name((enum gemm_backend)i), off);
    }
    free(w);
    golden_batch_done(&b);
    safetensors_close(st);
}

/* A test that cannot fail proves nothing: one value changed in each tensor, every one of which must
 * be noticed. */
static void test_sharpness(void **state)
{
    (void)state;
    struct safetensors *st = golden_open(golden_path);
    struct batch b = golden_batch(st, "ids", "start", "labels");
    struct textcnn_param p[TEXTCNN_MAX_PARAMS];
    float *w = load_golden();
    int n = textcnn_params(&cfg, p);
    for (int i = 0; i < n; i++) {
        int noticed = 0, tried = 0;
        size_t filter = p[i].n_dims == 3 ? (size_t)cfg.embedding_size : 1;
        for (size_t k = i ? 0 : 6; k < p[i].size;
             k += 1 + p[i].size / 50 / filter * filter + filter, tried++) {
            float kept = w[p[i].offset + k];
            w[p[i].offset + k] = kept + 0.05f;
            noticed += logits_off(st, &b, w) > 1e-4;
            w[p[i].offset + k] = kept;
        }
        /* A filter that ReLU holds at zero for all ten titles, or a character that stands nowhere,
         * changes nothing. */
        if (noticed * 2 < tried)
            fail_msg("%s: %d of %d changes were noticed", p[i].name, noticed, tried);
    }
    free(w);
    golden_batch_done(&b);
    safetensors_close(st);
}

static void test_gradients(void **state)
{
    (void)state;
    struct safetensors *st = golden_open(golden_path);
    struct batch b = golden_batch(st, "ids", "start", "labels");
    struct textcnn_param p[TEXTCNN_MAX_PARAMS];
    float *w = load_golden(), *loss = golden_copy(st, "loss", DT_F32, NULL);
    size_t size = textcnn_size(&cfg);
    float *grads = xmalloc(size * sizeof *grads);
    int n = textcnn_params(&cfg, p);
    struct textcnn_result r;
    struct textcnn_train *ws = textcnn_train_open(&cfg, b.n, b.start[b.n]);
    for (int round = 0; round < 2; round++) { /* from zero, and added to ones */
        for (size_t i = 0; i < size; i++)
            grads[i] = (float)round;
        textcnn_forward_backward(&cfg, w, grads, ws, &b, 1, 1, 0.1f, NULL, &r);
        assert_true(fabs(r.loss - (double)*loss) < 1e-5);
        for (int i = 0; i < n; i++) {
            double off = gradient_off(st, &p[i], grads, (float)round);
            if (off > 2e-6)
                fail_msg("gradient of %s off by %g", p[i].name, off);
        }
    }
    for (int k = 0; k < cfg.embedding_size; k++)
        assert_true(grads[k] == 1.0f); /* [PAD] */
    struct batch none = {.start = b.start, .n = 0};
    textcnn_forward_backward(&cfg, w, grads, ws, &none, 1, 1, 0.1f, NULL, &r);
    assert_true(r.loss == 0.0 && r.correct == 0);
    textcnn_train_close(ws);
    free(grads);
    free(loss);
    free(w);
    golden_batch_done(&b);
    safetensors_close(st);
}

/* The loss with dropout in double, written the plain way: embedding, windows, max. */
static double twin_loss(const struct textcnn_config *c, const double *w, const struct batch *b,
                        float smoothing)
{
    struct textcnn_param p[TEXTCNN_MAX_PARAMS];
    int n = textcnn_params(c, p), features = c->n_widths * c->n_filters;
    double total = 0;
    float *mask = xmalloc(sizeof *mask * (size_t)features);
    for (int i = 0; i < b->n; i++) {
        const int32_t *ids = b->ids + b->start[i];
        int len = b->start[i + 1] - b->start[i];
        double logits[16], sum = 0;
        for (int f = 0; f < features; f++)
            mask[f] = 1;
        dropout_row(mask, mask, features, c->dropout, 3, 4, (uint32_t)i);
        for (int o = 0; o < c->n_labels; o++)
            logits[o] = w[p[n - 1].offset + (size_t)o];
        for (int wi = 0; wi < c->n_widths; wi++)
            for (int f = 0; f < c->n_filters; f++) {
                double best = -INFINITY, h;
                for (int t = 0; t < len; t++) {
                    double s = 0;
                    for (int j = 0; j < c->widths[wi] && t + j < len; j++)
                        for (int e = 0; e < c->embedding_size; e++)
                            s += w[(size_t)(ids[t + j] * c->embedding_size + e)] *
                                 w[p[1 + wi].offset +
                                   (size_t)((j * c->n_filters + f) * c->embedding_size + e)];
                    best = fmax(best, s);
                }
                h = fmax(best + w[p[1 + c->n_widths + wi].offset + (size_t)f], 0) *
                    mask[wi * c->n_filters + f];
                for (int o = 0; o < c->n_labels; o++)
                    logits[o] +=
                        h * w[p[n - 2].offset + (size_t)(o * features + wi * c->n_filters + f)];
            }
        for (int o = 0; o < c->n_labels; o++)
            sum += exp(logits[o]);
        for (int o = 0; o < c->n_labels; o++)
            total -= ((o == b->labels[i] ? 1 - (double)smoothing : 0) +
                      (double)smoothing / c->n_labels) *
                     (logits[o] - log(sum)) / b->n;
    }
    free(mask);
    return total;
}

/* Odd widths, dropout on, every gradient against differences of the twin. */
static void test_dropout_gradients(void **state)
{
    (void)state;
    const struct textcnn_config c = {9, 3, 5, 3, {1, 6, 2}, 3, 8, 0.4f};
    const int32_t ids[] = {4, 1, 2, 8, 8, 3, 5, 6, 7, 8, 3, 3}, start[] = {0, 1, 4, 12},
                  labels[] = {2, 0, 1};
    struct batch b = {.ids = ids, .start = start, .labels = labels, .n = 3};
    size_t size = textcnn_size(&c);
    float *w = xmalloc(size * sizeof *w), *grads = xcalloc(size, sizeof *grads);
    double *wide = xmalloc(size * sizeof *wide);
    struct textcnn_result r;
    textcnn_init(&c, 7, 1.0f, w);
    for (size_t i = 0; i < size; i++)
        wide[i] = w[i];
    struct textcnn_train *ws = textcnn_train_open(&c, 3, 12);
    textcnn_forward_backward(&c, w, grads, ws, &b, 3, 4, 0.2f, NULL, &r);
    assert_true(fabs(r.loss - twin_loss(&c, wide, &b, 0.2f)) < 1e-6);
    for (size_t i = (size_t)c.embedding_size; i < size; i++) {
        double kept = wide[i], h = 1e-6;
        wide[i] = kept + h;
        double up = twin_loss(&c, wide, &b, 0.2f);
        wide[i] = kept - h;
        double down = twin_loss(&c, wide, &b, 0.2f);
        wide[i] = kept;
        if (fabs((double)grads[i] - (up - down) / (2 * h)) > 1e-6)
            fail_msg("weight %zu: gradient %g, differences say %g", i, (double)grads[i],
                     (up - down) / (2 * h));
    }
    textcnn_train_close(ws);
    free(w);
    free(grads);
    free(wide);
}

static void test_threads(void **state)
{
    (void)state;
    const struct textcnn_config c = {300, 20, 70, 2, {2, 3}, 10, 32, 0.5f};
    enum { TITLES = 40 };
    int32_t ids[TITLES * 20], start[TITLES + 1] = {0}, labels[TITLES];
    for (int i = 0; i < TITLES; i++) {
        start[i + 1] = start[i] + 1 + i % 20;
        labels[i] = i % 10;
    }
    for (int i = 0; i < start[TITLES]; i++)
        ids[i] = 1 + (int32_t)(rng_u64(5, 6, (uint64_t)i) % 299);
    struct batch b = {.ids = ids, .start = start, .labels = labels, .n = TITLES};
    size_t size = textcnn_size(&c);
    float *w = xmalloc(size * sizeof *w), *first = xcalloc(size, sizeof *first),
          *grads = xmalloc(size * sizeof *grads);
    float logits[2][TITLES * 10];
    struct textcnn_result r, r0;
    textcnn_init(&c, 7, 0.5f, w);
    struct textcnn_train *ws = textcnn_train_open(&c, TITLES, start[TITLES]);
    textcnn_forward_backward(&c, w, first, ws, &b, 3, 4, 0.1f, NULL, &r0);
    textcnn_forward(&c, w, ws, &b, NULL, logits[0]);
    for (int threads = 1; threads <= 4; threads++) {
        struct pool *pool = pool_open(threads);
        memset(grads, 0, size * sizeof *grads);
        textcnn_forward_backward(&c, w, grads, ws, &b, 3, 4, 0.1f, pool, &r);
        assert_memory_equal(grads, first, size * sizeof *grads);
        assert_true(r.loss == r0.loss && r.correct == r0.correct);
        textcnn_forward(&c, w, ws, &b, pool, logits[1]);
        assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
        pool_close(pool);
    }
    textcnn_train_close(ws);
    ws = textcnn_train_open_rows(&c, TITLES, start[TITLES], 32); /* a few titles at a time */
    textcnn_forward(&c, w, ws, &b, NULL, logits[1]);
    for (int i = 0; i < TITLES * 10; i++)
        assert_true(fabsf(logits[0][i] - logits[1][i]) < 1e-5f);
    textcnn_train_close(ws);
    free(w);
    free(first);
    free(grads);
}

static void test_params(void **state)
{
    (void)state;
    struct textcnn_config c = textcnn_config_default(4800, 10);
    struct textcnn_param p[TEXTCNN_MAX_PARAMS];
    assert_int_equal(textcnn_params(&c, p), 9);
    size_t at = 0;
    for (int i = 0; i < 9; i++) {
        assert_int_equal(p[i].offset, at);
        at += p[i].size;
    }
    assert_int_equal(textcnn_size(&c), at);
    assert_int_equal(at, 4800 * 300 + 9 * 512 * 300 + 3 * 512 + 10 * 1536 + 10);
    assert_string_equal(p[3].name, "convs.2.weight");
    assert_int_equal(p[3].dims[2], 4);
    assert_true(!p[0].decay && p[3].decay && !p[4].decay && p[7].decay && !p[8].decay);
    assert_string_equal(p[8].name, "classifier.bias");
}

static void test_init(void **state)
{
    (void)state;
    size_t size = textcnn_size(&cfg);
    float *a = xmalloc(size * sizeof *a), *b = xmalloc(size * sizeof *b);
    textcnn_init(&cfg, 1, 0.5f, a);
    textcnn_init(&cfg, 1, 0.5f, b);
    assert_memory_equal(a, b, size * sizeof *a);
    textcnn_init(&cfg, 2, 0.5f, b);
    assert_memory_not_equal(a, b, size * sizeof *a);
    struct textcnn_param p[TEXTCNN_MAX_PARAMS];
    int n = textcnn_params(&cfg, p);
    double sum = 0;
    for (size_t i = 0; i < p[0].size; i++)
        sum += (double)a[i] * (double)a[i];
    assert_true(fabs(sqrt(sum / (double)p[0].size) - 0.5) < 0.1);
    for (int k = 0; k < cfg.embedding_size; k++)
        assert_true(a[k] == 0.0f);
    for (size_t i = 0; i < p[2].size; i++)
        assert_true(fabsf(a[p[2].offset + i]) <= 1.0f / sqrtf(6 * 3));
    for (size_t i = 0; i < p[n - 2].size; i++)
        assert_true(fabsf(a[p[n - 2].offset + i]) <= 1.0f / sqrtf(3 * 67));
    free(a);
    free(b);
}

static void test_save(void **state)
{
    (void)state;
    struct err err;
    struct vocab *v = golden_vocab(40);
    struct classes classes = golden_classes(5);
    float *w = load_golden(), *again;
    struct textcnn_config got;
    size_t size = textcnn_size(&cfg);
    assert_int_equal(textcnn_save(scratch_dir(), "small", &cfg, w, v, &classes, DT_F32, &err), 0);
    assert_int_equal(textcnn_load(scratch_dir(), &got, &again, &err), 0);
    assert_memory_equal(&got, &cfg, sizeof cfg);
    assert_memory_equal(w, again, size * sizeof *w);
    free(again);
    /* What the oracle's file holds is what we write, layout included. */
    struct safetensors *oracle = golden_open(golden_path);
    char *path = scratch_file("model.safetensors");
    struct safetensors *ours = golden_open(path);
    for (size_t i = 0; i < safetensors_tensors(ours)->n; i++) {
        const struct tensor *t = &safetensors_tensors(ours)->tensors[i],
                            *o = golden_tensor(oracle, t->name);
        assert_int_equal(t->n_dims, o->n_dims);
        assert_memory_equal(t->dims, o->dims, (size_t)t->n_dims * sizeof *t->dims);
        assert_memory_equal(t->data, o->data, t->bytes);
    }
    safetensors_close(ours);
    safetensors_close(oracle);
    free(path);
    assert_int_equal(textcnn_save(scratch_dir(), "small", &cfg, w, v, &classes, DT_F16, &err), 0);
    assert_int_equal(textcnn_load(scratch_dir(), &got, &again, &err), 0);
    for (size_t i = 0; i < size; i++)
        assert_true(fabsf(w[i] - again[i]) <= fabsf(w[i]) * 0x1p-11f + 0x1p-25f);
    free(again);
    w[size - 1] = 70000;
    assert_int_equal(textcnn_save(scratch_dir(), "small", &cfg, w, v, &classes, DT_F16, &err), -1);
    assert_error(&err, ERR_NUMERIC, "tensor \"classifier.bias\": value 4, 70000, is beyond F16");
    w[size - 1] = NAN;
    assert_int_equal(textcnn_save(scratch_dir(), "small", &cfg, w, v, &classes, DT_F32, &err), -1);
    assert_error(&err, ERR_NUMERIC, "tensor \"classifier.bias\": value 4 is not a number");
    free(w);
    vocab_close(v);
}

static float changed[40 * 67 * 6];

static void drop_last(struct tensor *t, size_t *n)
{
    (void)t;
    --*n;
}

static void one_more(struct tensor *t, size_t *n)
{
    t[*n] = t[*n - 1];
    t[(*n)++].name = "extra";
}

static void other_shape(struct tensor *t, size_t *n)
{
    (void)n;
    int64_t f = t[1].dims[0];
    t[1].dims[0] = t[1].dims[1];
    t[1].dims[1] = f;
}

static void integers(struct tensor *t, size_t *n)
{
    (void)n;
    t[0].dtype = DT_I32;
}

static void with_infinity(struct tensor *t, size_t *n)
{
    (void)n;
    memcpy(changed, t[2].data, t[2].bytes);
    changed[17] = INFINITY;
    t[2].data = changed;
}

static void with_nan(struct tensor *t, size_t *n)
{
    (void)n;
    memcpy(changed, t[0].data, t[0].bytes);
    changed[17] = NAN;
    t[0].data = changed;
}

static void pad_row(struct tensor *t, size_t *n)
{
    (void)n;
    memcpy(changed, t[0].data, t[0].bytes);
    changed[5] = 1;
    t[0].data = changed;
}

static void refused(void (*change)(struct tensor *t, size_t *n), enum err_code code,
                    const char *expected)
{
    struct err err;
    struct textcnn_config got;
    float *w = NULL;
    write_golden(change);
    assert_int_equal(textcnn_load(scratch_dir(), &got, &w, &err), -1);
    assert_null(w);
    if (!strstr(err.msg, expected) || strncmp(err.msg, scratch_dir(), strlen(scratch_dir())) != 0)
        fail_msg("\"%s\" lacks \"%s\" or its file", err.msg, expected);
    assert_int_equal(err.code, code);
}

static void test_bad_weights(void **state)
{
    (void)state;
    refused(drop_last, ERR_MISSING, "\"classifier.bias\"");
    refused(one_more, ERR_FORMAT, "tensor \"extra\" does not belong to a textcnn model");
    refused(other_shape, ERR_FORMAT, "\"convs.0.weight\"");
    refused(integers, ERR_FORMAT, "\"embedding.weight\"");
    refused(with_infinity, ERR_NUMERIC, "tensor \"convs.1.weight\": value 17 is infinite");
    refused(with_nan, ERR_NUMERIC, "tensor \"embedding.weight\": value 17 is not a number");
    refused(pad_row, ERR_NUMERIC, "tensor \"embedding.weight\": the row of [PAD] is not zero");
}

static void bad_config(const char *key, const char *value, const char *expected)
{
    struct err err;
    struct textcnn_config got;
    float *w = NULL;
    write_golden(NULL);
    golden_edit(key, value);
    assert_int_equal(textcnn_load(scratch_dir(), &got, &w, &err), -1);
    assert_error(&err, ERR_FORMAT, expected);
}

static void test_bad_config(void **state)
{
    (void)state;
    bad_config("model_type", "\"bert\"", "config.json: model_type is bert, expected textcnn");
    bad_config("vocab_size", NULL, "config.json: \"vocab_size\" is missing");
    bad_config("vocab_size", "2", "config.json: \"vocab_size\": 2 is not between 3 and 2097152");
    bad_config("embedding_size", "\"6\"", "config.json: \"embedding_size\": expected an integer");
    bad_config("num_filters", "1000000000",
               "config.json: \"num_filters\": 1000000000 is not between 1 and 65536");
    bad_config("max_length", "0", "config.json: \"max_length\": 0 is not between 1 and 1024");
    bad_config("filter_widths", "[]",
               "config.json: \"filter_widths\": expected a list of 1 to 8 widths");
    bad_config("filter_widths", "7",
               "config.json: \"filter_widths\": expected a list of 1 to 8 widths");
    bad_config("filter_widths", "[2, 17]",
               "config.json: \"filter_widths\": number 2 is not an integer between 1 and 16");
    bad_config("hidden_dropout_prob", "1.0",
               "config.json: \"hidden_dropout_prob\": 1 is not in [0, 1)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_params),      cmocka_unit_test(test_init),
        cmocka_unit_test(test_logits),      cmocka_unit_test(test_sharpness),
        cmocka_unit_test(test_gradients),   cmocka_unit_test(test_dropout_gradients),
        cmocka_unit_test(test_threads),     cmocka_unit_test(test_save),
        cmocka_unit_test(test_bad_weights), cmocka_unit_test(test_bad_config),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
