#include "models/fasttext_arch.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "models/fasttext.h"
#include "models/labels.h"

enum { MAX_ROWS = 4096 /* of a title */ };
static const char label_begin[] = "__label__";

struct model_of_words {
    struct fasttext *m;
    int32_t *class_of; /* [labels of the dictionary] the model's class of each */
    int32_t n_labels;
};

static const char *bare_label(const struct fasttext_dict *d, int32_t i)
{
    const char *name = fasttext_dict_name(d, d->n_words + i);
    size_t n = strlen(label_begin);
    return strncmp(name, label_begin, n) == 0 ? name + n : name;
}

/* The labels as they stand, where nothing else names them. */
static int own_classes(const char *path, const struct fasttext_dict *d, struct classes *out,
                       struct err *err)
{
    const char **names = xmalloc((size_t)d->n_labels * sizeof *names);
    char *name = file_path("%s: its labels", path);
    for (int32_t i = 0; i < d->n_labels; i++)
        names[i] = bare_label(d, i);
    int rc = labels_copy(name, names, d->n_labels, out, err);
    free(name);
    free(names);
    return rc;
}

/* By name or by index, each of them once. */
static int match_classes(const char *path, const struct fasttext_dict *d, const struct classes *c,
                         int32_t *class_of, struct err *err)
{
    bool *met = xcalloc((size_t)c->n, sizeof *met);
    int rc = d->n_labels == c->n ? 0
                                 : err_set(err, ERR_CONFLICT, "%s has %d labels, labels.txt has %d",
                                           path, (int)d->n_labels, (int)c->n);
    for (int32_t i = 0; i < d->n_labels && rc == 0; i++) {
        const char *name = bare_label(d, i);
        int32_t k = classes_find(c, name, strlen(name));
        if (k < 0 || met[k])
            rc = err_set(err, ERR_CONFLICT, "%s: its label \"%.50s\" %s", path, name,
                         k < 0 ? "is not in labels.txt" : "is there twice");
        else
            met[class_of[i] = k] = true;
    }
    free(met);
    return rc;
}

/* A bare file says nothing of how its words were cut; Chinese ones by jieba, most likely. */
static int open_words(const struct arch_place *place, const struct fasttext_dict *d, bool *spaced,
                      struct words **out, struct err *err)
{
    const char *name = NULL;
    enum words_how how = fasttext_guess_words(d);
    if (!place->config)
        return words_open(how, NULL, NULL, out, err);
    if (json_get_str(place->config, "words", &name, err) != 0 ||
        (name && words_parse(name, &how, err) != 0))
        return err_prefix(err, "%s/config.json: \"words\"", place->path);
    *spaced = how == WORDS_SPACES;
    return words_open_saved(how, place->path, out, err);
}

static char *find_file(const struct arch_place *place, struct err *err)
{
    if (!place->config)
        return xstrdup(place->path);
    char *bin = file_path("%s/" FASTTEXT_BIN, place->path);
    if (file_exists(bin))
        return bin;
    free(bin);
    char *ftz = file_path("%s/" FASTTEXT_FTZ, place->path);
    if (file_exists(ftz))
        return ftz;
    free(ftz);
    (void)err_set(err, ERR_MISSING, "%s: neither " FASTTEXT_BIN " nor " FASTTEXT_FTZ " in it",
                  place->path);
    return NULL;
}

static void close_model(void *impl)
{
    struct model_of_words *m = impl;
    if (!m)
        return;
    fasttext_free(m->m);
    free(m->class_of);
    free(m);
}

static int make(const struct arch_place *place, const char *path, struct fasttext_file *f,
                struct model_of_words *m, struct arch_facts *facts, struct err *err)
{
    struct words *words;
    m->n_labels = f->dict.n_labels;
    m->class_of = xcalloc((size_t)m->n_labels, sizeof *m->class_of);
    for (int32_t i = 0; i < m->n_labels; i++)
        m->class_of[i] = i;
    if (place->classes->n ? match_classes(path, &f->dict, place->classes, m->class_of, err) != 0
                          : own_classes(path, &f->dict, &facts->classes, err) != 0)
        return -1;
    facts->parameters = (f->input.rows + f->output.rows) * f->input.columns;
    int rc = open_words(place, &f->dict, &facts->spaced_words, &words, err);
    if (rc == 0 && fasttext_make(f, words, &m->m, err) != 0)
        rc = err_prefix(err, "%s", path);
    if (rc != 0) {
        if (!place->classes->n)
            classes_done(&facts->classes);
        return -1;
    }
    facts->weights_bytes = fasttext_bytes(m->m);
    facts->max_tokens = MAX_ROWS;
    facts->n_labels = m->n_labels;
    facts->each_for_itself = fasttext_dictionary(m->m)->args.loss == FASTTEXT_OVA;
    facts->precision = PRECISION_FP32;
    return 0;
}

static int open_path(const struct arch_place *place, void **impl, struct arch_facts *facts,
                     struct err *err)
{
    struct model_of_words *m = xcalloc(1, sizeof *m);
    struct fasttext_file f;
    char *path = find_file(place, err);
    int rc = path ? fasttext_file_open(path, &f, err) : -1;
    if (rc == 0) {
        struct sha256 *h = sha256_open();
        sha256_add(h, f.map.data, f.map.len);
        sha256_close(h, facts->sha256);
        rc = make(place, path, &f, m, facts, err);
        fasttext_file_close(&f);
    }
    free(path);
    if (rc != 0)
        close_model(m);
    else
        *impl = m;
    return rc;
}

static int32_t encode(const void *impl, const char *title, size_t n, int32_t *ids, int32_t max,
                      bool *cut)
{
    const struct model_of_words *m = impl;
    int32_t got = fasttext_encode(m->m, title, n, ids, max, cut);
    /* A title without any row it knows still is one; -1 is no row. */
    if (got == 0)
        ids[got++] = -1;
    return got;
}

static void *workspace(const void *impl, int32_t max_titles, int32_t max_ids)
{
    const struct model_of_words *m = impl;
    (void)max_titles;
    (void)max_ids;
    return xcalloc(fasttext_scratch(m->m) + (size_t)m->n_labels, sizeof(float));
}

static void classify(const void *impl, void *ws, const struct batch *b, float *probabilities)
{
    const struct model_of_words *m = impl;
    float *p = (float *)ws + fasttext_scratch(m->m);
    for (int32_t i = 0; i < b->n; i++) {
        const int32_t *ids = b->ids + b->start[i];
        int32_t n = b->start[i + 1] - b->start[i];
        float *row = probabilities + (size_t)i * (size_t)m->n_labels;
        fasttext_probabilities(m->m, ids, ids[0] < 0 ? 0 : n, ws, p);
        for (int32_t k = 0; k < m->n_labels; k++)
            row[m->class_of[k]] = p[k];
    }
}

const struct arch fasttext_arch = {.model_type = "fasttext",
                                   .open_path = open_path,
                                   .encode = encode,
                                   .close = close_model,
                                   .workspace_open = workspace,
                                   .workspace_close = free,
                                   .classify = classify};
