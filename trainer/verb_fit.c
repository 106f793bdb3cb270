#include "trainer/verb.h"

#include "base/clock.h"
#include "trainer/fit.h"
#include "trainer/processes.h"

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "out", .type = OPT_STR, .help = "directory of the model; made when missing"},
    {.name = "overwrite", .type = OPT_BOOL, .def = "false", .help = "replace what --out holds"},
    {.name = "resume",
     .type = OPT_BOOL,
     .def = "false",
     .help = "go on from the checkpoint in --out; from the start when there is none"},
#include "trainer/fit_options.inc"
};

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *arch, *data, *out;
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "arch", &arch, err) != 0 ||
        verb_need(o, "data", &data, err) != 0 || verb_need(o, "out", &out, err) != 0)
        return -1;
    enum outdir_mode mode;
    if (outdir_mode(o, &mode, err) != 0)
        return -1;
    struct fit f = {.o = o, .console = stdout, .start_ns = clock_ns(), .can_resume = true};
    if (outdir_check(out, mode, err) != 0 ||
        corpus_read(data, true, fit_rules(o), f.console, &f.corpus, err) != 0)
        return -1;
    (void)processes_greatest(0); /* all have looked before one writes */
    int rc = fit_run(&f, out, mode, err);
    corpus_done(&f.corpus);
    return rc;
}

const struct verb verb_fit = {.name = "fit",
                              .help = "make a model from labelled titles",
                              .words = "",
                              .opts = opts,
                              .n_opts = sizeof opts / sizeof *opts,
                              .prepare = fit_preset,
                              .run = run};
