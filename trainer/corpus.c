#include "trainer/corpus.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "data/tokenizer.h"
#include "trainer/progress.h"

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void show_bytes(void *arg, size_t done, size_t all)
{
    struct progress *p = arg;
    char detail[64];
    p->total = (int64_t)all;
    (void)snprintf(detail, sizeof detail, "%.1f/%.1f MB", (double)done / 1e6, (double)all / 1e6);
    progress_step(p, (int64_t)done, detail);
}

static void show_bad(void *arg, const char *message)
{
    if (arg)
        progress_clear(arg);
    (void)fprintf(stderr, "left out: %s\n", message);
}

int corpus_read_file(const char *path, const struct classes *c, struct corpus_rules rules,
                     FILE *out, struct dataset *d, struct err *err)
{
    struct progress bar;
    struct dataset_options opt = {
        .skip_bad = rules.skip_bad, .spaced = rules.spaced, .bad = show_bad};
    if (out) {
        progress_begin(&bar, out, last_part(path), 0, 0);
        opt.progress = show_bytes;
        opt.progress_arg = &bar;
    }
    int64_t start = clock_ns();
    int rc = dataset_read(path, c, &opt, d, err);
    if (rc != 0) {
        if (out)
            progress_clear(&bar);
        return rc;
    }
    if (d->n == 0) {
        dataset_done(d);
        return err_set(err, ERR_FORMAT, "%s: no title in it", path);
    }
    if (out) {
        char skipped[64] = "";
        if (d->skipped)
            (void)snprintf(skipped, sizeof skipped, ", %zu bad lines left out", d->skipped);
        progress_end(&bar, "%zu titles%s, %.2f s", d->n, skipped,
                     (double)(clock_ns() - start) / 1e9);
    }
    return 0;
}

int corpus_same_classes(const char *file, const struct classes *c, struct err *err)
{
    char *path = file_path("%.*sclass.txt", (int)(last_part(file) - file), file);
    struct classes own = {0};
    int rc = 0;
    if (file_exists(path)) {
        rc = classes_read(path, &own, err);
        if (rc == 0 && own.n != c->n)
            rc = err_set(err, ERR_CONFLICT, "%s names %d classes, the model has %d", path,
                         (int)own.n, (int)c->n);
        for (int32_t i = 0; rc == 0 && i < c->n; i++)
            if (strcmp(own.names[i], c->names[i]) != 0)
                rc = err_set(err, ERR_CONFLICT, "%s: class %d is \"%s\", the model's is \"%s\"",
                             path, (int)i, own.names[i], c->names[i]);
        classes_done(&own);
    }
    free(path);
    return rc;
}

static void make_digest(struct corpus *c)
{
    struct buf text;
    buf_init(&text, (size_t)1 << 20);
    for (int32_t i = 0; i < c->classes.n; i++)
        buf_printf(&text, "%s\n", c->classes.names[i]);
    const struct dataset *sets[] = {&c->train, &c->dev};
    for (int i = 0; i < 2 && sets[i]->n; i++) {
        char hex[SHA256_HEX];
        const struct dataset *d = sets[i];
        sha256_hex(d->text, d->offset[d->n], hex);
        buf_puts(&text, hex);
        sha256_hex(d->offset, (d->n + 1) * sizeof *d->offset, hex);
        buf_puts(&text, hex);
        sha256_hex(d->labels, d->n * sizeof *d->labels, hex);
        buf_puts(&text, hex);
    }
    sha256_hex(text.data, text.len, c->digest);
    buf_done(&text);
}

static int read_split(const char *dir, const char *name, bool needed, struct corpus_rules rules,
                      FILE *out, const struct classes *classes, struct dataset *d, struct err *err)
{
    char *path = dataset_find(dir, name);
    if (!path)
        return needed ? err_set(err, ERR_MISSING, "%s: no %s.txt, %s.tsv or %s.csv in it", dir,
                                name, name, name)
                      : 0;
    int rc = corpus_read_file(path, classes, rules, out, d, err);
    free(path);
    return rc;
}

int corpus_read(const char *dir, bool need_dev, struct corpus_rules rules, FILE *out,
                struct corpus *c, struct err *err)
{
    *c = (struct corpus){0};
    char *path = file_path("%s/class.txt", dir);
    int rc = classes_read(path, &c->classes, err);
    free(path);
    const struct classes *classes = &c->classes;
    if (rc != 0)
        return -1;
    if (read_split(dir, "train", true, rules, out, classes, &c->train, err) != 0 ||
        read_split(dir, "dev", need_dev, rules, out, classes, &c->dev, err) != 0 ||
        read_split(dir, "test", false, rules, out, classes, &c->test, err) != 0) {
        corpus_done(c);
        return -1;
    }
    make_digest(c);
    return 0;
}

void corpus_done(struct corpus *c)
{
    dataset_done(&c->train);
    dataset_done(&c->dev);
    dataset_done(&c->test);
    classes_done(&c->classes);
    *c = (struct corpus){0};
}

int corpus_vocab(const struct dataset *train, long min_count, struct vocab **out, struct err *err)
{
    struct vocab_builder *b = vocab_builder_open();
    for (size_t i = 0; i < train->n; i++)
        vocab_builder_add(b, train->text + train->offset[i],
                          train->offset[i + 1] - train->offset[i]);
    *out = vocab_builder_finish(b, min_count, 1 << 20);
    vocab_builder_close(b);
    if (vocab_size(*out) > VOCAB_FIRST)
        return 0;
    vocab_close(*out);
    *out = NULL;
    return err_set(err, ERR_FORMAT,
                   "no character is seen %ld times in the %zu training titles (--min-count): "
                   "nothing to learn from",
                   min_count, train->n);
}

int32_t packed_by_vocab(const void *vocab, const char *title, size_t n, int32_t *ids, int32_t max)
{
    return vocab_encode(vocab, title, n, ids, max);
}

int32_t packed_by_tokenizer(const void *tokenizer, const char *title, size_t n, int32_t *ids,
                            int32_t max)
{
    return tokenizer_encode(tokenizer, title, n, ids, max, NULL);
}

int packed_make(struct packed *p, const struct dataset *d, packed_encode *encode, const void *arg,
                int32_t extra, int32_t max_tokens, struct err *err)
{
    size_t each = (size_t)max_tokens, bound = d->n * each;
    if (bound > d->offset[d->n] + d->n * (size_t)extra)
        bound = d->offset[d->n] + d->n * (size_t)extra;
    if (bound > INT32_MAX || d->n > INT32_MAX)
        return err_set(err, ERR_FORMAT, "%zu titles of %zu bytes: more than 2 GB of titles", d->n,
                       d->offset[d->n]);
    p->ids = xmalloc((bound + 1) * sizeof *p->ids);
    p->start = xmalloc((d->n + 1) * sizeof *p->start);
    p->start[0] = 0;
    for (size_t i = 0; i < d->n; i++) {
        size_t bytes = d->offset[i + 1] - d->offset[i], most = bytes + (size_t)extra;
        int32_t room = most < each ? (int32_t)most : max_tokens;
        p->start[i + 1] =
            p->start[i] + encode(arg, d->text + d->offset[i], bytes, p->ids + p->start[i], room);
    }
    p->ids = xrealloc(p->ids, ((size_t)p->start[d->n] + 1) * sizeof *p->ids);
    p->batch =
        (struct batch){.ids = p->ids, .start = p->start, .labels = d->labels, .n = (int32_t)d->n};
    return 0;
}

void packed_done(struct packed *p)
{
    free(p->ids);
    free(p->start);
    *p = (struct packed){0};
}

void packed_pick(const struct packed *p, const uint32_t *pick, int32_t n, int32_t *ids,
                 int32_t *start, int32_t *labels)
{
    start[0] = 0;
    for (int32_t i = 0; i < n; i++) {
        int32_t from = p->start[pick[i]], count = p->start[pick[i] + 1] - from;
        memcpy(ids + start[i], p->ids + from, (size_t)count * sizeof *ids);
        start[i + 1] = start[i] + count;
        labels[i] = p->batch.labels[pick[i]];
    }
}

#define MAX_CLASSES_BYTES ((size_t)DATASET_MAX_CLASSES * (DATASET_MAX_CLASS_NAME + 1))

int corpus_write_classes(const char *dir, const struct classes *c, struct err *err)
{
    struct buf text;
    char *path = file_path("%s/class.txt", dir);
    buf_init(&text, MAX_CLASSES_BYTES);
    for (int32_t i = 0; i < c->n; i++)
        buf_printf(&text, "%s\n", c->names[i]);
    int rc = file_replace(path, text.data, text.len, err);
    buf_done(&text);
    free(path);
    return rc;
}
