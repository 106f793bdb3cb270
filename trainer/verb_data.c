#include "trainer/verb.h"

#include <string.h>

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
};

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *dir;
    struct corpus c;
    if (n != 1 || strcmp(words[0], "stats") != 0)
        return err_set(err, ERR_USAGE, "the word \"stats\" is expected");
    if (verb_need(o, "data", &dir, err) != 0 ||
        corpus_read(dir, false, options_int(o, "skip-bad"), stdout, &c, err) != 0)
        return -1;
    (void)putchar('\n');
    int rc = stats_print(stdout, &c.classes, &c.train, c.dev.n ? &c.dev : NULL,
                         c.test.n ? &c.test : NULL);
    corpus_done(&c);
    return rc == 0 ? 0 : err_set(err, ERR_IO, "standard output cannot be written");
}

const struct verb verb_data = {.name = "data",
                               .help =
                                   "look at labelled titles: classes, lengths, duplicates, overlap",
                               .words = "stats",
                               .opts = opts,
                               .n_opts = sizeof opts / sizeof *opts,
                               .run = run};
