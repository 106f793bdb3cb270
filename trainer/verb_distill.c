#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "trainer/fit.h"
#include "trainer/teacher.h"
#include "trainer/text.h"
#include "trainer/verb.h"

enum { LONGEST_LINE = 1024 /* characters of unlabelled text that are one title */ };

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "out", .type = OPT_STR, .help = "directory of the student; made when missing"},
    {.name = "overwrite", .type = OPT_BOOL, .def = "false", .help = "replace what --out holds"},
    {.name = "resume",
     .type = OPT_BOOL,
     .def = "false",
     .help = "go on from the checkpoint in --out; from the start when there is none"},
    {.name = "teacher",
     .type = OPT_STR,
     .help = "directories of models with commas between, each perhaps with =WEIGHT behind it"},
    {.name = "temperature",
     .type = OPT_REAL,
     .def = "2",
     .min = 0.1,
     .max = 100,
     .help = "of the teacher's and the student's probabilities in the soft loss"},
    {.name = "soft",
     .type = OPT_REAL,
     .def = "0.9",
     .min = 0,
     .max = 1,
     .help = "part of the soft loss; the rest is that of the labels"},
    {.name = "unlabeled",
     .type = OPT_STR,
     .help = "file of titles, one a line, that the teacher labels"},
    {.name = "teacher-cache",
     .type = OPT_STR,
     .help = "directory of the teacher's scores; OUT/.teacher when not set"},
#include "trainer/fit_options.inc"
};

static int prepare(struct options *o, struct err *err)
{
    if (!options_str(o, "arch") &&
        options_set_default(o, "arch", "textcnn", "the usual student", err) != 0)
        return -1;
    return fit_preset(o, err);
}

/* Titles without labels behind those with. */
static int add_unlabeled(const char *path, struct fit *f, char digest[SHA256_HEX], struct err *err)
{
    struct dataset more, *d = &f->corpus.train;
    if (text_read(&path, 1, LONGEST_LINE, options_int(f->o, "skip-bad"), f->console, &more, digest,
                  err) != 0)
        return -1;
    size_t bytes = d->offset[d->n], n = d->n + more.n;
    d->text = xrealloc(d->text, bytes + more.offset[more.n] + 1);
    d->offset = xrealloc(d->offset, (n + 1) * sizeof *d->offset);
    d->labels = xrealloc(d->labels, n * sizeof *d->labels);
    memcpy(d->text + bytes, more.text, more.offset[more.n]);
    for (size_t i = 0; i < more.n; i++) {
        d->labels[d->n + i] = -1;
        d->offset[d->n + i + 1] = bytes + more.offset[i + 1];
    }
    d->n = n;
    dataset_done(&more);
    return 0;
}

static int distill(struct fit *f, const char *out, enum outdir_mode mode, struct err *err)
{
    struct teacher t;
    const char *unlabeled = options_str(f->o, "unlabeled"),
               *given = options_str(f->o, "teacher-cache");
    char digest[SHA256_HEX], *cache = given ? xstrdup(given) : file_path("%s/.teacher", out);
    int rc = unlabeled ? add_unlabeled(unlabeled, f, digest, err) : 0;
    if (rc == 0)
        rc = teacher_open(&t, options_str(f->o, "teacher"), &f->corpus.train, &f->corpus.classes,
                          (float)options_real(f->o, "temperature"),
                          (float)options_real(f->o, "soft"), cache,
                          (int)options_int(f->o, "threads"), f->console, err);
    if (rc == 0) {
        f->teacher = &t;
        rc = fit_run(f, out, mode, err);
        teacher_close(&t);
    }
    free(cache);
    return rc;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *arch, *data, *out, *teacher;
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "teacher", &teacher, err) != 0 ||
        verb_need(o, "arch", &arch, err) != 0 || verb_need(o, "data", &data, err) != 0 ||
        verb_need(o, "out", &out, err) != 0)
        return -1;
    if (strcmp(arch, "forest") == 0)
        return err_set(err, ERR_USAGE, "--arch forest learns from labels alone");
    enum outdir_mode mode;
    if (outdir_mode(o, &mode, err) != 0)
        return -1;
    struct fit f = {.o = o, .console = stdout, .start_ns = clock_ns(), .can_resume = true};
    if (outdir_check(out, mode, err) != 0 ||
        corpus_read(data, true, fit_rules(o), f.console, &f.corpus, err) != 0)
        return -1;
    int rc = distill(&f, out, mode, err);
    corpus_done(&f.corpus);
    return rc;
}

const struct verb verb_distill = {.name = "distill",
                                  .help = "make a small model of what larger ones say",
                                  .words = "",
                                  .opts = opts,
                                  .n_opts = sizeof opts / sizeof *opts,
                                  .prepare = prepare,
                                  .run = run};
