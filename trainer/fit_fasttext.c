/* `fit --arch fasttext`: the dictionary of the training titles, their rows, training (fasttext_train.h), a file that the
 * fasttext program reads. */
#include "trainer/fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "models/arch.h"
#include "models/fasttext_arch.h"
#include "models/fasttext_file.h"
#include "trainer/fasttext_corpus.h"
#include "trainer/fit_fasttext.h"
#include "trainer/fasttext_train.h"
#include "trainer/history.h"
#include "trainer/progress.h"
#include "trainer/teacher.h"

#define LOG_MAX ((size_t)1 << 20)

struct shown {
    struct fit *f;
    struct progress bar;
    int64_t words; /* of all epochs */
    struct fasttext_progress last;
};

static bool show(void *arg, const struct fasttext_progress *p)
{
    struct shown *s = arg;
    char detail[160], left[24];
    double rate = p->seconds > 0 ? p->words / p->seconds / pool_threads(s->f->pool) : 0;
    (void)snprintf(detail, sizeof detail, "words/s/thread %7.0f  lr %8.6f  avg.loss %8.6f  ETA %s",
                   rate, p->rate, p->loss,
                   progress_duration(
                       p->done > 0 ? (int64_t)(p->seconds / p->done * (1 - p->done)) : -1, left));
    progress_step(&s->bar, (int64_t)(p->done * 1000), detail);
    s->last = *p;
    return !isfinite(p->loss);
}

/* The teacher's word on every title, its labels in the dictionary's order. */
static float *reorder(const struct fit *f, const struct fasttext_dict *d)
{
    size_t labels = (size_t)f->corpus.classes.n, n = f->corpus.train.n;
    int32_t *place = xmalloc(labels * sizeof *place);
    float *out = xmalloc(n * labels * sizeof *out);
    (void)fasttext_corpus_labels(&f->corpus.classes, d, place);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < labels; k++)
            out[i * labels + (size_t)place[k]] = f->teacher->taught[i * labels + k];
    free(place);
    return out;
}

static int train(struct fit *f, const struct fasttext_dict *d, const struct fasttext_lines *l,
                 struct fasttext_weights *w, struct err *err)
{
    struct shown s = {.f = f};
    progress_begin(&s.bar, f->console, "training", 0, 1000);
    float *taught = f->teacher ? reorder(f, d) : NULL;
    struct teaching teaching = {taught, f->teacher ? f->teacher->temperature : 1,
                                f->teacher ? f->teacher->part : 0};
    bool whole = fasttext_train(d, l, taught ? &teaching : NULL, options_real(f->o, "lr"),
                                (int32_t)options_int(f->o, "epochs"),
                                (uint64_t)options_int(f->o, "seed"), f->pool, show, &s, w);
    free(taught);
    if (!whole) {
        progress_clear(&s.bar);
        return err_set(err, ERR_NUMERIC,
                       "at %.0f %% of the training the loss is %g: try a smaller --lr (it is %s)",
                       100 * s.last.done, s.last.loss, options_str(f->o, "lr"));
    }
    progress_end(&s.bar, "%.1f s, words/s/thread %.0f, avg.loss %.6f", s.last.seconds,
                 s.last.words / fmax(s.last.seconds, 1e-9) / pool_threads(f->pool), s.last.loss);
    return 0;
}

static int save(const struct fit *f, const struct fasttext_dict *d,
                const struct fasttext_weights *w, const struct words *words, struct err *err)
{
    const char *dir = f->out.staging;
    char *path = file_path("%s/" FASTTEXT_BIN, dir);
    json_t *config = json_object();
    struct fasttext_matrix input = fasttext_matrix_of(w->input, fasttext_dict_rows(d), d->args.dim),
                           output = fasttext_matrix_of(w->output, d->n_labels, d->args.dim);
    struct buf log;
    arch_describe(config, fasttext_arch.model_type, fit_model_name(f), d->n_words,
                  &f->corpus.classes);
    (void)json_object_set_new(config, "words", json_string(options_str(f->o, "words")));
    buf_init(&log, LOG_MAX);
    buf_printf(&log, "{\"arch\":\"fasttext\",\"seed\":%ld,\"titles\":%zu,\"words\":%d}\n",
               options_int(f->o, "seed"), f->corpus.train.n, (int)d->n_words);
    int rc = file_mkdirs(dir, err);
    if (rc == 0)
        rc = fasttext_file_write(path, d, &input, &output, err);
    if (rc == 0)
        rc = words_save(words, dir, err);
    if (rc == 0)
        rc = arch_write_labels(dir, &f->corpus.classes, err);
    if (rc == 0)
        rc = arch_write_config(dir, config, err);
    if (rc == 0)
        rc = history_write(dir, &log, err);
    if (rc == 0)
        rc = fit_write_log(f, &log, err);
    buf_done(&log);
    json_decref(config);
    free(path);
    return rc;
}

struct fasttext_args fit_fasttext_args(const struct options *o)
{
    const char *loss = options_str(o, "loss");
    int32_t maxn = (int32_t)options_int(o, "maxn"), ngrams = (int32_t)options_int(o, "word-ngrams");
    return (struct fasttext_args){
        .dim = (int32_t)options_int(o, "dim"),
        .ws = 5,
        .epoch = (int32_t)options_int(o, "epochs"),
        .min_count = (int32_t)options_int(o, "min-count"),
        .neg = 5,
        .word_ngrams = ngrams,
        .loss = strcmp(loss, "hs") == 0    ? FASTTEXT_HS
                : strcmp(loss, "ova") == 0 ? FASTTEXT_OVA
                                           : FASTTEXT_SOFTMAX,
        .model = FASTTEXT_SUPERVISED,
        /* As the program: no rows for what there is none of. */
        .bucket = ngrams <= 1 && maxn == 0 ? 0 : (int32_t)options_int(o, "bucket"),
        .minn = (int32_t)options_int(o, "minn"),
        .maxn = maxn,
        .lr_update_rate = 100,
        .t = 1e-4};
}

int fit_fasttext(struct fit *f, struct err *err)
{
    struct fasttext_dict d = {0};
    struct fasttext_lines l = {0};
    struct fasttext_weights w = {0};
    struct fasttext_args args = fit_fasttext_args(f->o);
    struct words *words = NULL;
    enum words_how how;
    if (args.minn > args.maxn && args.maxn > 0)
        return err_set(err, ERR_USAGE, "--minn is %d, --maxn %d", (int)args.minn, (int)args.maxn);
    if (f->teacher && args.loss != FASTTEXT_SOFTMAX)
        return err_set(err, ERR_USAGE, "--loss %s learns from labels alone; softmax from a teacher",
                       options_str(f->o, "loss"));
    int rc = words_parse(options_str(f->o, "words"), &how, err);
    if (rc == 0)
        rc = words_open(how, options_str(f->o, "dictionary"), options_str(f->o, "stop-words"),
                        &words, err);
    if (rc == 0)
        rc = fasttext_corpus_make(&f->corpus.train, &f->corpus.classes, &args, words, &d, &l, err);
    if (rc == 0) {
        (void)fprintf(f->console, "Read %.1fM words\nNumber of words:  %d\nNumber of labels: %d\n",
                      (double)d.n_tokens / 1e6, (int)d.n_words, (int)d.n_labels);
        rc = train(f, &d, &l, &w, err);
    }
    if (rc == 0)
        rc = save(f, &d, &w, words, err);
    if (rc == 0)
        rc = outdir_commit(&f->out, err);
    fasttext_weights_done(&w);
    fasttext_lines_done(&l);
    fasttext_dict_done(&d);
    words_close(words);
    return rc;
}
