#include "trainer/fasttext_corpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum { MAX_ROWS = 65536, MAX_WORDS = 65536 };

void fasttext_corpus_label(const struct classes *c, int32_t i, char out[FASTTEXT_LABEL])
{
    if (strpbrk(c->names[i], " \t\v\f\r"))
        (void)snprintf(out, FASTTEXT_LABEL, "__label__%d", (int)i);
    else
        (void)snprintf(out, FASTTEXT_LABEL, "__label__%s", c->names[i]);
}

int fasttext_corpus_check_labels(const struct classes *c, struct err *err)
{
    char a[FASTTEXT_LABEL], b[FASTTEXT_LABEL];
    for (int32_t i = 0; i < c->n; i++) {
        fasttext_corpus_label(c, i, a);
        for (int32_t k = 0; k < i; k++) {
            fasttext_corpus_label(c, k, b);
            if (strcmp(a, b) == 0)
                return err_set(err, ERR_CONFLICT,
                               "classes \"%s\" and \"%s\" are both %s in fastText's files, where a "
                               "name with blanks goes by its number: rename one",
                               c->names[k], c->names[i], a);
        }
    }
    return 0;
}

/* Every token of every title once more counted. */
static void count_token(void *arg, const char *s, size_t n)
{
    struct fasttext_dict *d = arg;
    int32_t at = fasttext_dict_add(d, s, n, 0, false); /* which may move the entries */
    d->entries[at].count++;
    d->n_tokens++;
}

static int by_count(const void *a, const void *b)
{
    const struct fasttext_entry *x = a, *y = b;
    if (x->is_label != y->is_label)
        return x->is_label - y->is_label;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return x->name < y->name ? -1 : 1; /* who came first */
}

/* The counted entries as a dictionary in fastText's order. */
static int arrange(struct fasttext_dict *all, const struct fasttext_args *args,
                   struct fasttext_dict *d, struct err *err)
{
    qsort(all->entries, (size_t)all->n, sizeof *all->entries, by_count);
    fasttext_dict_start(d);
    d->args = *args;
    d->n_tokens = all->n_tokens;
    for (int32_t i = 0; i < all->n; i++) {
        const struct fasttext_entry *e = &all->entries[i];
        if (e->is_label || e->count >= args->min_count)
            (void)fasttext_dict_add(d, all->text + e->name, e->len, e->count, e->is_label);
    }
    if (d->n_words == 0)
        return err_set(err, ERR_FORMAT, "no word is seen %d times (--min-count)",
                       (int)args->min_count);
    if (fasttext_dict_rows(d) > INT32_MAX)
        return err_set(err, ERR_USAGE, "%lld rows are too many: try a smaller --bucket",
                       (long long)fasttext_dict_rows(d));
    fasttext_dict_finish(d);
    return 0;
}

static int make_lines(const struct dataset *titles, const struct words *words, const int32_t *label,
                      const struct fasttext_dict *d, struct fasttext_lines *l, struct err *err)
{
    int32_t *rows = xmalloc(MAX_ROWS * sizeof *rows);
    uint32_t *hashes = xmalloc(MAX_WORDS * sizeof *hashes);
    size_t n = 0, room = 1 << 16;
    int rc = 0;
    l->rows = xmalloc(room * sizeof *l->rows);
    l->start = xmalloc((titles->n + 1) * sizeof *l->start);
    l->label = xmalloc((titles->n + 1) * sizeof *l->label);
    l->title = xmalloc((titles->n + 1) * sizeof *l->title);
    l->tokens = xmalloc((titles->n + 1) * sizeof *l->tokens);
    l->start[0] = 0;
    for (size_t i = 0; i < titles->n; i++) {
        struct fasttext_line line = {.d = d,
                                     .rows = rows,
                                     .max = MAX_ROWS,
                                     .hashes = hashes,
                                     .max_words = MAX_WORDS,
                                     .label = -1};
        fasttext_line_title(&line, words, titles->text + titles->offset[i],
                            titles->offset[i + 1] - titles->offset[i]);
        if (line.n == 0)
            continue; /* nothing is known of it */
        if (n + (size_t)line.n > INT32_MAX) {
            rc = err_set(err, ERR_FORMAT,
                         "title %zu of %zu: more than %d rows in all; fewer n-grams or subwords",
                         i + 1, titles->n, INT32_MAX);
            break;
        }
        if (n + (size_t)line.n > room)
            l->rows = xrealloc(l->rows, (room = 2 * (n + (size_t)line.n)) * sizeof *l->rows);
        memcpy(l->rows + n, rows, (size_t)line.n * sizeof *rows);
        n += (size_t)line.n;
        l->title[l->n] = (int32_t)i;
        l->tokens[l->n] = line.n_words + (titles->labels[i] >= 0);
        l->label[l->n++] = titles->labels[i] < 0 ? -1 : label[titles->labels[i]];
        l->start[l->n] = (int32_t)n;
    }
    free(rows);
    free(hashes);
    return rc;
}

int32_t fasttext_corpus_labels(const struct classes *classes, const struct fasttext_dict *d,
                               int32_t *label)
{
    char name[FASTTEXT_LABEL];
    for (int32_t i = 0; i < classes->n; i++) {
        fasttext_corpus_label(classes, i, name);
        label[i] = fasttext_dict_find(d, name, strlen(name), fasttext_hash(name, strlen(name))) -
                   d->n_words;
        if (label[i] < 0)
            return i;
    }
    return -1;
}

int fasttext_corpus_lines(const struct dataset *titles, const struct classes *classes,
                          const struct words *words, const struct fasttext_dict *d,
                          struct fasttext_lines *l, struct err *err)
{
    int32_t *label = xcalloc((size_t)classes->n, sizeof *label);
    (void)fasttext_corpus_labels(classes, d, label);
    int rc = make_lines(titles, words, label, d, l, err);
    free(label);
    return rc;
}

int fasttext_corpus_make(const struct dataset *titles, const struct classes *classes,
                         const struct fasttext_args *args, const struct words *words,
                         struct fasttext_dict *d, struct fasttext_lines *l, struct err *err)
{
    struct fasttext_dict all;
    char name[FASTTEXT_LABEL];
    *d = (struct fasttext_dict){0};
    *l = (struct fasttext_lines){0};
    if (fasttext_corpus_check_labels(classes, err) != 0)
        return -1;
    int32_t *label = xcalloc((size_t)classes->n, sizeof *label);
    fasttext_dict_start(&all);
    for (size_t i = 0; i < titles->n; i++) {
        words_each(words, titles->text + titles->offset[i],
                   titles->offset[i + 1] - titles->offset[i], count_token, &all);
        count_token(&all, FASTTEXT_END, strlen(FASTTEXT_END));
    }
    for (int32_t i = 0; i < classes->n; i++) {
        fasttext_corpus_label(classes, i, name);
        label[i] = fasttext_dict_add(&all, name, strlen(name), 0, true);
    }
    for (size_t i = 0; i < titles->n; i++)
        if (titles->labels[i] >= 0)
            all.entries[label[titles->labels[i]]].count++;
    all.n_tokens += (int64_t)titles->n;
    int rc = arrange(&all, args, d, err);
    int32_t taken = rc == 0 ? fasttext_corpus_labels(classes, d, label) : -1;
    if (taken >= 0)
        rc = err_set(err, ERR_FORMAT, "a title has the word __label__%.60s, which is a label's",
                     classes->names[taken]);
    if (rc == 0)
        rc = make_lines(titles, words, label, d, l, err);
    if (rc == 0 && l->n == 0)
        rc = err_set(err, ERR_FORMAT, "no title has a word that is seen %d times (--min-count)",
                     (int)args->min_count);
    fasttext_dict_done(&all);
    free(label);
    return rc;
}
