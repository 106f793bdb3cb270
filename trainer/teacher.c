#include "trainer/teacher.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "models/checkpoint.h"
#include "models/safetensors.h"
#include "trainer/evaluate.h"
#include "trainer/progress.h"

void teacher_close(struct teacher *t)
{
    free(t->taught);
    *t = (struct teacher){0};
}

void teacher_pick(const struct teacher *t, const uint32_t *pick, int32_t n, float *taught,
                  struct teaching *out)
{
    size_t row = (size_t)t->labels;
    for (int32_t i = 0; i < n; i++)
        memcpy(taught + (size_t)i * row, t->taught + (size_t)pick[i] * row, row * sizeof *taught);
    *out = (struct teaching){taught, t->temperature, t->part};
}

static int check_labels(const struct model *m, const char *path, const struct classes *c,
                        struct err *err)
{
    const struct model_info *info = model_info(m);
    if (info->n_labels != c->n)
        return err_set(err, ERR_CONFLICT, "teacher %s has %d labels, the data %d", path,
                       (int)info->n_labels, (int)c->n);
    for (int32_t k = 0; k < c->n; k++)
        if (strcmp(info->labels[k], c->names[k]) != 0)
            return err_set(err, ERR_CONFLICT,
                           "label %d of teacher %s is \"%s\", the data's is \"%s\"", (int)k, path,
                           info->labels[k], c->names[k]);
    return 0;
}

/* What lies beside the weights steers what they say: temperatures, tokenizers, thresholds of parts. */
static int add_companions(struct sha256 *h, const char *path, struct err *err)
{
    struct file_list list;
    if (!file_is_directory(path))
        return 0;
    if (file_list_tree(path, false, &list, err) != 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; i < list.n && rc == 0; i++) {
        const char *name = list.names[i], *slash = strrchr(name, '/');
        char *file = file_path("%s/%s", path, name), sum[SHA256_HEX];
        if (name[strlen(name) - 1] != '/' && !checkpoint_is_weights(slash ? slash + 1 : name)) {
            rc = sha256_file(file, sum, NULL, err);
            sha256_add(h, name, strlen(name));
            sha256_add(h, sum, rc == 0 ? strlen(sum) : 0);
        }
        free(file);
    }
    file_list_free(&list);
    return rc;
}

/* Of a model and the titles. */
static int key_of(const struct model *m, const char *path, const struct dataset *titles,
                  char hex[SHA256_HEX], struct err *err)
{
    const struct model_info *info = model_info(m);
    struct sha256 *h = sha256_open();
    sha256_add(h, info->sha256, strlen(info->sha256));
    sha256_add(h, precision_name(info->precision), strlen(precision_name(info->precision)));
    int rc = add_companions(h, path, err);
    sha256_add(h, titles->text, titles->offset[titles->n]);
    sha256_add(h, titles->offset, titles->n * sizeof *titles->offset);
    sha256_close(h, hex);
    return rc;
}

static bool read_scores(const char *path, const struct dataset *titles, int32_t labels, float *p)
{
    struct safetensors *st;
    const struct tensor *t;
    const int64_t dims[] = {(int64_t)titles->n, labels};
    if (!file_exists(path) || safetensors_open(path, &st, NULL) != 0)
        return false;
    bool good = tensor_set_need(safetensors_tensors(st), "probabilities", 2, dims, &t, NULL) == 0 &&
                tensor_to_f32(t, p, NULL) == 0;
    safetensors_close(st);
    return good;
}

/* What one model says of all titles, from the cache where it is there. */
static int score(const struct model *m, const char *name, const struct dataset *titles,
                 const char *cache, struct pool *pool, FILE *console, float *p,
                 char key[SHA256_HEX], struct err *err)
{
    int32_t labels = model_info(m)->n_labels;
    char s[24];
    if (key_of(m, name, titles, key, err) != 0)
        return -1;
    char *path = file_path("%s/%.16s.safetensors", cache, key);
    int rc = 0;
    if (read_scores(path, titles, labels, p)) {
        (void)fprintf(console, "%-12s %s: %zu titles, from %s\n", "teacher", name, titles->n, path);
    } else {
        int64_t start = clock_ns();
        char *label = file_path("teacher %.30s", name);
        struct progress bar;
        progress_begin(&bar, console, label, 0, (int64_t)titles->n);
        float *got = evaluate_probabilities(m, titles, pool, &bar);
        progress_clear(&bar);
        free(label);
        memcpy(p, got, titles->n * (size_t)labels * sizeof *p);
        free(got);
        const struct tensor t = {.name = "probabilities",
                                 .dtype = DT_F32,
                                 .n_dims = 2,
                                 .dims = {(int64_t)titles->n, labels},
                                 .data = p,
                                 .bytes = titles->n * (size_t)labels * sizeof *p};
        rc = file_mkdirs(cache, err);
        if (rc == 0)
            rc = safetensors_write(path, &t, 1, NULL, err);
        (void)fprintf(console, "%-12s %s: %zu titles in %s\n", "teacher", name, titles->n,
                      progress_duration((clock_ns() - start) / 1000000000, s));
    }
    free(path);
    return rc;
}

/* Adds weight · ln p to the sums. */
static void add(const struct teacher *t, const float *p, size_t titles, double weight)
{
    for (size_t i = 0; i < titles * (size_t)t->labels; i++)
        t->taught[i] += (float)(weight * log(fmax((double)p[i], 1e-30)));
}

/* Sums of weighted logarithms become probabilities at the temperature. */
static void finish(struct teacher *t, size_t titles, double weights)
{
    for (size_t i = 0; i < titles; i++) {
        float *row = t->taught + i * (size_t)t->labels, most = row[0];
        double sum = 0, sharp = 1 / (weights * (double)t->temperature);
        for (int32_t k = 1; k < t->labels; k++)
            most = fmaxf(most, row[k]);
        for (int32_t k = 0; k < t->labels; k++)
            sum += (double)(row[k] = (float)exp((double)(row[k] - most) * sharp));
        for (int32_t k = 0; k < t->labels; k++)
            row[k] = (float)((double)row[k] / sum);
    }
}

static int add_model(struct teacher *t, char *spec, const struct dataset *titles,
                     const struct classes *classes, const char *cache, struct pool *pool,
                     FILE *console, double *weights, struct sha256 *h, struct err *err)
{
    char *equals = file_exists(spec) ? NULL : strrchr(spec, '='), *end = NULL, key[SHA256_HEX];
    double weight = equals ? strtod(equals + 1, &end) : 1;
    struct model *m;
    if (equals && (*end || end == equals + 1 || !(weight > 0 && weight <= 1000)))
        return err_set(err, ERR_USAGE, "teacher \"%s\": expected a weight above 0 behind \"=\"",
                       spec);
    if (equals)
        *equals = '\0';
    if (model_open(spec, PRECISION_AUTO, &m, err) != 0)
        return -1;
    int rc = check_labels(m, spec, classes, err);
    float *p = xmalloc((titles->n + 1) * (size_t)classes->n * sizeof *p);
    if (rc == 0)
        rc = score(m, spec, titles, cache, pool, console, p, key, err);
    if (rc == 0) {
        add(t, p, titles->n, weight);
        *weights += weight;
        sha256_add(h, key, strlen(key));
        sha256_add(h, &weight, sizeof weight);
    }
    free(p);
    model_close(m);
    return rc;
}

int teacher_open(struct teacher *t, const char *models, const struct dataset *titles,
                 const struct classes *classes, float temperature, float part, const char *cache,
                 int threads, FILE *console, struct err *err)
{
    struct pool *pool = pool_open(threads);
    struct sha256 *h = sha256_open();
    char *list = xstrdup(models), *rest = list, *spec;
    double weights = 0;
    int rc = 0;
    *t = (struct teacher){.labels = classes->n, .temperature = temperature, .part = part};
    t->taught = xcalloc(titles->n * (size_t)classes->n + 1, sizeof *t->taught);
    while (rc == 0 && (spec = strsep(&rest, ",")) != NULL)
        if (*spec)
            rc = add_model(t, spec, titles, classes, cache, pool, console, &weights, h, err);
    if (rc == 0 && weights == 0)
        rc = err_set(err, ERR_USAGE, "no teacher is named");
    sha256_add(h, &temperature, sizeof temperature);
    sha256_add(h, &part, sizeof part);
    sha256_close(h, t->digest);
    if (rc == 0)
        finish(t, titles->n, weights);
    else
        teacher_close(t);
    free(list);
    pool_close(pool);
    return rc;
}
