/* `retrain`: one run of a scheduled job. The order of its steps is the promise: the lock before any
 * work, labels before the long fit, everything measured before anything is pushed, and the alias
 * last, under the lock's token. */
#include "trainer/verb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "models/registry_lock.h"
#include "trainer/evaluate.h"
#include "trainer/fit.h"
#include "trainer/lineage.h"
#include "trainer/report_html.h"
#include "trainer/retrain.h"
#include "trainer/stop.h"

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    VERB_REGISTRY_OPTIONS,
    {.name = "alias",
     .type = OPT_STR,
     .def = "production",
     .help = "the alias that names the champion and is moved when the challenger is promoted"},
    {.name = "max-drop",
     .type = OPT_REAL,
     .def = "0",
     .min = 0,
     .max = 1,
     .help = "promote although dev accuracy is lower by up to this (0.01: a point)"},
    {.name = "max-shift",
     .type = OPT_REAL,
     .def = "0.05",
     .min = 0,
     .max = 1,
     .help = "promote nothing when production's own dev accuracy is lower by more than this than "
             "when it was made: the labels are suspect"},
    {.name = "min-accuracy",
     .type = OPT_REAL,
     .def = "0",
     .min = 0,
     .max = 1,
     .help = "promote nothing below this dev accuracy, not even the first model"},
    {.name = "allow-new-labels",
     .type = OPT_BOOL,
     .def = "false",
     .help = "promote a model whose labels differ from production's; titles whose label production "
             "does not know count as its mistakes"},
    {.name = "keep-versions",
     .type = OPT_INT,
     .def = "-1",
     .min = -1,
     .max = 100000,
     .help =
         "then remove all versions but this many of the newest and what aliases name (models gc); "
         "-1: none"},
    {.name = "kept-is-success",
     .type = OPT_BOOL,
     .def = "false",
     .help = "exit with 0 instead of 3 when the champion stays"},
    {.name = "work",
     .type = OPT_STR,
     .help = "make the challenger in this directory, replacing the model it holds, and leave it "
             "there; a temporary one when not set"},
    {.name = "json",
     .type = OPT_BOOL,
     .def = "false",
     .help = "print one JSON object; progress goes to standard error"},
#include "trainer/fit_options.inc"
};

enum { KEPT = 3 }; /* retrain_status of all outcomes where the champion stays */

struct job {
    const char *name, *alias;
    const char *work; /* directory of the challenger */
    struct fit fit;
    struct registry *registry;
    struct registry_lock *lock;
    struct model *champion; /* NULL: none */
    struct retrain result;
};

/* The outcome stands: nothing more is to be done. Returns 0. */
static int conclude(struct job *j, enum retrain_outcome outcome, const struct err *why)
{
    j->result.outcome = outcome;
    (void)snprintf(j->result.why, sizeof j->result.why, "%s", why->msg);
    return 0;
}

static int open_champion(struct job *j, struct err *err)
{
    char version[REGISTRY_VERSION], *dir;
    struct err missing = {0};
    if (registry_resolve(j->registry, j->name, j->alias, version, &missing) != 0) {
        if (missing.code == ERR_MISSING)
            return 0;
        *err = missing;
        return -1;
    }
    if (registry_fetch(j->registry, j->name, version, &dir, err) != 0)
        return -1;
    int rc = model_open(dir, PRECISION_AUTO, &j->champion, err);
    if (rc == 0)
        rc = lineage_read(dir, &j->result.champion.made, err);
    if (rc == 0)
        memcpy(j->result.champion.version, version, sizeof version);
    free(dir);
    return rc;
}

/* Readers of categories know production's labels by name and by index. */
static int same_labels(const struct job *j, struct err *why)
{
    const struct classes *c = &j->fit.corpus.classes;
    const struct model_info *info = model_info(j->champion);
    if (info->n_labels != c->n)
        return err_set(why, ERR_CONFLICT,
                       "the data has %d classes, production %d; --allow-new-labels lets them pass",
                       (int)c->n, (int)info->n_labels);
    for (int32_t i = 0; i < c->n; i++)
        if (strcmp(info->labels[i], c->names[i]) != 0)
            return err_set(why, ERR_CONFLICT,
                           "class %d is \"%s\" in the data and \"%s\" in production; "
                           "--allow-new-labels lets it pass",
                           (int)i, c->names[i], info->labels[i]);
    return 0;
}

/* Champion and challenger alike: labels go by name. */
static void measure(struct job *j, const struct model *m, struct pool *pool, struct report *r,
                    struct retrain_side *side)
{
    const struct classes *c = &j->fit.corpus.classes;
    const struct model_info *info = model_info(m);
    int32_t *map = xmalloc((size_t)c->n * sizeof *map);
    for (int32_t i = 0; i < c->n; i++) {
        int32_t k = 0;
        while (k < info->n_labels && strcmp(info->labels[k], c->names[i]) != 0)
            k++;
        map[i] = k < info->n_labels ? k : -1;
    }
    report_init(r, info->n_labels);
    (void)evaluate_known(m, &j->fit.corpus.dev, map, pool, r);
    side->right = 0;
    for (int32_t k = 0; k < info->n_labels; k++)
        side->right += report_count(r, k, k);
    side->loss = report_loss(r);
    side->measured = true;
    free(map);
}

/* What travels with the model beside its lineage: how good it was, and how it came about. */
static int describe(const struct job *j, const struct model_info *info, const struct report *r,
                    struct err *err)
{
    struct history h;
    char *page = file_path("%s/" REPORT_HTML_FILE, j->work), data[160];
    (void)snprintf(data, sizeof data, "dev, %zu titles; sha256 of all data %s", j->fit.corpus.dev.n,
                   j->fit.corpus.digest);
    int rc = history_read(j->work, &h, err);
    if (rc == 0) {
        rc = report_html_write(page, r, info, &h, data, err);
        history_done(&h);
    }
    free(page);
    return rc;
}

static int measure_both(struct job *j, struct err *err)
{
    struct model *challenger;
    struct report r;
    if (model_open(j->work, PRECISION_AUTO, &challenger, err) != 0)
        return -1;
    struct pool *pool = pool_open((int)options_int(j->fit.o, "threads"));
    j->result.titles = (int64_t)j->fit.corpus.dev.n;
    if (j->champion) {
        measure(j, j->champion, pool, &r, &j->result.champion);
        report_done(&r);
    }
    measure(j, challenger, pool, &r, &j->result.challenger);
    pool_close(pool);
    int rc = describe(j, model_info(challenger), &r, err);
    report_done(&r);
    model_close(challenger);
    return rc;
}

/* Pushes what the fit wrote, and nothing that somebody keeps beside it in --work. */
static int push_made(struct job *j, struct err *err)
{
    char *made = file_path("%s/.push", j->work);
    int rc = outdir_export(j->work, made, err);
    if (rc == 0)
        rc = registry_push(j->registry, j->name, made, j->result.challenger.version, err);
    (void)file_remove_dir(made, NULL);
    free(made);
    return rc;
}

/* The challenger is pushed whatever it is worth, so that it can be looked at; an alias names it only
 * when it is promoted. */
static int push_and_promote(struct job *j, struct err *err)
{
    struct retrain *r = &j->result;
    struct err why = {0};
    if (push_made(j, err) != 0)
        return -1;
    retrain_decide(r);
    if (r->outcome != RETRAIN_PROMOTED ||
        registry_lock_promote(j->lock, j->alias, r->champion.version, r->challenger.version,
                              &why) == 0)
        return 0;
    if (why.code == ERR_CONFLICT)
        return conclude(j, RETRAIN_OVERTAKEN, &why);
    *err = why;
    return -1;
}

/* 0, or the exit status of a job that a signal ended between two steps. */
static int asked_to_stop(void)
{
    int signal_number = stop_signal();
    return signal_number ? 128 + signal_number : 0;
}

static int fit_and_judge(struct job *j, struct err *err)
{
    struct err why = {0};
    if (open_champion(j, err) != 0)
        return err_prefix(err, "the champion, %s of %s", j->alias, j->name);
    if (j->champion && !options_bool(j->fit.o, "allow-new-labels") && same_labels(j, &why) != 0)
        return conclude(j, RETRAIN_LABELS, &why);
    int rc = fit_run(&j->fit, j->work, OUTDIR_OVERWRITE, err);
    if (rc == 0)
        rc = asked_to_stop();
    if (rc == 0)
        rc = measure_both(j, err);
    if (rc == 0)
        rc = asked_to_stop(); /* the last time: what is pushed is also decided */
    return rc == 0 ? push_and_promote(j, err) : rc;
}

static int with_lock(struct job *j, const char *url, const char *data, struct err *err)
{
    struct err why = {0};
    if (registry_lock_take(url, j->registry, j->name, &j->lock, &why) != 0) {
        if (why.code == ERR_CONFLICT && why.retriable)
            return conclude(j, RETRAIN_LOCKED, &why);
        *err = why;
        return -1;
    }
    j->result.token = registry_lock_token(j->lock);
    int rc = corpus_read(data, true, fit_rules(j->fit.o), j->fit.console, &j->fit.corpus, err);
    if (rc == 0)
        rc = asked_to_stop();
    if (rc == 0)
        rc = fit_and_judge(j, err);
    model_close(j->champion);
    corpus_done(&j->fit.corpus);
    registry_lock_release(j->lock);
    return rc;
}

static void print_result(const struct job *j, bool json)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    if (json)
        retrain_json(&j->result, j->name, j->alias, &out);
    else
        retrain_text(&j->result, j->name, j->alias, &out);
    (void)fputs(out.data, stdout);
    buf_done(&out);
}

/* What the schedule leaves behind would fill the registry in time. */
static int collect(const struct job *j, struct err *err)
{
    long keep = options_int(j->fit.o, "keep-versions");
    char **removed;
    size_t n;
    if (keep < 0 || j->result.outcome == RETRAIN_LOCKED)
        return 0;
    if (registry_gc(j->registry, j->name, (int)keep, &removed, &n, err) != 0)
        return err_prefix(err, "%s; then", j->result.why);
    while (n-- > 0)
        free(removed[n]);
    free(removed);
    return 0;
}

/* A directory of our own for the challenger, and gone afterwards, unless --work names one. */
static int with_work(struct job *j, const char *url, const char *data, struct err *err)
{
    const char *base = getenv("TMPDIR"), *given = options_str(j->fit.o, "work");
    char *temporary = given ? NULL : file_path("%s/rubric-retrain-XXXXXX", base ? base : "/tmp");
    if (temporary && !mkdtemp(temporary)) {
        int rc = err_set(err, ERR_IO, "%s: %s", temporary, strerror(errno));
        free(temporary);
        return rc;
    }
    j->work = given ? given : temporary;
    int rc = with_lock(j, url, data, err);
    if (temporary)
        (void)file_remove_dir(temporary, NULL);
    free(temporary);
    return rc;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *arch, *data;
    bool json = options_bool(o, "json");
    struct job j = {.alias = options_str(o, "alias"),
                    .fit = {.o = o, .console = json ? stderr : stdout, .start_ns = clock_ns()},
                    .result = {.max_drop = options_real(o, "max-drop"),
                               .max_shift = options_real(o, "max-shift"),
                               .min_accuracy = options_real(o, "min-accuracy")}};
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "arch", &arch, err) != 0 ||
        verb_need(o, "data", &data, err) != 0 || verb_registry(o, &j.registry, &j.name, err) != 0)
        return -1;
    stop_catch(); /* as process 1 of a container it would not even be ended by a signal */
    int rc = with_work(&j, options_str(o, "registry"), data, err);
    if (rc == 0)
        rc = collect(&j, err);
    registry_close(j.registry);
    stop_release();
    if (rc != 0)
        return rc;
    print_result(&j, json);
    int status = retrain_status(j.result.outcome);
    return status == KEPT && options_bool(o, "kept-is-success") ? 0 : status;
}

static const char *const environment[] = {"registry", "name", "alias", "cache", NULL};

static const char details[] =
    "exit status:\n"
    "  0     the challenger was promoted\n"
    "  3     the champion stays: same content, worse, below --min-accuracy, or suspect labels\n"
    "        (0 with --kept-is-success)\n"
    "  4     another job works on this model, or production changed meanwhile; nothing promoted\n"
    "  5     the data has other labels than production; nothing made\n"
    "  64..  an error: 64 command line, 65 data, 69 registry unavailable, 74 input or output, …\n"
    "  128.. stopped by a signal\n";

const struct verb verb_retrain = {
    .name = "retrain",
    .help = "one run of a scheduled job: make a model, promote it when it is not worse",
    .details = details,
    .environment = environment,
    .words = "",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .prepare = fit_preset,
    .run = run};
