/* `fit --arch forest`: the n-gram table of the training titles, their TF-IDF rows, and trees that see a sample of them
 * each (forest_train.h). */
#include "trainer/fit.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "trainer/forest_train.h"
#include "trainer/history.h"
#include "trainer/ngram_rows.h"
#include "trainer/progress.h"

static void tree_done(void *arg, int32_t trees)
{
    progress_step(arg, trees, "");
}

static int save(struct fit *f, const struct forest *forest, const struct ngrams *g,
                double out_of_bag, struct err *err)
{
    struct buf log;
    buf_init(&log, 1 << 16);
    buf_printf(&log, "{\"arch\":\"forest\",\"seed\":%ld,\"titles\":%zu,\"features\":%lld}\n",
               options_int(f->o, "seed"), f->corpus.train.n, (long long)ngrams_count(g));
    buf_printf(&log, "{\"trees\":%d,\"questions\":%d", (int)forest->trees, (int)forest->nodes);
    if (!isnan(out_of_bag))
        buf_printf(&log, ",\"out_of_bag_accuracy\":%.9g", out_of_bag);
    buf_puts(&log, "}\n");
    int rc =
        forest_save(f->out.staging, fit_model_name(f), forest, g,
                    (int32_t)options_int(f->o, "max-length"), f->vocab, &f->corpus.classes, err);
    if (rc == 0)
        rc = history_write(f->out.staging, &log, err);
    if (rc == 0)
        rc = fit_write_log(f, &log, err);
    buf_done(&log);
    return rc == 0 ? outdir_commit(&f->out, err) : -1;
}

int fit_forest(struct fit *f, struct err *err)
{
    const struct batch *b = &f->train.batch;
    struct ngrams *g;
    if (ngrams_build(b, (int32_t)options_int(f->o, "min-df"), &g, err) != 0)
        return -1;
    struct ngram_rows rows;
    ngram_rows_make(&rows, g, b, f->pool);
    struct progress bar;
    progress_begin(&bar, f->console, "trees", 0, options_int(f->o, "trees"));
    struct forest_options opt = {.trees = (int32_t)options_int(f->o, "trees"),
                                 .max_depth = (int32_t)options_int(f->o, "max-depth"),
                                 .min_leaf = (int32_t)options_int(f->o, "min-leaf"),
                                 .max_features = (int32_t)options_int(f->o, "max-features"),
                                 .seed = (uint64_t)options_int(f->o, "seed"),
                                 .bootstrap = true,
                                 .done = tree_done,
                                 .arg = &bar};
    struct forest forest;
    double out_of_bag;
    forest_train(&rows.x, b->labels, f->corpus.classes.n, &opt, f->pool, &forest, &out_of_bag);
    progress_end(&bar, "%d trees of %lld n-grams, %d questions, out of bag %.2f %%, %.1f s",
                 (int)forest.trees, (long long)ngrams_count(g), (int)forest.nodes, 100 * out_of_bag,
                 (double)(clock_ns() - bar.start_ns) / 1e9);
    ngram_rows_done(&rows);
    int rc = save(f, &forest, g, out_of_bag, err);
    forest_done(&forest);
    ngrams_close(g);
    return rc;
}
