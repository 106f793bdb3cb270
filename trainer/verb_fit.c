#include "trainer/verb.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "models/model.h"
#include "trainer/evaluate.h"
#include "trainer/fit.h"
#include "trainer/progress.h"
#include "trainer/report.h"
#include "trainer/stop.h"

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "arch",
     .type = OPT_CHOICE,
     .choices = "textcnn|linear",
     .help = "family of the model"},
    {.name = "data",
     .type = OPT_STR,
     .help = "directory with class.txt, train, dev and perhaps test (.txt, .tsv or .csv)"},
    {.name = "out", .type = OPT_STR, .help = "directory of the model; made when missing"},
    {.name = "overwrite", .type = OPT_BOOL, .def = "false", .help = "replace what --out holds"},
    {.name = "resume",
     .type = OPT_BOOL,
     .def = "false",
     .help = "go on from the checkpoint in --out; from the start when there is none"},
    {.name = "model-name", .type = OPT_STR, .help = "name in config.json; the family when not set"},
    {.name = "log",
     .type = OPT_STR,
     .help = "write JSON lines without clock times here: same seed, same bytes"},
    {.name = "seed",
     .type = OPT_INT,
     .def = "1",
     .min = 0,
     .max = 2147483647,
     .help = "of initial weights, order of titles and dropout"},
    {.name = "threads",
     .type = OPT_INT,
     .def = "0",
     .min = 0,
     .max = 1024,
     .help = "threads, 0: as many as the processors allowed; the result does not depend on it"},
    {.name = "skip-bad",
     .type = OPT_INT,
     .def = "0",
     .min = 0,
     .max = 1e9,
     .help = "leave out at most this many bad lines of each file"},
    {.name = "max-length",
     .type = OPT_INT,
     .def = "64",
     .min = 4,
     .max = 1024,
     .help = "characters of a title that are read"},
    {.name = "min-count",
     .type = OPT_INT,
     .def = "1",
     .min = 1,
     .max = 1e9,
     .help = "a character seen less often in training is [UNK]"},
    /* textcnn */
    {.name = "epochs",
     .type = OPT_INT,
     .def = "6",
     .min = 1,
     .max = 10000,
     .help = "textcnn: at most this many passes over the training titles"},
    {.name = "batch",
     .type = OPT_INT,
     .def = "128",
     .min = 1,
     .max = 65536,
     .help = "textcnn: titles in one step"},
    {.name = "lr",
     .type = OPT_REAL,
     .def = "0.001",
     .min = 1e-9,
     .max = 10,
     .help = "textcnn: greatest learning rate"},
    {.name = "schedule",
     .type = OPT_CHOICE,
     .def = "cosine",
     .choices = "constant|linear|cosine",
     .help = "textcnn: how the learning rate falls to 0 over the epochs"},
    {.name = "warmup",
     .type = OPT_INT,
     .def = "100",
     .min = 0,
     .max = 1e9,
     .help = "textcnn: iterations of linear rise to --lr"},
    {.name = "weight-decay",
     .type = OPT_REAL,
     .def = "0.01",
     .min = 0,
     .max = 10,
     .help = "textcnn: AdamW's decoupled decay of matrices"},
    {.name = "label-smoothing",
     .type = OPT_REAL,
     .def = "0",
     .min = 0,
     .max = 0.9,
     .help = "textcnn: part of the target spread over all classes"},
    {.name = "dropout",
     .type = OPT_REAL,
     .def = "0.5",
     .min = 0,
     .max = 0.95,
     .help = "textcnn: of the pooled features"},
    {.name = "char-dropout",
     .type = OPT_REAL,
     .def = "0.1",
     .min = 0,
     .max = 0.9,
     .help = "textcnn: part of the characters read as [UNK] in training"},
    {.name = "embedding-std",
     .type = OPT_REAL,
     .def = "0.1",
     .min = 1e-6,
     .max = 10,
     .help = "textcnn: standard deviation of the initial embedding"},
    {.name = "ema",
     .type = OPT_REAL,
     .def = "0.999",
     .min = 0,
     .max = 0.99999,
     .help = "textcnn: decay of the moving average of weights that is evaluated and kept; 0: off"},
    {.name = "eval-every",
     .type = OPT_INT,
     .def = "200",
     .min = 1,
     .max = 1e9,
     .help = "textcnn: iterations between evaluations on dev"},
    {.name = "patience",
     .type = OPT_INT,
     .def = "1000",
     .min = 0,
     .max = 1e9,
     .help = "textcnn: stop after so many iterations without a better dev loss; 0: never"},
    {.name = "keep",
     .type = OPT_CHOICE,
     .def = "loss",
     .choices = "loss|accuracy",
     .help = "textcnn: what makes weights the best on dev"},
    {.name = "checkpoint-every",
     .type = OPT_INT,
     .def = "0",
     .min = 0,
     .max = 1e9,
     .help = "textcnn: iterations between checkpoints besides those at evaluations; 0: none"},
    {.name = "dtype",
     .type = OPT_CHOICE,
     .def = "f32",
     .choices = "f32|f16",
     .help = "textcnn: numbers in model.safetensors"},
    /* linear */
    {.name = "c",
     .type = OPT_REAL,
     .def = "1",
     .min = 1e-9,
     .max = 1e9,
     .help = "linear: weight of the loss against the regularisation"},
    {.name = "min-df",
     .type = OPT_INT,
     .def = "2",
     .min = 1,
     .max = 1e9,
     .help = "linear: an n-gram in fewer titles is left out"},
    {.name = "tolerance",
     .type = OPT_REAL,
     .def = "0.01",
     .min = 1e-9,
     .max = 1,
     .help = "linear: where the solver stops"},
};

const char *fit_model_name(const struct fit *f)
{
    const char *name = options_str(f->o, "model-name");
    return name ? name : options_str(f->o, "arch");
}

int fit_write_log(const struct fit *f, const struct buf *text, struct err *err)
{
    const char *path = options_str(f->o, "log");
    return path ? file_replace(path, text->data, text->len, err) : 0;
}

static void report_on(const struct model *m, const struct dataset *d, const char *name,
                      struct pool *pool, FILE *out)
{
    struct report r;
    report_init(&r, model_info(m)->n_labels);
    evaluate_model(m, d, pool, &r);
    (void)fprintf(out, "\n%s\n", name);
    report_print(&r, model_info(m)->labels, out);
    report_done(&r);
}

/* A model found in --out is one that this command would have made. */
static int same_kind(const struct fit *f, const struct model_info *info, struct err *err)
{
    const struct classes *c = &f->corpus.classes;
    if (strcmp(info->family, options_str(f->o, "arch")) != 0)
        return err_set(err, ERR_CONFLICT, "%s holds a %s model: --overwrite replaces it",
                       f->out.path, info->family);
    bool same = info->n_labels == c->n;
    for (int32_t i = 0; same && i < c->n; i++)
        same = strcmp(info->labels[i], c->names[i]) == 0;
    return same
               ? 0
               : err_set(err, ERR_CONFLICT,
                         "%s holds a model of other classes: --overwrite replaces it", f->out.path);
}

/* Opens what was written, as a worker would, and measures that. */
static int final_reports(const struct fit *f, struct err *err)
{
    struct model *m;
    if (model_open(f->out.path, PRECISION_AUTO, &m, err) != 0)
        return -1;
    if (same_kind(f, model_info(m), err) != 0) {
        model_close(m);
        return -1;
    }
    report_on(m, &f->corpus.dev, "dev", f->pool, f->console);
    if (f->corpus.test.n)
        report_on(m, &f->corpus.test, "test", f->pool, f->console);
    char s[24];
    (void)fprintf(f->console, "\nmodel in %s, version %s\ntime used %s\n", f->out.path,
                  model_info(m)->version,
                  progress_duration((clock_ns() - f->start_ns) / 1000000000, s));
    model_close(m);
    return 0;
}

static bool is_textcnn(const struct fit *f)
{
    return strcmp(options_str(f->o, "arch"), "textcnn") == 0;
}

/* --resume where a finished model lies and no checkpoint: there is nothing left to do. */
static bool finished(const struct fit *f)
{
    return options_bool(f->o, "resume") && f->out.has_model && !f->out.has_checkpoint;
}

static int train(struct fit *f, struct err *err)
{
    if (finished(f)) {
        (void)fprintf(f->console, "%s holds a finished model: nothing to resume\n", f->out.path);
        return final_reports(f, err);
    }
    int rc = is_textcnn(f) ? fit_textcnn(f, err) : fit_linear(f, err);
    stop_release();
    if (rc == 0)
        rc = final_reports(f, err);
    return rc;
}

static int with_corpus(struct fit *f, enum outdir_mode mode, struct err *err)
{
    int32_t max_tokens = (int32_t)options_int(f->o, "max-length");
    f->vocab = corpus_vocab(&f->corpus.train, options_int(f->o, "min-count"));
    int rc = packed_make(&f->train, &f->corpus.train, f->vocab, max_tokens, err);
    if (rc == 0)
        rc = packed_make(&f->dev, &f->corpus.dev, f->vocab, max_tokens, err);
    if (rc == 0)
        rc = outdir_open(&f->out, options_str(f->o, "out"), mode, err);
    if (rc == 0) {
        if (is_textcnn(f))
            stop_catch(); /* before there are threads */
        f->pool = pool_open((int)options_int(f->o, "threads"));
        (void)fprintf(f->console, "%-12s %d characters, %d classes, %d threads\n", "vocabulary",
                      (int)vocab_size(f->vocab), (int)f->corpus.classes.n, pool_threads(f->pool));
        rc = train(f, err);
        pool_close(f->pool);
        stop_release();
        outdir_close(&f->out);
    }
    packed_done(&f->train);
    packed_done(&f->dev);
    vocab_close(f->vocab);
    return rc;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *arch, *data, *out;
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "arch", &arch, err) != 0 ||
        verb_need(o, "data", &data, err) != 0 || verb_need(o, "out", &out, err) != 0)
        return -1;
    bool resume = options_bool(o, "resume"), overwrite = options_bool(o, "overwrite");
    if (resume && overwrite)
        return err_set(err, ERR_USAGE, "--resume and --overwrite exclude each other");
    enum outdir_mode mode = resume ? OUTDIR_RESUME : overwrite ? OUTDIR_OVERWRITE : OUTDIR_NEW;
    struct fit f = {.o = o, .console = stdout, .start_ns = clock_ns()};
    if (outdir_check(out, mode, err) != 0 ||
        corpus_read(data, true, options_int(o, "skip-bad"), f.console, &f.corpus, err) != 0)
        return -1;
    int rc = with_corpus(&f, mode, err);
    corpus_done(&f.corpus);
    return rc;
}

const struct verb verb_fit = {.name = "fit",
                              .help = "make a model from labelled titles",
                              .words = "",
                              .opts = opts,
                              .n_opts = sizeof opts / sizeof *opts,
                              .run = run};
