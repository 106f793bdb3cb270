#include "trainer/verb.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/rng.h"
#include "data/stats.h"
#include "trainer/corpus.h"

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "data",
     .type = OPT_STR,
     .help = "directory with class.txt, train and perhaps dev and test (.txt, .tsv or .csv)"},
    {.name = "skip-bad",
     .type = OPT_INT,
     .def = "0",
     .min = 0,
     .max = 1e9,
     .help = "leave out at most this many bad lines of each file"},
    {.name = "spaced",
     .type = OPT_BOOL,
     .def = "false",
     .help = "blanks of __label__ lines stand between words, and stay"},
    {.name = "out",
     .type = OPT_STR,
     .help = "hold-out: directory of the new files; made when missing"},
    {.name = "titles",
     .type = OPT_INT,
     .def = "10000",
     .min = 1,
     .max = 1e9,
     .help = "hold-out: titles of train that go into held.txt"},
    {.name = "seed",
     .type = OPT_INT,
     .def = "1",
     .min = 0,
     .max = 2147483647,
     .help = "hold-out: which ones"},
};

#define STREAM_HOLD 0x686f6c64ULL
#define MAX_TEXT ((size_t)4 << 30)

static int write_titles(const char *dir, const char *name, const struct dataset *d,
                        const uint32_t *order, size_t n, struct err *err)
{
    struct buf text;
    char *path = file_path("%s/%s", dir, name);
    buf_init(&text, MAX_TEXT);
    for (size_t i = 0; i < n; i++) {
        size_t k = order ? order[i] : i;
        /* A title of a CSV file may have line breaks. */
        for (const char *p = d->text + d->offset[k]; p < d->text + d->offset[k + 1]; p++)
            buf_put(&text, *p == '\n' || *p == '\r' ? " " : p, 1);
        buf_printf(&text, "\t%d\n", (int)d->labels[k]);
    }
    int rc = text.full ? err_set(err, ERR_FORMAT, "%s: over %zu bytes", path, MAX_TEXT)
                       : file_replace(path, text.data, text.len, err);
    if (rc == 0)
        (void)printf("%s: %zu titles\n", path, n);
    buf_done(&text);
    free(path);
    return rc;
}

/* train.txt without some of its titles, which are in held.txt; the rest as it is. */
static int hold_out(const struct options *o, const struct corpus *c, struct err *err)
{
    const char *out;
    size_t n = c->train.n, held = (size_t)options_int(o, "titles");
    if (verb_need(o, "out", &out, err) != 0)
        return -1;
    if (file_same_place(out, options_str(o, "data")))
        return err_set(err, ERR_USAGE, "--out is --data: its files would be replaced");
    if (held >= n)
        return err_set(err, ERR_USAGE, "--titles is %zu, train has %zu", held, n);
    uint32_t *order = xmalloc(n * sizeof *order);
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    rng_shuffle(order, n, (uint64_t)options_int(o, "seed"), STREAM_HOLD);
    int rc = file_mkdirs(out, err);
    if (rc == 0)
        rc = corpus_write_classes(out, &c->classes, err);
    if (rc == 0)
        rc = write_titles(out, "held.txt", &c->train, order, held, err);
    if (rc == 0)
        rc = write_titles(out, "train.txt", &c->train, order + held, n - held, err);
    if (rc == 0 && c->dev.n)
        rc = write_titles(out, "dev.txt", &c->dev, NULL, c->dev.n, err);
    if (rc == 0 && c->test.n)
        rc = write_titles(out, "test.txt", &c->test, NULL, c->test.n, err);
    free(order);
    return rc;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *dir;
    struct corpus c;
    bool holds = n == 1 && strcmp(words[0], "hold-out") == 0;
    if (n != 1 || (!holds && strcmp(words[0], "stats") != 0))
        return err_set(err, ERR_USAGE, "one of the words \"stats\" and \"hold-out\" is expected");
    if (verb_need(o, "data", &dir, err) != 0 ||
        corpus_read(dir, false,
                    (struct corpus_rules){options_int(o, "skip-bad"), options_bool(o, "spaced")},
                    stdout, &c, err) != 0)
        return -1;
    if (holds) {
        int rc = hold_out(o, &c, err);
        corpus_done(&c);
        return rc;
    }
    (void)putchar('\n');
    int rc = stats_print(stdout, &c.classes, &c.train, c.dev.n ? &c.dev : NULL,
                         c.test.n ? &c.test : NULL);
    corpus_done(&c);
    return rc == 0 ? 0 : err_set(err, ERR_IO, "standard output cannot be written");
}

const struct verb verb_data = {
    .name = "data",
    .help = "look at labelled titles: classes, lengths, duplicates, overlap; hold some out",
    .words = "stats|hold-out",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .run = run};
