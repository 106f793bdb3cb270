#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "models/fasttext_arch.h"
#include "models/fasttext_quantize.h"
#include "models/quantize.h"
#include "trainer/comparison.h"
#include "trainer/history.h"
#include "trainer/lineage.h"
#include "trainer/outdir.h"
#include "trainer/verb.h"

enum { JUDGED = 1000 /* titles on which units are compared */ };

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "model",
     .type = OPT_STR,
     .help = "directory of a transformer, TextCNN or fastText, or a file of fastText's (.bin)"},
    {.name = "out", .type = OPT_STR, .help = "directory of the smaller model; made when missing"},
    {.name = "overwrite", .type = OPT_BOOL, .def = "false", .help = "replace what --out holds"},
    {.name = "keep",
     .type = OPT_STR,
     .help = "parts of names of matrices that stay as they are, with commas between"},
    {.name = "titles",
     .type = OPT_STR,
     .help =
         "labelled titles that it was not trained on (data hold-out): what stays as it is beside "
         "--keep is decided on them; nothing when not set"},
    {.name = "max-drop",
     .type = OPT_REAL,
     .def = "0.2",
     .min = 0,
     .max = 100,
     .help =
         "points of accuracy that it may lose on --titles; matrices stay until it loses no more"},
    {.name = "cutoff",
     .type = OPT_INT,
     .def = "0",
     .min = 0,
     .max = 2147483647,
     .help = "fasttext: rows that stay, those of greatest norm; 0: all"},
    {.name = "qnorm",
     .type = OPT_BOOL,
     .def = "false",
     .help = "fasttext: code the rows' norms by themselves"},
    {.name = "data", .type = OPT_STR, .help = "labelled titles to compare before and after on"},
    VERB_THREADS_OPTION,
};

struct work {
    const struct options *o;
    struct quantize *q;
    bool *keep; /* [units] */
    struct pool *pool;
    const char *from;
    struct dataset titles, data; /* of --titles and --data; n 0: not given */
};

/* What each unit alone, in bytes, does to the probabilities of the first titles: [units]. */
static int judge_units(const struct work *w, const char *trial, const struct dataset *titles,
                       double *harm, struct err *err)
{
    int n = quantize_units(w->q), rc;
    struct dataset some = *titles;
    struct said before = {0}, after = {0};
    bool *keep = xcalloc((size_t)n, sizeof *keep);
    if (some.n > JUDGED)
        some.n = JUDGED;
    rc = said_by(w->from, PRECISION_FP32, &some, w->pool, &before, err);
    for (int i = 0; i < n && rc == 0; i++) {
        for (int k = 0; k < n; k++)
            keep[k] = k != i;
        harm[i] = -1;
        if (w->keep[i])
            continue;
        rc = quantize_write(w->q, keep, trial, err);
        if (rc == 0)
            rc = said_by(trial, PRECISION_AUTO, &some, w->pool, &after, err);
        if (rc == 0)
            harm[i] = said_divergence(&before, &after, some.n);
        said_done(&after);
    }
    said_done(&before);
    free(keep);
    return rc;
}

/* The n worst units that are not kept yet. */
static void keep_worst(const struct work *w, double *harm, int n)
{
    for (; n > 0; n--) {
        int worst = -1;
        for (int i = 0; i < quantize_units(w->q); i++)
            if (!w->keep[i] && (worst < 0 || harm[i] > harm[worst]))
                worst = i;
        if (worst < 0)
            return;
        w->keep[worst] = true;
        (void)printf("kept         %s: in bytes alone it moves probabilities by %.2g nats\n",
                     quantize_unit_name(w->q, worst), harm[worst]);
    }
}

/* Keeps 1, 2, 4, … more of the worst units until the trial loses no more than it may. */
static int choose_on(const struct work *w, const char *trial, struct err *err)
{
    const struct dataset *titles = &w->titles;
    int n = quantize_units(w->q), more = 1, rc;
    double may = options_real(w->o, "max-drop") / 100, *harm = NULL;
    struct said before = {0}, after = {0};
    rc = said_by(w->from, PRECISION_FP32, titles, w->pool, &before, err);
    for (int kept = 0; rc == 0; more *= 2) {
        kept = 0;
        for (int i = 0; i < n; i++)
            kept += w->keep[i];
        rc = quantize_write(w->q, w->keep, trial, err);
        if (rc == 0)
            rc = said_by(trial, PRECISION_AUTO, titles, w->pool, &after, err);
        if (rc != 0)
            break;
        double drop = report_accuracy(&before.r) - report_accuracy(&after.r);
        said_done(&after);
        (void)printf("%d of %d in bytes: %.2f points below fp32 on the held-out titles\n", n - kept,
                     n, 100 * drop);
        if (drop <= may + 1e-9 || kept == n)
            break;
        if (!harm) {
            harm = xcalloc((size_t)n, sizeof *harm);
            rc = judge_units(w, trial, titles, harm, err);
        }
        if (rc == 0)
            keep_worst(w, harm, more);
    }
    said_done(&before);
    free(harm);
    return rc;
}

static int mark_kept(const struct work *w, struct err *err)
{
    const char *list = options_str(w->o, "keep");
    char *text = xstrdup(list ? list : ""), *rest = text, *name;
    int rc = 0;
    while (rc == 0 && (name = strsep(&rest, ",")) != NULL)
        if (*name && quantize_mark(w->q, name, w->keep) == 0)
            rc = err_set(err, ERR_USAGE, "--keep: no matrix of %s is called %s", w->from, name);
    free(text);
    return rc;
}

static int write_out(struct work *w, const char *out, struct err *err)
{
    struct outdir dir;
    enum outdir_mode mode = options_bool(w->o, "overwrite") ? OUTDIR_OVERWRITE : OUTDIR_NEW;
    if (outdir_check(out, mode, err) != 0 || outdir_open(&dir, out, mode, err) != 0)
        return -1;
    int rc = w->titles.n ? choose_on(w, dir.staging, err) : 0;
    if (rc == 0)
        rc = file_remove_dir(dir.staging, err);
    if (rc == 0)
        rc = quantize_write(w->q, w->keep, dir.staging, err);
    if (rc == 0)
        rc = outdir_commit(&dir, err);
    outdir_close(&dir);
    return rc;
}

static int compare(const struct work *w, const char *out, struct err *err)
{
    return w->data.n
               ? comparison_print(w->from, out, options_str(w->o, "data"), &w->data, w->pool, err)
               : 0;
}

/* fastText's file is coded as its users know it; nothing is tried. */
static int run_fasttext(struct work *w, const char *bin, const char *out, struct err *err)
{
    struct outdir dir;
    enum outdir_mode mode = options_bool(w->o, "overwrite") ? OUTDIR_OVERWRITE : OUTDIR_NEW;
    struct fasttext_shrink how = {.cutoff = (int32_t)options_int(w->o, "cutoff"),
                                  .norms = options_bool(w->o, "qnorm"),
                                  .seed = 1};
    static const char *const not_taken[] = {FASTTEXT_BIN, HISTORY_FILE, LINEAGE_FILE,
                                            REPORT_HTML_FILE};
    if (outdir_check(out, mode, err) != 0 || outdir_open(&dir, out, mode, err) != 0)
        return -1;
    bool alone = strcmp(bin, w->from) == 0; /* a bare file */
    char *ftz = file_path("%s/" FASTTEXT_FTZ, dir.staging),
         *to = file_path("%s/" FASTTEXT_FTZ, out);
    int rc = alone ? file_mkdirs(dir.staging, err) : outdir_export(w->from, dir.staging, err);
    for (size_t i = 0; i < sizeof not_taken / sizeof *not_taken; i++) {
        char *path = file_path("%s/%s", dir.staging, not_taken[i]);
        (void)unlink(path);
        free(path);
    }
    if (rc == 0)
        rc = fasttext_quantize(bin, ftz, &how, w->pool, err);
    if (rc == 0)
        rc = outdir_commit(&dir, err);
    outdir_close(&dir);
    if (rc == 0)
        rc = compare(w, alone ? to : out, err);
    if (rc == 0)
        (void)printf("\n%.1f MB in %s, were %.1f\n", comparison_mb(to), to, comparison_mb(bin));
    free(ftz);
    free(to);
    return rc;
}

/* The .bin of --model, or NULL: no fastText. */
static char *find_bin(const char *from)
{
    char *bin = file_path("%s/" FASTTEXT_BIN, from), *ftz = file_path("%s/" FASTTEXT_FTZ, from);
    char *found = fasttext_file_is(from)  ? xstrdup(from)
                  : fasttext_file_is(bin) ? xstrdup(bin)
                  : fasttext_file_is(ftz) ? xstrdup(ftz) /* which is told from there */
                                          : NULL;
    free(bin);
    free(ftz);
    return found;
}

static int run_matrices(struct work *w, const char *out, struct err *err)
{
    if (quantize_open(w->from, &w->q, err) != 0)
        return -1;
    w->keep = xcalloc((size_t)quantize_units(w->q), sizeof *w->keep);
    quantize_mark_kept(w->q, w->keep);
    int rc =
        options_given(w->o, "max-drop") && !w->titles.n
            ? err_set(err, ERR_USAGE, "--max-drop is of --titles, which the drop is measured on")
            : mark_kept(w, err);
    if (rc == 0)
        rc = write_out(w, out, err);
    if (rc == 0)
        rc = compare(w, out, err);
    if (rc == 0)
        (void)printf("\n%.1f MB of weights in %s, were %.1f\n", comparison_mb(out), out,
                     comparison_mb(w->from));
    free(w->keep);
    quantize_close(w->q);
    return rc;
}

static bool same_place(const char *a, const char *b)
{
    char *x = realpath(a, NULL), *y = realpath(b, NULL);
    bool same = x && y && strcmp(x, y) == 0;
    free(x);
    free(y);
    return same;
}

/* All that can be found wrong before anything is written. */
static int check(struct work *w, const char *bin, const char *out, struct err *err)
{
    const char *titles = options_str(w->o, "titles"), *data = options_str(w->o, "data");
    if (same_place(w->from, out))
        return err_set(err, ERR_USAGE, "--out is --model: %s", out);
    if (bin && (titles || options_str(w->o, "keep")))
        return err_set(err, ERR_USAGE, "--titles and --keep are of transformers and TextCNN");
    if (!bin && (options_int(w->o, "cutoff") || options_bool(w->o, "qnorm")))
        return err_set(err, ERR_USAGE, "--cutoff and --qnorm are of fastText");
    if (titles && comparison_read(w->from, titles, &w->titles, err) != 0)
        return -1;
    return data ? comparison_read(w->from, data, &w->data, err) : 0;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    struct work w = {.o = o};
    const char *out;
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "model", &w.from, err) != 0 ||
        verb_need(o, "out", &out, err) != 0)
        return -1;
    char *bin = find_bin(w.from);
    w.pool = pool_open((int)options_int(o, "threads"));
    int rc = check(&w, bin, out, err);
    if (rc == 0)
        rc = bin ? run_fasttext(&w, bin, out, err) : run_matrices(&w, out, err);
    dataset_done(&w.titles);
    dataset_done(&w.data);
    pool_close(w.pool);
    free(bin);
    return rc;
}

const struct verb verb_quantize = {
    .name = "quantize",
    .help = "make a transformer, TextCNN or fastText smaller: its matrices in bytes",
    .words = "",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .run = run};
