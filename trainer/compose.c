#include "trainer/compose.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "trainer/corpus.h"
#include "trainer/evaluate.h"

int32_t compose_labels(const struct compose *c)
{
    return model_info(c->models[0])->n_labels;
}

bool compose_spaced(const struct compose *c)
{
    bool any = false;
    for (int i = 0; i < c->n; i++)
        any = any || model_info(c->models[i])->spaced_words;
    return any;
}

static int same_labels(const struct compose *c, int i, struct err *err)
{
    const struct model_info *a = model_info(c->models[0]), *b = model_info(c->models[i]);
    if (b->n_labels == 0)
        return err_set(err, ERR_FORMAT, "%s classifies nothing", c->paths[i]);
    if (a->n_labels != b->n_labels)
        return err_set(err, ERR_CONFLICT, "%s has %d labels, %s has %d", c->paths[i],
                       (int)b->n_labels, c->paths[0], (int)a->n_labels);
    for (int32_t k = 0; k < a->n_labels; k++)
        if (strcmp(a->labels[k], b->labels[k]) != 0)
            return err_set(err, ERR_CONFLICT, "label %d of %s is \"%s\", that of %s is \"%s\"",
                           (int)k, c->paths[i], b->labels[k], c->paths[0], a->labels[k]);
    return 0;
}

int compose_open(struct compose *c, const char *list, int threads, struct err *err)
{
    char *text = xstrdup(list), *rest = text, *path;
    int rc = 0;
    *c = (struct compose){0};
    while (rc == 0 && (path = strsep(&rest, ",")) != NULL) {
        if (!*path)
            continue;
        if (c->n == COMPOSITE_MAX) {
            rc = err_set(err, ERR_USAGE, "over %d models", COMPOSITE_MAX);
            break;
        }
        c->paths[c->n] = xstrdup(path);
        rc = model_open(path, PRECISION_AUTO, &c->models[c->n], err);
        c->n++;
        if (rc == 0)
            rc = same_labels(c, c->n - 1, err);
    }
    if (rc == 0 && c->n == 0)
        rc = err_set(err, ERR_USAGE, "no model is named");
    free(text);
    if (rc == 0)
        c->pool = pool_open(threads);
    else
        compose_close(c);
    return rc;
}

int compose_read(struct compose *c, const char *path, FILE *console, struct err *err)
{
    const struct model_info *info = model_info(c->models[0]);
    struct classes classes = {.names = (char **)(size_t)info->labels, .n = info->n_labels};
    if (corpus_same_classes(path, &classes, err) != 0 ||
        corpus_read_file(path, &classes, (struct corpus_rules){0, compose_spaced(c)}, console,
                         &c->titles, err) != 0)
        return -1;
    for (int i = 0; i < c->n; i++) {
        int64_t start = clock_ns();
        c->p[i] = evaluate_probabilities(c->models[i], &c->titles, c->pool, NULL);
        c->seconds[i] = (double)(clock_ns() - start) * 1e-9 / (double)c->titles.n;
    }
    return 0;
}

void compose_close(struct compose *c)
{
    for (int i = 0; i < c->n; i++) {
        model_close(c->models[i]);
        free(c->paths[i]);
        free(c->p[i]);
    }
    dataset_done(&c->titles);
    pool_close(c->pool);
    *c = (struct compose){0};
}

double compose_loss(const struct compose *c, const double *weights)
{
    int32_t labels = compose_labels(c);
    double *x = xmalloc((size_t)labels * sizeof *x), sum = 0;
    for (size_t t = 0; t < c->titles.n; t++) {
        double most = -INFINITY, all = 0;
        for (int32_t k = 0; k < labels; k++) {
            x[k] = 0;
            for (int i = 0; i < c->n; i++)
                x[k] +=
                    weights[i] * log(fmax((double)c->p[i][t * (size_t)labels + (size_t)k], 1e-30));
            most = fmax(most, x[k]);
        }
        for (int32_t k = 0; k < labels; k++)
            all += exp(x[k] - most);
        sum += log(all) - (x[c->titles.labels[t]] - most);
    }
    free(x);
    return sum / (double)c->titles.n;
}

char *compose_part_name(const struct compose *c, int i)
{
    const char *path = c->paths[i], *ending = file_is_directory(path) ? NULL : strrchr(path, '.');
    return file_path("%d-%s%s", i, model_info(c->models[i])->family,
                     ending && !strchr(ending, '/') ? ending : "");
}

/* config.json's list of parts; NULL when dir is no composite.  The caller's. */
static json_t *parts_of(const char *dir)
{
    char *path = file_path("%s/config.json", dir);
    const char *type = NULL;
    json_t *config = json_parse_file(path, 1 << 20, NULL), *list = NULL;
    if (config && json_get_str(config, "model_type", &type, NULL) == 0 && type &&
        (strcmp(type, ensemble_arch.model_type) == 0 || strcmp(type, cascade_arch.model_type) == 0))
        list = json_object_get(config, type[0] == 'e' ? "members" : "stages");
    json_incref(list);
    json_decref(config);
    free(path);
    return list;
}

/* A model's own files, and the parts that a composite names; nothing else that lies there. */
static int copy_model(const char *from, const char *to, struct err *err)
{
    struct file_list list;
    if (file_mkdirs(to, err) != 0 || file_list(from, &list, err) != 0)
        return -1;
    int rc = 0;
    for (size_t i = 0; i < list.n && rc == 0; i++) {
        char *a = file_path("%s/%s", from, list.names[i]),
             *b = file_path("%s/%s", to, list.names[i]);
        if (list.names[i][0] != '.' && !file_is_directory(a))
            rc = file_copy(a, b, err);
        free(a);
        free(b);
    }
    file_list_free(&list);
    json_t *parts = parts_of(from);
    for (size_t i = 0; i < json_array_size(parts) && rc == 0; i++) {
        const char *dir = json_string_value(json_object_get(json_array_get(parts, i), "dir"));
        char *a = file_path("%s/%s", from, dir), *b = file_path("%s/%s", to, dir);
        rc = file_is_directory(a) ? copy_model(a, b, err) : file_copy(a, b, err);
        free(a);
        free(b);
    }
    json_decref(parts);
    return rc;
}

static int write_parts(const struct compose *c, const char *dir, const char *name, json_t *config,
                       struct err *err)
{
    const struct model_info *info = model_info(c->models[0]);
    struct classes classes = {.names = (char **)(size_t)info->labels, .n = info->n_labels};
    const char *type = json_string_value(json_object_get(config, "model_type"));
    int rc = file_mkdirs(dir, err);
    for (int i = 0; i < c->n && rc == 0; i++) {
        char *part = compose_part_name(c, i), *to = file_path("%s/%s", dir, part);
        rc = file_is_directory(c->paths[i]) ? copy_model(c->paths[i], to, err)
                                            : file_copy(c->paths[i], to, err);
        free(part);
        free(to);
    }
    arch_describe(config, type, name, 0, &classes);
    if (rc == 0)
        rc = arch_write_labels(dir, &classes, err);
    return rc == 0 ? arch_write_config(dir, config, err) : rc;
}

/* New beside out, then in its place; the old one stands aside until then. */
static int put_in_place(const char *fresh, const char *out, struct err *err)
{
    char *old = file_path("%s-old", fresh);
    bool was = file_exists(out);
    int rc = was ? rename(out, old) : 0;
    if (rc == 0 && (rc = rename(fresh, out)) != 0 && was)
        (void)rename(old, out);
    if (rc != 0)
        (void)err_set(err, ERR_IO, "%s: %s", out, strerror(errno));
    else if (was)
        (void)file_remove_tree(old, NULL);
    free(old);
    return rc;
}

int compose_write(const struct compose *c, const char *out, bool overwrite, const char *name,
                  json_t *config, struct err *err)
{
    json_t *parts = parts_of(out);
    bool replaces = overwrite && parts;
    json_decref(parts);
    if (file_exists(out) && !replaces)
        return err_set(err, ERR_CONFLICT,
                       overwrite ? "%s: is no ensemble and no cascade"
                                 : "%s: is there already: --overwrite replaces it",
                       out);
    char *fresh = file_path("%s.XXXXXX", out);
    if (!mkdtemp(fresh)) {
        int rc = err_set(err, ERR_IO, "%s: %s", fresh, strerror(errno));
        free(fresh);
        return rc;
    }
    int rc = write_parts(c, fresh, name, config, err);
    if (rc == 0 && chmod(fresh, 0755) != 0)
        rc = err_set(err, ERR_IO, "%s: %s", fresh, strerror(errno));
    if (rc == 0)
        rc = put_in_place(fresh, out, err);
    if (rc != 0)
        (void)file_remove_tree(fresh, NULL);
    free(fresh);
    return rc;
}
