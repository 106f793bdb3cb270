/* The golden rows of transformers (tests/golden/transformers_rows.py) as the tests see them: a row's
 * directory compared with its expected tensors, and copies of it in the scratch folder with one
 * thing altered. */
#ifndef TESTS_MODELS_ROWS_H
#define TESTS_MODELS_ROWS_H

#include "tests/models/golden.h"

#include "base/json.h"
#include "models/tensors.h"
#include "models/trace.h"

#define ROWS_ROOT "tests/golden/transformers"
/* Rows at their published sizes, made by `make parity`, are elsewhere and not all there. */
static inline const char *rows_root(void)
{
    const char *other = getenv("RUBRIC_GOLDEN_ROWS");
    return other ? other : ROWS_ROOT;
}

static inline bool has_row(const char *row)
{
    char *path = file_path("%s/%s/expected.safetensors", rows_root(), row);
    bool there = file_exists(path);
    free(path);
    return there || !getenv("RUBRIC_GOLDEN_ROWS"); /* the committed ones must be */
}

#define ROWS_TOLERANCE 1e-4 /* of the largest number of the tensor */

enum { MAX_NAMES = 24 };

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

static inline void compare(void *arg, const char *name, int32_t first_title, const float *x,
                           int n_rows, int columns)
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

static inline struct safetensors *expected_of(const char *row)
{
    char *path = file_path("%s/%s/expected.safetensors", rows_root(), row);
    struct safetensors *st = golden_open(path);
    free(path);
    return st;
}

/* The largest relative error over all tensors of a row, computed by the model in dir. */
static inline double error_of(const char *dir, const char *row, enum precision precision)
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

struct logits {
    float *x;
    int32_t at;
};

static inline void keep_logits(void *arg, const char *name, int32_t first, const float *x, int n,
                               int columns)
{
    struct logits *l = arg;
    if (strcmp(name, "logits") == 0)
        memcpy(l->x + first * columns, x, (size_t)(n * columns) * sizeof *x);
}

static inline double rms_from(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum / (double)n);
}

/* Copies a row's directory to the scratch folder. */
static inline void copy_row(const char *row)
{
    char *from = file_path("%s/%s", rows_root(), row);
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
static inline void set_key(const char *key, const char *value)
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

static inline bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* Every tensor whose name ends so becomes zeros of the type (DT_COUNT: its own), the first of them with
 * these first bytes, or leaves the file; how many there were. */
static inline int rewrite(const char *end, bool leave, enum dtype type, uint32_t first)
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
        if (hit) {
            size_t elements = list[kept].bytes / dtype_size(list[kept].dtype);
            list[kept].dtype = type == DT_COUNT ? list[kept].dtype : type;
            list[kept].bytes = elements * dtype_size(list[kept].dtype);
            char *zeros = xcalloc(1, list[kept].bytes + sizeof first);
            memcpy(zeros, &first, sizeof first);
            list[kept].data = zeros;
        }
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

static inline int alter(const char *end, bool leave)
{
    return rewrite(end, leave, DT_COUNT, 0);
}

#endif
