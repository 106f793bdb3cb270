#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "trainer/fasttext_tune.h"
#include "trainer/fit.h"
#include "trainer/fit_fasttext.h"
#include "trainer/stop.h"
#include "trainer/verb.h"

#define STREAM_HELD_OUT 0x68656c64ULL
enum { HELD_OUT = 10000 /* titles of train that trials are judged on; a tenth at most */ };

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "out", .type = OPT_STR, .help = "directory of the model; made when missing"},
    {.name = "overwrite", .type = OPT_BOOL, .def = "false", .help = "replace what --out holds"},
    {.name = "seconds",
     .type = OPT_INT,
     .def = "300",
     .min = 1,
     .max = 1e7,
     .help = "time of the search; the last training, on all titles, comes on top"},
#include "trainer/fit_options.inc"
};
enum { N_OPTS = sizeof opts / sizeof *opts };

static int prepare(struct options *o, struct err *err)
{
    return options_set_default(o, "arch", "fasttext", "all that it tunes", err) != 0
               ? -1
               : fit_preset(o, err);
}

/* Every title of d whose place in the shuffled order is within from .. to. */
static void part_of(const struct dataset *d, const uint32_t *order, size_t from, size_t to,
                    struct dataset *out)
{
    size_t at = 0;
    *out = (struct dataset){.n = to - from};
    out->text = xmalloc(d->offset[d->n] + 1);
    out->offset = xcalloc(out->n + 1, sizeof *out->offset);
    out->labels = xcalloc(out->n + 1, sizeof *out->labels);
    for (size_t i = 0; i < out->n; i++) {
        uint32_t k = order[from + i];
        size_t n = d->offset[k + 1] - d->offset[k];
        memcpy(out->text + at, d->text + d->offset[k], n);
        out->labels[i] = d->labels[k];
        out->offset[i + 1] = at += n;
    }
}

static bool asked_to_stop(void)
{
    return stop_signal() != 0;
}

static int search(const struct options *o, const struct corpus *c, struct fasttext_choice *best,
                  struct err *err)
{
    struct words *words;
    enum words_how how;
    struct dataset train, held;
    double accuracy;
    size_t n = c->train.n, n_held = n / 10 < HELD_OUT ? n / 10 : HELD_OUT;
    if (n_held == 0)
        return err_set(err, ERR_FORMAT, "%zu titles are too few to hold some out: 10 at least", n);
    if (words_parse(options_str(o, "words"), &how, err) != 0 ||
        words_open(how, options_str(o, "dictionary"), options_str(o, "stop-words"), &words, err) !=
            0)
        return -1;
    uint32_t *order = xmalloc(n * sizeof *order);
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    rng_shuffle(order, n, (uint64_t)options_int(o, "seed"), STREAM_HELD_OUT);
    part_of(&c->train, order, 0, n_held, &held);
    part_of(&c->train, order, n_held, n, &train);
    stop_catch(); /* before there are threads */
    struct fasttext_search s = {
        .train = &train,
        .held = &held,
        .classes = &c->classes,
        .words = words,
        .fixed = {.dim = options_given(o, "dim"),
                  .epoch = options_given(o, "epochs"),
                  .word_ngrams = options_given(o, "word-ngrams"),
                  .subwords = options_given(o, "minn") || options_given(o, "maxn"),
                  .bucket = options_given(o, "bucket"),
                  .lr = options_given(o, "lr")},
        .seconds = (double)options_int(o, "seconds"),
        .seed = (uint64_t)options_int(o, "seed"),
        .pool = pool_open((int)options_int(o, "threads")),
        .console = stdout,
        .stop = asked_to_stop};
    *best = (struct fasttext_choice){fit_fasttext_args(o), options_real(o, "lr")};
    best->args.bucket = (int32_t)options_int(o, "bucket"); /* a trial may have n-grams yet */
    int rc = fasttext_tune(&s, best, &accuracy, err);
    int signal_number = stop_signal();
    stop_release();
    if (rc == 0)
        (void)printf("best on %zu titles held out: %.2f %%\n", n_held, 100 * accuracy);
    pool_close(s.pool);
    dataset_done(&train);
    dataset_done(&held);
    words_close(words);
    free(order);
    return signal_number ? 128 + signal_number : rc;
}

/* The same options, and what was found. */
static int choose(struct options *chosen, const struct options *o,
                  const struct fasttext_choice *best, struct err *err)
{
    int rc = 0;
    for (int i = 0; i < N_OPTS && rc == 0; i++)
        if (options_given(o, opts[i].name))
            rc = options_set(chosen, opts[i].name, options_str(o, opts[i].name), "as given", err);
    const struct {
        const char *name;
        double value;
    } found[] = {{"epochs", best->args.epoch}, {"lr", best->lr},
                 {"dim", best->args.dim},      {"word-ngrams", best->args.word_ngrams},
                 {"minn", best->args.minn},    {"maxn", best->args.maxn},
                 {"bucket", best->args.bucket}};
    if (rc == 0)
        rc = options_set(chosen, "arch", "fasttext", "tune", err);
    for (size_t i = 0; i < sizeof found / sizeof *found && rc == 0; i++) {
        char *text = file_path("%.9g", found[i].value);
        (void)printf("  --%s %s%s\n", found[i].name, text,
                     options_given(o, found[i].name) ? "  (as given)" : "");
        rc = options_set(chosen, found[i].name, text, "tune", err);
        free(text);
    }
    return rc;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *data, *out;
    struct fasttext_choice best;
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "data", &data, err) != 0 ||
        verb_need(o, "out", &out, err) != 0)
        return -1;
    if (strcmp(options_str(o, "arch"), "fasttext") != 0)
        return err_set(err, ERR_USAGE, "--arch %s is not tuned; fasttext is",
                       options_str(o, "arch"));
    enum outdir_mode mode = options_bool(o, "overwrite") ? OUTDIR_OVERWRITE : OUTDIR_NEW;
    struct options *chosen = options_open(opts, N_OPTS, NULL);
    struct fit f = {.o = chosen, .console = stdout, .start_ns = clock_ns()};
    int rc = outdir_check(out, mode, err);
    if (rc == 0)
        rc = corpus_read(data, true, fit_rules(o), f.console, &f.corpus, err);
    if (rc == 0) {
        rc = search(o, &f.corpus, &best, err);
        if (rc == 0)
            rc = choose(chosen, o, &best, err);
        if (rc == 0)
            rc = fit_run(&f, out, mode, err);
        corpus_done(&f.corpus);
    }
    options_close(chosen);
    return rc;
}

const struct verb verb_tune = {.name = "tune",
                               .help =
                                   "search fastText's arguments for a time, then fit with the best",
                               .words = "",
                               .opts = opts,
                               .n_opts = N_OPTS,
                               .prepare = prepare,
                               .run = run};
