#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "models/checkpoint.h"
#include "models/fasttext_arch.h"
#include "models/fasttext_quantize.h"
#include "models/quantize.h"
#include "trainer/corpus.h"
#include "trainer/evaluate.h"
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
    {.name = "threads",
     .type = OPT_INT,
     .def = "0",
     .min = 0,
     .max = 1024,
     .help = "threads; 0: as many as the processors allowed"},
};

struct work {
    const struct options *o;
    struct quantize *q;
    bool *keep; /* [units] */
    struct pool *pool;
    const char *from;
};

/* What one model says of titles. */
struct said {
    struct report r;
    float *p; /* [n][labels] */
    double seconds;
    int64_t bytes; /* in memory */
    enum precision precision;
};

static void said_done(struct said *s)
{
    if (s->p)
        report_done(&s->r);
    free(s->p);
    *s = (struct said){0};
}

static int say(const struct work *w, const char *dir, enum precision precision,
               const struct dataset *d, struct said *out, struct err *err)
{
    struct model *m;
    if (model_open(dir, precision, &m, err) != 0)
        return -1;
    const struct model_info *info = model_info(m);
    *out = (struct said){.bytes = info->weights_bytes, .precision = info->precision};
    report_init(&out->r, info->n_labels);
    free(evaluate_probabilities(m, d, w->pool)); /* warm */
    int64_t start = clock_ns();
    out->p = evaluate_probabilities(m, d, w->pool);
    out->seconds = (double)(clock_ns() - start) * 1e-9;
    for (size_t i = 0; i < d->n; i++)
        report_add(&out->r, d->labels[i], out->p + i * (size_t)info->n_labels);
    model_close(m);
    return 0;
}

static int read_titles(const char *model, const char *path, struct dataset *d, struct model **m,
                       struct err *err)
{
    if (model_open(model, PRECISION_FP32, m, err) != 0)
        return -1;
    const struct model_info *info = model_info(*m);
    struct classes classes = {.names = (char **)(size_t)info->labels, .n = info->n_labels};
    int rc = info->n_labels ? corpus_same_classes(path, &classes, err)
                            : err_set(err, ERR_USAGE,
                                      "%s classifies nothing: no --titles or --data for it", model);
    if (rc == 0)
        rc = corpus_read_file(path, &classes, 0, stdout, d, err);
    if (rc == 0 && d->n == 0) {
        dataset_done(d);
        rc = err_set(err, ERR_FORMAT, "%s: no titles", path);
    }
    if (rc != 0)
        model_close(*m);
    return rc;
}

/* Mean of the sum over labels of p ln (p / q). */
static double divergence(const struct said *a, const struct said *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n * (size_t)a->r.classes; i++)
        if (a->p[i] > 0)
            sum += (double)a->p[i] * log((double)a->p[i] / fmax((double)b->p[i], 1e-30));
    return sum / (double)n;
}

static double agreement(const struct said *a, const struct said *b, size_t n)
{
    int32_t labels = a->r.classes, x, y;
    size_t same = 0;
    for (size_t i = 0; i < n; i++) {
        (void)model_top_k(a->p + i * (size_t)labels, labels, 1, &x);
        (void)model_top_k(b->p + i * (size_t)labels, labels, 1, &y);
        same += x == y;
    }
    return (double)same / (double)n;
}

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
    rc = say(w, w->from, PRECISION_FP32, &some, &before, err);
    for (int i = 0; i < n && rc == 0; i++) {
        for (int k = 0; k < n; k++)
            keep[k] = k != i;
        harm[i] = -1;
        if (w->keep[i])
            continue;
        rc = quantize_write(w->q, keep, trial, err);
        if (rc == 0)
            rc = say(w, trial, PRECISION_AUTO, &some, &after, err);
        if (rc == 0)
            harm[i] = divergence(&before, &after, some.n);
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
static int choose_on(const struct work *w, const char *trial, const struct dataset *titles,
                     struct err *err)
{
    int n = quantize_units(w->q), more = 1, rc;
    double may = options_real(w->o, "max-drop") / 100, *harm = NULL;
    struct said before = {0}, after = {0};
    rc = say(w, w->from, PRECISION_FP32, titles, &before, err);
    for (int kept = 0; rc == 0; more *= 2) {
        kept = 0;
        for (int i = 0; i < n; i++)
            kept += w->keep[i];
        rc = quantize_write(w->q, w->keep, trial, err);
        if (rc == 0)
            rc = say(w, trial, PRECISION_AUTO, titles, &after, err);
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

static int choose(const struct work *w, const char *trial, struct err *err)
{
    struct dataset titles;
    struct model *m;
    if (!options_str(w->o, "titles"))
        return 0;
    if (read_titles(w->from, options_str(w->o, "titles"), &titles, &m, err) != 0)
        return -1;
    model_close(m);
    int rc = choose_on(w, trial, &titles, err);
    dataset_done(&titles);
    return rc;
}

static double one_file_mb(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (double)st.st_size / 1e6 : 0;
}

/* A model's weights, which may be a bare file. */
static double file_mb(const char *model)
{
    struct file_list list;
    double sum = one_file_mb(model);
    if (sum > 0 || file_list(model, &list, NULL) != 0)
        return sum;
    for (size_t i = 0; i < list.n; i++) {
        char *path = file_path("%s/%s", model, list.names[i]);
        if (checkpoint_is_weights(list.names[i]))
            sum += one_file_mb(path);
        free(path);
    }
    file_list_free(&list);
    return sum;
}

static void print_line(const char *what, double mb, const struct said *s, const struct said *before,
                       size_t n)
{
    (void)printf("%-22s %8.1f %8.1f %8.2f %% %8.4f %9.2f %% %10.0f\n", what, mb,
                 (double)s->bytes / 1e6, 100 * report_accuracy(&s->r), report_loss(&s->r),
                 100 * agreement(before, s, n), (double)n / s->seconds);
}

static void print_classes(const struct said *a, const struct said *b, const char *const *labels)
{
    (void)printf("\n%-22s %8s %8s %8s\n", "F1", "before", "after", "change");
    for (int32_t k = 0; k < a->r.classes; k++) {
        double x = 100 * report_class(&a->r, k).f1, y = 100 * report_class(&b->r, k).f1;
        (void)printf("%-22s %8.2f %8.2f %+8.2f\n", labels[k], x, y, y - x);
    }
}

/* Before and after, on titles that nothing was decided on. */
static int compare(const struct work *w, const char *out, struct err *err)
{
    const char *path = options_str(w->o, "data");
    struct said before = {0}, usual = {0}, after = {0};
    struct dataset d;
    struct model *m;
    if (!path)
        return 0;
    if (read_titles(w->from, path, &d, &m, err) != 0)
        return -1;
    int rc = say(w, w->from, PRECISION_FP32, &d, &before, err);
    if (rc == 0)
        rc = say(w, w->from, PRECISION_AUTO, &d, &usual, err);
    if (rc == 0)
        rc = say(w, out, PRECISION_AUTO, &d, &after, err);
    if (rc == 0) {
        double mb = file_mb(w->from);
        (void)printf("\n%-22s %8s %8s %10s %8s %11s %10s\n", path, "file MB", "held MB", "accuracy",
                     "loss", "same answer", "titles/s");
        print_line("before, in fp32", mb, &before, &before, d.n);
        if (usual.precision != before.precision) {
            char *name = file_path("before, in %s", precision_name(usual.precision));
            print_line(name, mb, &usual, &before, d.n);
            free(name);
        }
        char *name = file_path("after, in %s", precision_name(after.precision));
        print_line(name, file_mb(out), &after, &before, d.n);
        free(name);
        print_classes(&before, &after, model_info(m)->labels);
    }
    said_done(&before);
    said_done(&usual);
    said_done(&after);
    model_close(m);
    dataset_done(&d);
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
    int rc = choose(w, dir.staging, err);
    if (rc == 0)
        rc = file_remove_dir(dir.staging, err);
    if (rc == 0)
        rc = quantize_write(w->q, w->keep, dir.staging, err);
    if (rc == 0)
        rc = outdir_commit(&dir, err);
    outdir_close(&dir);
    return rc;
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
    if (options_str(w->o, "titles") || options_str(w->o, "keep"))
        return err_set(err, ERR_USAGE, "--titles and --keep are of transformers and TextCNN");
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
        (void)printf("\n%.1f MB in %s, were %.1f\n", file_mb(to), to, file_mb(bin));
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
    int rc = mark_kept(w, err);
    if (rc == 0)
        rc = write_out(w, out, err);
    if (rc == 0)
        rc = compare(w, out, err);
    if (rc == 0)
        (void)printf("\n%.1f MB of weights in %s, were %.1f\n", file_mb(out), out,
                     file_mb(w->from));
    free(w->keep);
    quantize_close(w->q);
    return rc;
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
    int rc = bin ? run_fasttext(&w, bin, out, err) : run_matrices(&w, out, err);
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
