#include "models/composite.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "models/labels.h"
#include "models/manifest.h"

enum { LEAST_IDS = 2 /* of a part's, model_encode()'s least */, MAX_DIR = 100 };

struct part {
    char *dir;
    struct model *m;
    float weight;    /* of an ensemble's member */
    float threshold; /* of a cascade's stage; the last one's is 0 */
};

struct composite {
    bool cascade;
    int n;
    struct part parts[COMPOSITE_MAX];
    int32_t n_labels, max_tokens;
    atomic_llong answered[COMPOSITE_MAX];
};

struct composite_ws {
    const struct composite *c;
    struct workspace *parts[COMPOSITE_MAX];
    int32_t *ids, *start, *alive;
    float *p;    /* [titles, labels] of a part */
    double *sum; /* [labels] */
};

static void close_composite(void *impl)
{
    struct composite *c = impl;
    if (!c)
        return;
    for (int i = 0; i < c->n; i++) {
        model_close(c->parts[i].m);
        free(c->parts[i].dir);
    }
    free(c);
}

static int read_part(const struct arch_place *place, const json_t *entry, bool last,
                     struct composite *c, struct err *err)
{
    struct part *p = &c->parts[c->n++];
    const char *dir = NULL, *precision = NULL;
    double weight = 1, threshold = last ? 0 : -1;
    enum precision how = place->precision;
    if (!json_is_object(entry) || json_get_str(entry, "dir", &dir, err) != 0 || !dir)
        return err_set(err, ERR_FORMAT, "part %d has no \"dir\"", c->n);
    p->dir = xstrdup(dir);
    if (!manifest_word(dir, MAX_DIR))
        return err_set(
            err, ERR_FORMAT,
            "\"dir\" of part %d is \"%.100s\": expected a name of letters, digits, . _ -", c->n,
            dir);
    if (json_get_real(entry, c->cascade ? "threshold" : "weight", c->cascade ? &threshold : &weight,
                      err) != 0 ||
        json_get_str(entry, "precision", &precision, err) != 0 ||
        (precision && precision_parse(precision, &how, err) != 0))
        return err_prefix(err, "part \"%s\"", dir);
    if (c->cascade && !(threshold >= 0 && threshold <= 2))
        return err_set(err, ERR_FORMAT,
                       "part \"%s\": \"threshold\" must be there, from 0 to 2 (above 1: never)",
                       dir);
    if (!(fabs(weight) <= 1000))
        return err_set(err, ERR_FORMAT, "part \"%s\": \"weight\" is %g, expected -1000 to 1000",
                       dir, weight);
    p->weight = (float)weight;
    p->threshold = last ? 0.0f : (float)threshold;
    char *path = file_path("%s/%s", place->path, dir);
    int rc = model_open(path, how, &p->m, err);
    if (rc == 0 && model_info(p->m)->n_labels == 0)
        rc = err_set(err, ERR_FORMAT, "%s: it classifies nothing", path);
    free(path);
    return rc;
}

/* The same names in the same order. */
static int check_labels(const struct arch_place *place, const struct composite *c, struct err *err)
{
    const struct model_info *first = model_info(c->parts[0].m);
    for (int i = 0; i < c->n; i++) {
        const struct model_info *info = model_info(c->parts[i].m);
        const struct classes *given = place->classes;
        int32_t n = given->n ? given->n : first->n_labels;
        const char *const *names = given->n ? (const char *const *)given->names : first->labels;
        const char *whose = given->n ? "labels.txt" : c->parts[0].dir;
        if (info->n_labels != n)
            return err_set(err, ERR_CONFLICT, "%s: part \"%s\" has %d labels, %s has %d",
                           place->path, c->parts[i].dir, (int)info->n_labels, whose, (int)n);
        for (int32_t k = 0; k < n; k++)
            if (strcmp(info->labels[k], names[k]) != 0)
                return err_set(err, ERR_CONFLICT,
                               "%s: label %d of part \"%s\" is \"%s\", that of %s is \"%s\"",
                               place->path, (int)k, c->parts[i].dir, info->labels[k], whose,
                               names[k]);
    }
    return 0;
}

/* The parts' weights and how they are put together. */
static void describe(const struct arch_place *place, const struct composite *c,
                     struct arch_facts *facts)
{
    char *config = json_dumps(place->config, JSON_SORT_KEYS);
    struct sha256 *h = sha256_open();
    sha256_add(h, config, strlen(config));
    facts->n_labels = c->n_labels;
    facts->max_tokens = c->max_tokens;
    facts->precision = model_info(c->parts[c->n - 1].m)->precision;
    facts->kernels = model_info(c->parts[c->n - 1].m)->kernels;
    for (int i = 0; i < c->n; i++) {
        const struct model_info *info = model_info(c->parts[i].m);
        sha256_add(h, info->sha256, strlen(info->sha256));
        facts->parameters += info->parameters;
        facts->weights_bytes += info->weights_bytes;
        facts->spaced_words = facts->spaced_words || info->spaced_words;
        facts->each_for_itself = facts->each_for_itself || (c->cascade && info->each_for_itself);
    }
    sha256_close(h, facts->sha256);
    free(config);
}

static int open_parts(const struct arch_place *place, struct composite *c, struct err *err)
{
    const char *key = c->cascade ? "stages" : "members";
    const json_t *list = json_object_get(place->config, key);
    size_t n = json_array_size(list);
    if (n < 1 || n > COMPOSITE_MAX)
        return err_set(err, ERR_FORMAT, "%s/config.json: \"%s\" must be a list of 1 to %d parts",
                       place->path, key, COMPOSITE_MAX);
    for (size_t i = 0; i < n; i++)
        if (read_part(place, json_array_get(list, i), i + 1 == n, c, err) != 0)
            return strstr(err->msg, place->path) ? -1
                                                 : err_prefix(err, "%s/config.json", place->path);
    return check_labels(place, c, err);
}

static int open_composite(const struct arch_place *place, bool cascade, void **impl,
                          struct arch_facts *facts, struct err *err)
{
    struct composite *c = xcalloc(1, sizeof *c);
    c->cascade = cascade;
    int rc = open_parts(place, c, err);
    for (int i = 0; i < c->n && rc == 0; i++)
        c->max_tokens += model_info(c->parts[i].m)->max_tokens + 1;
    if (rc == 0 && !place->classes->n)
        rc = labels_copy(place->path, model_info(c->parts[0].m)->labels,
                         model_info(c->parts[0].m)->n_labels, &facts->classes, err);
    if (rc != 0) {
        close_composite(c);
        return -1;
    }
    c->n_labels = model_info(c->parts[0].m)->n_labels;
    describe(place, c, facts);
    *impl = c;
    return 0;
}

static int open_ensemble(const struct arch_place *place, void **impl, struct arch_facts *facts,
                         struct err *err)
{
    return open_composite(place, false, impl, facts, err);
}

static int open_cascade(const struct arch_place *place, void **impl, struct arch_facts *facts,
                        struct err *err)
{
    return open_composite(place, true, impl, facts, err);
}

/* Where room is short the parts behind keep their least. */
static int32_t encode(const void *impl, const char *title, size_t n, int32_t *ids, int32_t max,
                      bool *cut)
{
    const struct composite *c = impl;
    int32_t used = 0;
    bool any = false;
    for (int i = 0; i < c->n; i++) {
        int32_t behind = (c->n - 1 - i) * (LEAST_IDS + 1), room = max - used - 1 - behind;
        bool one = false;
        ids[used] = model_encode(c->parts[i].m, title, n, ids + used + 1,
                                 room > LEAST_IDS ? room : LEAST_IDS, &one);
        used += ids[used] + 1;
        any = any || one;
    }
    if (cut)
        *cut = any;
    return used;
}

static void *workspace(const void *impl, int32_t max_titles, int32_t max_ids)
{
    const struct composite *c = impl;
    struct composite_ws *ws = xcalloc(1, sizeof *ws);
    ws->c = c;
    for (int i = 0; i < c->n; i++) {
        int64_t most = (int64_t)max_titles * model_info(c->parts[i].m)->max_tokens;
        ws->parts[i] =
            workspace_open(c->parts[i].m, max_titles, most < max_ids ? (int32_t)most : max_ids);
    }
    ws->ids = xcalloc((size_t)max_ids + 1, sizeof *ws->ids);
    ws->start = xcalloc((size_t)max_titles + 1, sizeof *ws->start);
    ws->alive = xcalloc((size_t)max_titles + 1, sizeof *ws->alive);
    ws->p = xcalloc((size_t)max_titles * (size_t)c->n_labels + 1, sizeof *ws->p);
    ws->sum = xcalloc((size_t)c->n_labels, sizeof *ws->sum);
    return ws;
}

static void close_workspace(void *impl)
{
    struct composite_ws *ws = impl;
    for (int i = 0; i < ws->c->n; i++)
        workspace_close(ws->parts[i]);
    free(ws->ids);
    free(ws->start);
    free(ws->alive);
    free(ws->p);
    free(ws->sum);
    free(ws);
}

/* Part i's probabilities of n titles of the batch, into ws->p. */
static void run_part(struct composite_ws *ws, const struct batch *b, const int32_t *titles,
                     int32_t n, int i)
{
    int32_t used = 0;
    ws->start[0] = 0;
    for (int32_t t = 0; t < n; t++) {
        const int32_t *ids = b->ids + b->start[titles[t]];
        for (int k = 0; k < i; k++)
            ids += ids[0] + 1;
        memcpy(ws->ids + used, ids + 1, (size_t)ids[0] * sizeof *ids);
        used += ids[0];
        ws->start[t + 1] = used;
    }
    model_classify(ws->c->parts[i].m, ws->parts[i],
                   &(struct batch){.ids = ws->ids, .start = ws->start, .n = n}, ws->p);
}

static void classify_cascade(const void *impl, void *workspace_, const struct batch *b,
                             float *probabilities)
{
    struct composite *c = (struct composite *)(uintptr_t)impl; /* its counters move */
    struct composite_ws *ws = workspace_;
    size_t labels = (size_t)c->n_labels;
    int32_t left = b->n;
    for (int32_t t = 0; t < b->n; t++)
        ws->alive[t] = t;
    for (int i = 0; i < c->n && left > 0; i++) {
        int32_t kept = 0;
        run_part(ws, b, ws->alive, left, i);
        for (int32_t t = 0; t < left; t++) {
            const float *p = ws->p + (size_t)t * labels;
            float most = p[0];
            for (size_t k = 1; k < labels; k++)
                most = p[k] > most ? p[k] : most;
            if (i + 1 == c->n || most >= c->parts[i].threshold)
                memcpy(probabilities + (size_t)ws->alive[t] * labels, p, labels * sizeof *p);
            else
                ws->alive[kept++] = ws->alive[t];
        }
        (void)atomic_fetch_add_explicit(&c->answered[i], left - kept, memory_order_relaxed);
        left = kept;
    }
}

/* Sums of logarithms in probabilities on the way. */
static void classify_ensemble(const void *impl, void *workspace_, const struct batch *b,
                              float *probabilities)
{
    const struct composite *c = impl;
    struct composite_ws *ws = workspace_;
    size_t labels = (size_t)c->n_labels, cells = (size_t)b->n * labels;
    memset(probabilities, 0, cells * sizeof *probabilities);
    for (int32_t t = 0; t < b->n; t++)
        ws->alive[t] = t;
    for (int i = 0; i < c->n; i++) {
        run_part(ws, b, ws->alive, b->n, i);
        for (size_t k = 0; k < cells; k++)
            probabilities[k] += c->parts[i].weight * logf(fmaxf(ws->p[k], 1e-30f));
    }
    for (int32_t t = 0; t < b->n; t++) {
        float *row = probabilities + (size_t)t * labels, most = row[0];
        double sum = 0;
        for (size_t k = 1; k < labels; k++)
            most = row[k] > most ? row[k] : most;
        for (size_t k = 0; k < labels; k++)
            sum += ws->sum[k] = exp((double)row[k] - (double)most);
        for (size_t k = 0; k < labels; k++)
            row[k] = (float)(ws->sum[k] / sum);
    }
}

int cascade_answered(const void *impl, const char *names[COMPOSITE_MAX],
                     int64_t answered[COMPOSITE_MAX])
{
    struct composite *c = (struct composite *)(uintptr_t)impl;
    for (int i = 0; i < c->n; i++) {
        names[i] = c->parts[i].dir;
        answered[i] = atomic_load_explicit(&c->answered[i], memory_order_relaxed);
    }
    return c->cascade ? c->n : 0;
}

const struct arch ensemble_arch = {.model_type = "ensemble",
                                   .open_path = open_ensemble,
                                   .encode = encode,
                                   .close = close_composite,
                                   .workspace_open = workspace,
                                   .workspace_close = close_workspace,
                                   .classify = classify_ensemble};
const struct arch cascade_arch = {.model_type = "cascade",
                                  .open_path = open_cascade,
                                  .encode = encode,
                                  .close = close_composite,
                                  .workspace_open = workspace,
                                  .workspace_close = close_workspace,
                                  .classify = classify_cascade};
