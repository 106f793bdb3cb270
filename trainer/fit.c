#include "trainer/fit.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "models/model.h"
#include "trainer/evaluate.h"
#include "trainer/lineage.h"
#include "trainer/processes.h"
#include "trainer/progress.h"
#include "trainer/stop.h"

const char *fit_model_name(const struct fit *f)
{
    const char *name = options_str(f->o, "model-name");
    return name ? name : options_str(f->o, "arch");
}

struct corpus_rules fit_rules(const struct options *o)
{
    return (struct corpus_rules){
        options_int(o, "skip-bad"),
        (!options_known(o, "arch") || strcmp(options_str(o, "arch"), "fasttext") == 0) &&
            strcmp(options_str(o, "words"), "spaces") == 0};
}

enum dtype fit_dtype(const struct options *o)
{
    const char *name = options_str(o, "dtype");
    return strcmp(name, "f16") == 0 ? DT_F16 : strcmp(name, "bf16") == 0 ? DT_BF16 : DT_F32;
}

int fit_write_log(const struct fit *f, const struct buf *text, struct err *err)
{
    const char *path = options_str(f->o, "log-json");
    return path && processes_rank() == 0 ? file_replace(path, text->data, text->len, err) : 0;
}

static double report_on(const struct model *m, const struct dataset *d, const char *name,
                        struct pool *pool, FILE *out)
{
    struct report r;
    report_init(&r, model_info(m)->n_labels);
    evaluate_model(m, d, pool, &r);
    (void)fprintf(out, "\n%s\n", name);
    report_print(&r, model_info(m)->labels, out);
    double accuracy = report_accuracy(&r);
    report_done(&r);
    return accuracy;
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

static bool is_arch(const struct fit *f, const char *arch)
{
    return strcmp(options_str(f->o, "arch"), arch) == 0;
}

/* Opens what was written, as a worker would, and measures that. made: just now, by these options. */
static int final_reports(const struct fit *f, bool made, struct err *err)
{
    struct model *m;
    if (model_open(f->out.path, PRECISION_AUTO, &m, err) != 0)
        return -1;
    if (same_kind(f, model_info(m), err) != 0) {
        model_close(m);
        return -1;
    }
    double dev = report_on(m, &f->corpus.dev, "dev", f->pool, f->console);
    if (is_arch(f,
                "fasttext")) /* as its users know it; one label a title, so both are the accuracy */
        (void)fprintf(f->console, "\nN\t%zu\nP@1\t%.3f\nR@1\t%.3f\n", f->corpus.dev.n, dev, dev);
    if (f->corpus.test.n)
        (void)report_on(m, &f->corpus.test, "test", f->pool, f->console);
    char s[24];
    (void)fprintf(f->console, "\nmodel in %s, version %s\ntime used %s\n", f->out.path,
                  model_info(m)->version,
                  progress_duration((clock_ns() - f->start_ns) / 1000000000, s));
    model_close(m);
    return made ? lineage_write(f->out.path, f, dev, err) : 0;
}

static bool in_steps(const struct fit *f)
{
    return !is_arch(f, "linear") && !is_arch(f, "forest") && !is_arch(f, "fasttext");
}

/* --resume where a finished model lies and no checkpoint: there is nothing left to do. */
static bool finished(const struct fit *f)
{
    return f->resume && f->out.has_model && !f->out.has_checkpoint;
}

static int train(struct fit *f, struct err *err)
{
    bool nothing = finished(f);
    processes_share(&nothing, sizeof nothing); /* the first process knows */
    if (nothing && processes_rank() > 0)
        return 0;
    if (nothing) {
        (void)fprintf(f->console, "%s holds a finished model: nothing to resume\n", f->out.path);
        return final_reports(f, false, err);
    }
    int rc = is_arch(f, "linear")     ? fit_linear(f, err)
             : is_arch(f, "forest")   ? fit_forest(f, err)
             : is_arch(f, "fasttext") ? fit_fasttext(f, err)
             : is_arch(f, "textcnn")  ? fit_textcnn(f, err)
                                      : fit_transformer(f, err);
    if (in_steps(f))
        stop_release();
    if (rc != 0 || processes_rank() > 0) /* the first wrote the model */
        return rc;
    /* The checkpoint goes last: a job that is killed before its lineage stands is resumed, and writes it. */
    return final_reports(f, true, err) == 0 ? outdir_complete(&f->out, err) : -1;
}

/* The titles as ids of the characters that training has. */
static int pack_characters(struct fit *f, struct err *err)
{
    int32_t max = (int32_t)options_int(f->o, "max-length");
    if (corpus_vocab(&f->corpus.train, options_int(f->o, "min-count"), &f->vocab, err) != 0)
        return -1;
    int rc = packed_make(&f->train, &f->corpus.train, packed_by_vocab, f->vocab, 1, max, err);
    return rc == 0 ? packed_make(&f->dev, &f->corpus.dev, packed_by_vocab, f->vocab, 1, max, err)
                   : rc;
}

/* All processes train; the first writes.  The others have directories of their own within --out, which
 * nobody reads and which are gone in the end. */
static int run_here(struct fit *f, const char *out, enum outdir_mode mode, struct err *err);
int fit_run(struct fit *f, const char *out, enum outdir_mode mode, struct err *err)
{
    f->resume = mode == OUTDIR_RESUME;
    if (processes_count() > 1 && !fit_is_transformer(options_str(f->o, "arch")))
        return err_set(err, ERR_USAGE, "--arch %s is trained in one process",
                       options_str(f->o, "arch"));
    if (processes_rank() == 0)
        return run_here(f, out, mode, err);
    if (processes_greatest(0)) /* --out is the first one's now, or somebody else's */
        return err_set(err, ERR_CONFLICT, "the first process does not begin");
    char *own = file_path("%s/.process-%d", out, processes_rank());
    (void)file_remove_dir(own, NULL); /* what a process that was killed left */
    int rc = run_here(f, own, OUTDIR_OVERWRITE, err);
    (void)file_remove_dir(own, NULL);
    free(own);
    return rc;
}

static int run_here(struct fit *f, const char *out, enum outdir_mode mode, struct err *err)
{
    bool characters = is_arch(f, "textcnn") || is_arch(f, "linear") || is_arch(f, "forest");
    int rc = characters ? pack_characters(f, err) : 0;
    if (rc == 0)
        rc = outdir_open(&f->out, out, mode, err);
    if (processes_rank() == 0)
        (void)processes_greatest(rc != 0);
    if (rc == 0) {
        if (in_steps(f))
            stop_catch(); /* before there are threads */
        f->pool = pool_open((int)options_int(f->o, "threads"));
        if (f->vocab)
            (void)fprintf(f->console, "%-12s %d characters, %d classes, %d threads\n", "vocabulary",
                          (int)vocab_size(f->vocab), (int)f->corpus.classes.n,
                          pool_threads(f->pool));
        rc = train(f, err);
        pool_close(f->pool);
        outdir_close(&f->out);
    }
    packed_done(&f->train);
    packed_done(&f->dev);
    vocab_close(f->vocab);
    return rc;
}
