#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "models/transformer_save.h"
#include "trainer/encoder_source.h"
#include "trainer/fit_loop.h"
#include "trainer/pretrain_step.h"
#include "trainer/progress.h"
#include "trainer/stop.h"
#include "trainer/text.h"
#include "trainer/verb.h"

/* What a sequence has besides its words: [CLS] and [SEP]. */
enum { AROUND = 2, LEAST_LENGTH = 8 };

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "out", .type = OPT_STR, .help = "directory of the encoder; made when missing"},
    {.name = "overwrite", .type = OPT_BOOL, .def = "false", .help = "replace what --out holds"},
    {.name = "resume",
     .type = OPT_BOOL,
     .def = "false",
     .help = "go on from the checkpoint in --out; from the start when there is none"},
    {.name = "text",
     .type = OPT_STR,
     .help = "file of text, a title or paragraph a line (of lines with tabs the first field); more "
             "files may follow"},
    {.name = "arch",
     .type = OPT_CHOICE,
     .def = "bert",
     .choices = "bert|ernie|nezha|albert",
     .help = "family of the encoder"},
    {.name = "mask",
     .type = OPT_REAL,
     .def = "0.15",
     .min = 0.01,
     .max = 0.5,
     .help = "share of the words of a sequence that are asked"},
    {.name = "held-out",
     .type = OPT_INT,
     .def = "2000",
     .min = 1,
     .max = 1000000,
     .help = "sequences that are judged, not trained on; a tenth of all at most"},
#define FIT_OPTION(name_, family, role, ...) {.name = name_, __VA_ARGS__},
#include "trainer/step_options.inc"
#undef FIT_OPTION
};

/* A rate and batch that two cores finish; weights that were learnt already are not torn away. */
static int prepare(struct options *o, struct err *err)
{
    bool further = options_given(o, "from") && strcmp(options_str(o, "init"), "random") != 0;
    const char *const defaults[][2] = {
        {"epochs", "10"},      {"batch", "64"},          {"lr", further ? "1e-4" : "5e-4"},
        {"ema", "0"},          {"patience", "0"},        {"schedule", "linear"},
        {"eval-every", "500"}, {"model-name", "encoder"}};
    int rc = encoder_source_prepare(o, err);
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults && rc == 0; i++)
        rc = options_set_default(o, defaults[i][0], defaults[i][1], "usual for masked words", err);
    return rc;
}

struct run {
    struct pretrain_step s;
    const struct encoder_source *from;
    const struct fit *f;
};

static int step(void *self, struct err *err)
{
    return pretrain_step(&((struct run *)self)->s, err);
}

static int check(const void *self, struct err *err)
{
    return optimizer_check(&((const struct run *)self)->s.opt, err);
}

static const float *weights(const void *self)
{
    return optimizer_weights(&((const struct run *)self)->s.opt);
}

static double rate(const void *self)
{
    return (double)optimizer_rate(&((const struct run *)self)->s.opt);
}

static void judge(void *self, double *loss, double *accuracy)
{
    pretrain_step_judge(&((struct run *)self)->s, loss, accuracy);
}

static int save(const void *self, const char *dir, const float *w, struct err *err)
{
    const struct run *r = self;
    return transformer_save(dir, r->from->dir, r->from->config, fit_model_name(r->f), r->from->t, w,
                            NULL, fit_dtype(r->f->o), err);
}

static int train(struct fit *f, struct encoder_source *src, const struct masking *masking,
                 struct err *err)
{
    struct dropout_rates drop;
    struct run r = {.from = src, .f = f};
    size_t n = (size_t)f->train.batch.n, held = (size_t)options_int(f->o, "held-out");
    if (dropout_rates_read(src->config, &src->t->cfg, &drop, err) != 0)
        return -1;
    optimizer_set_dropout(f->o, &drop);
    held = held < n / 10 ? held : n / 10;
    if (held == 0)
        return err_set(err, ERR_FORMAT, "%zu sequences are too few to hold some out: 10 at least",
                       n);
    size_t known = 0;
    for (size_t i = 0; i < n; i++)
        known += masking_knows(masking, f->train.ids + f->train.start[i],
                               f->train.start[i + 1] - f->train.start[i]);
    if (known < n - n / 10)
        return err_set(
            err, ERR_FORMAT,
            "%zu of %zu sequences have no word that %s's vocabulary knows (--min-count, or "
            "another --from)",
            n - known, n, src->dir);
    pretrain_step_open(&r.s, f->o, src->t, src->w, &drop, &f->train, held, masking, f->pool);
    src->w = NULL; /* the step's now */
    (void)fprintf(f->console, "%-12s %s, %zu sequences of %.1f ids, %zu held out, %d threads\n",
                  "training", optimizer_precision_told(f->o), n,
                  (double)f->train.start[n] / (double)n, held, pool_threads(f->pool));
    char *settings = file_path("from = %s\nmask = %s\nheld-out = %s\n", src->digest,
                               options_str(f->o, "mask"), options_str(f->o, "held-out"));
    struct trainee t = {.self = &r,
                        .c = &r.s.opt.c,
                        .steps = r.s.opt.steps,
                        .total = r.s.opt.total,
                        .settings = settings,
                        .step = step,
                        .check = check,
                        .judge = judge,
                        .weights = weights,
                        .rate = rate,
                        .save = save};
    int rc = fit_loop(f, &t, err);
    if (rc == 0)
        rc = outdir_complete(&f->out, err);
    pretrain_step_close(&r.s);
    free(settings);
    return rc;
}

static int run_in(struct fit *f, struct err *err)
{
    struct encoder_source src = {0};
    struct masking masking = {0};
    int32_t max = (int32_t)options_int(f->o, "max-length");
    int rc = encoder_source_open(&src, f->o, f->out.path, &f->corpus.train, NULL, f->console, err);
    if (rc == 0)
        rc = masking_open(&masking, src.tokenizer, src.dir, options_real(f->o, "mask"), err);
    if (rc == 0)
        rc = packed_make(&f->train, &f->corpus.train, packed_by_tokenizer, src.tokenizer, max, max,
                         err);
    if (rc == 0)
        rc = train(f, &src, &masking, err);
    masking_close(&masking);
    encoder_source_close(&src);
    packed_done(&f->train);
    return rc;
}

/* --resume where a finished encoder lies and no checkpoint: there is nothing left to do. */
static bool finished(const struct fit *f)
{
    return f->resume && f->out.has_model && !f->out.has_checkpoint;
}

static int run_here(struct fit *f, const char *out, enum outdir_mode mode, struct err *err)
{
    char s[24];
    if (outdir_open(&f->out, out, mode, err) != 0)
        return -1;
    if (finished(f)) {
        (void)fprintf(f->console, "%s holds a finished encoder: nothing to resume\n", out);
        outdir_close(&f->out);
        return 0;
    }
    stop_catch(); /* before there are threads */
    f->pool = pool_open((int)options_int(f->o, "threads"));
    int rc = run_in(f, err);
    stop_release();
    if (rc == 0)
        (void)fprintf(f->console, "\nencoder in %s; fit --from it\ntime used %s\n", out,
                      progress_duration((clock_ns() - f->start_ns) / 1000000000, s));
    pool_close(f->pool);
    outdir_close(&f->out);
    return rc;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *text, *out;
    if (verb_need(o, "text", &text, err) != 0 || verb_need(o, "out", &out, err) != 0)
        return -1;
    enum outdir_mode mode;
    if (outdir_mode(o, &mode, err) != 0)
        return -1;
    if (options_int(o, "max-length") < LEAST_LENGTH)
        return err_set(err, ERR_USAGE, "--max-length is %ld, expected %d at least",
                       options_int(o, "max-length"), LEAST_LENGTH);
    struct fit f = {.o = o,
                    .console = stdout,
                    .start_ns = clock_ns(),
                    .can_resume = true,
                    .resume = mode == OUTDIR_RESUME};
    const char **paths = xmalloc(((size_t)n + 1) * sizeof *paths);
    paths[0] = text;
    for (int i = 0; i < n; i++)
        paths[i + 1] = words[i];
    int rc = outdir_check(out, mode, err);
    if (rc == 0)
        rc =
            text_read(paths, n + 1, (int32_t)options_int(o, "max-length") - AROUND,
                      options_int(o, "skip-bad"), f.console, &f.corpus.train, f.corpus.digest, err);
    if (rc == 0)
        rc = run_here(&f, out, mode, err);
    corpus_done(&f.corpus);
    free(paths);
    return rc;
}

const struct verb verb_pretrain = {.name = "pretrain",
                                   .help = "make or better an encoder from text without labels",
                                   .words = "[FILE …]",
                                   .opts = opts,
                                   .n_opts = sizeof opts / sizeof *opts,
                                   .prepare = prepare,
                                   .run = run};
