#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "data/words.h"
#include "trainer/corpus.h"
#include "trainer/fasttext_corpus.h"
#include "trainer/fit.h"
#include "trainer/verb.h"

#define MAX_TEXT ((size_t)4 << 30)

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "data",
     .type = OPT_STR,
     .help = "directory with class.txt, train and perhaps dev and test (.txt, .tsv or .csv)"},
    {.name = "out", .type = OPT_STR, .help = "directory of the new files; made when missing"},
    {.name = "words",
     .type = OPT_CHOICE,
     .def = "characters",
     .choices = WORDS_HOW,
     .help = "what is a word: each character, what spaces separate, or as jieba cuts"},
    {.name = "dictionary",
     .type = OPT_STR,
     .help = "directory of jieba's files; Debian's python3-jieba when not set"},
    {.name = "stop-words", .type = OPT_STR, .help = "file of words that are left out, one a line"},
    {.name = "skip-bad",
     .type = OPT_INT,
     .def = "0",
     .min = 0,
     .max = 1e9,
     .help = "leave out at most this many bad lines of each file"},
};

static void put_word(void *arg, const char *s, size_t n)
{
    struct buf *b = arg;
    buf_puts(b, " ");
    buf_put(b, s, n);
}

static void put_label(struct buf *b, const struct classes *c, int32_t label)
{
    char name[FASTTEXT_LABEL];
    fasttext_corpus_label(c, label, name);
    buf_puts(b, name);
}

static int write_file(const char *out, const char *name, const struct classes *c,
                      const struct dataset *d, const struct words *w, struct err *err)
{
    struct buf text, line;
    char *path = file_path("%s/%s.txt", out, name);
    buf_init(&text, MAX_TEXT);
    size_t left_out = 0;
    buf_init(&line, MAX_TEXT);
    for (size_t i = 0; i < d->n; i++) {
        buf_reset(&line);
        words_each(w, d->text + d->offset[i], d->offset[i + 1] - d->offset[i], put_word, &line);
        if (line.len == 0) { /* it could not be read back */
            left_out++;
            continue;
        }
        put_label(&text, c, d->labels[i]);
        buf_put(&text, line.data, line.len);
        buf_puts(&text, "\n");
    }
    buf_done(&line);
    int rc = text.full ? err_set(err, ERR_FORMAT, "%s: over %zu bytes", path, MAX_TEXT)
                       : file_replace(path, text.data, text.len, err);
    if (rc == 0)
        (void)printf("%s: %zu titles", path, d->n - left_out);
    if (rc == 0 && left_out)
        (void)printf(", %zu of nothing but stop words left out", left_out);
    if (rc == 0)
        (void)printf("\n");
    buf_done(&text);
    free(path);
    return rc;
}

static int write_all(const struct options *o, const char *out, const struct corpus *c,
                     struct err *err)
{
    const struct {
        const char *name;
        const struct dataset *d;
    } all[] = {{"train", &c->train}, {"dev", &c->dev}, {"test", &c->test}};
    struct words *w;
    enum words_how how;
    if (words_parse(options_str(o, "words"), &how, err) != 0 ||
        words_open(how, options_str(o, "dictionary"), options_str(o, "stop-words"), &w, err) != 0)
        return -1;
    int rc = file_mkdirs(out, err);
    if (rc == 0)
        rc = corpus_write_classes(out, &c->classes, err);
    for (size_t i = 0; i < sizeof all / sizeof *all && rc == 0; i++)
        if (all[i].d->n)
            rc = write_file(out, all[i].name, &c->classes, all[i].d, w, err);
    words_close(w);
    return rc;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *data, *out;
    struct corpus c = {0};
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "data", &data, err) != 0 ||
        verb_need(o, "out", &out, err) != 0)
        return -1;
    if (file_same_place(data, out))
        return err_set(err, ERR_USAGE, "--out is --data: its files would be replaced");
    int rc = corpus_read(data, false, fit_rules(o), stdout, &c, err);
    if (rc == 0)
        rc = fasttext_corpus_check_labels(&c.classes, err);
    if (rc == 0)
        rc = write_all(o, out, &c, err);
    corpus_done(&c);
    return rc;
}

const struct verb verb_prepare = {.name = "prepare",
                                  .help = "write labelled titles as fastText's users keep them",
                                  .words = "",
                                  .opts = opts,
                                  .n_opts = sizeof opts / sizeof *opts,
                                  .run = run};
