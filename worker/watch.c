#include "worker/watch.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "models/registry.h"
#include "worker/load.h"
#include "worker/metrics.h"

#define PAUSE_MOST_NS INT64_C(60000000000)
#define SLICE_NS INT64_C(200000000) /* the end of the service is seen within */

struct watch {
    const struct config *cfg;
    struct pipeline *pipeline;
    const char *name, *alias;
    struct registry *registry;
    pthread_t thread;
    pthread_mutex_t lock; /* guards stop */
    pthread_cond_t cond;
    bool stop;
    char tried[REGISTRY_VERSION]; /* failed last; "" none */
    int64_t pause_ns, not_before_ns;
    char said[1000]; /* the last complaint */
};

/* What a failed fetch means for a version that the alias names. */
static enum metric_swap outcome_of(const struct err *err)
{
    switch (err->code) {
    case ERR_UNAVAILABLE:
        return SWAP_UNAVAILABLE;
    case ERR_MISSING:
        return SWAP_NO_CONTENT;
    case ERR_INCOMPLETE:
        return SWAP_INCOMPLETE;
    case ERR_TRUNCATED:
        return SWAP_TRUNCATED;
    case ERR_FORMAT:
    case ERR_CONFLICT:
        return SWAP_CORRUPT;
    default:
        return SWAP_FAILED;
    }
}

static enum metric_swap unresolved(const struct err *err)
{
    return err->code == ERR_MISSING    ? SWAP_NO_ALIAS
           : err->code == ERR_CONFLICT ? SWAP_NO_VERSION
                                       : outcome_of(err);
}

static void complain(struct watch *w, enum metric_swap outcome, const char *version,
                     const struct err *err)
{
    metric_add_at(M_MODEL_SWAPS, (int)outcome, 1);
    metric_set(M_MODEL_CURRENT, 0);
    if (strcmp(w->said, err->msg) != 0)
        log_warn("model-not-swapped", "%s: %s%s%s; the old one stays in service",
                 swap_outcome_name(outcome), version, *version ? ": " : "", err->msg);
    memcpy(w->said, err->msg, sizeof w->said);
    if (!*version)
        return;
    if (strcmp(w->tried, version) != 0)
        w->pause_ns = w->cfg->registry_poll_ns;
    w->not_before_ns = clock_ns() + w->pause_ns;
    w->pause_ns = 2 * w->pause_ns < PAUSE_MOST_NS ? 2 * w->pause_ns : PAUSE_MOST_NS;
    memcpy(w->tried, version, sizeof w->tried);
}

static int same_labels(const struct watch *w, const struct model_info *now,
                       const struct model_info *next, struct err *err)
{
    bool by_label = strstr(w->cfg->output, "{label}") != NULL;
    if ((w->cfg->allow_new_labels && !by_label) ||
        served_same_labels(now->labels, now->n_labels, next))
        return 0;
    return by_label ? err_set(err, ERR_CONFIG,
                              "other labels than the model in service has, and output = %s names "
                              "topics after them",
                              w->cfg->output)
                    : err_set(err, ERR_CONFIG,
                              "other labels than the model in service has (%d, not %d, or other "
                              "names); allow-new-labels lets them through",
                              (int)next->n_labels, (int)now->n_labels);
}

/* Opens what was fetched and puts it into service. */
static enum metric_swap take_over(struct watch *w, const char *dir, struct err *err)
{
    struct model_options how;
    struct model *m;
    int64_t begin = clock_ns();
    if (model_options_parse(options_str(w->cfg->options, "precision"),
                            options_str(w->cfg->options, "head"), &how, err) != 0 ||
        model_open_with(dir, &how, &m, err) != 0)
        return SWAP_UNLOADABLE;
    struct served *now = pipeline_served(w->pipeline);
    enum metric_swap outcome = SWAP_DONE;
    if (served_has_head(m, err) != 0)
        outcome = SWAP_UNLOADABLE;
    else if (same_labels(w, now->info, model_info(m), err) != 0)
        outcome = SWAP_LABELS;
    else if (served_warm_up(m, err) != 0)
        outcome = SWAP_UNLOADABLE;
    if (outcome == SWAP_DONE) {
        const struct model_info *info = model_info(m);
        metric_set(M_MODEL_LOAD_SECONDS, (double)(clock_ns() - begin) * 1e-9);
        log_info("model-swapped", "%s version %s takes over from %s", info->name, info->version,
                 now->info->version);
        pipeline_serve(w->pipeline, served_new(m));
    } else {
        model_close(m);
    }
    served_release(now);
    return outcome;
}

static bool stopped(struct watch *w)
{
    (void)pthread_mutex_lock(&w->lock);
    bool stop = w->stop;
    (void)pthread_mutex_unlock(&w->lock);
    return stop;
}

/* Fetches the version and takes it over; whatever fails is said and counted. */
static void follow(struct watch *w, const char *version)
{
    struct err err;
    char *dir = NULL;
    enum metric_swap outcome;
    if (registry_fetch(w->registry, w->name, version, &dir, &err) != 0)
        outcome = outcome_of(&err);
    else
        outcome = stopped(w) ? SWAP_FAILED : take_over(w, dir, &err);
    free(dir);
    if (stopped(w))
        return;
    if (outcome != SWAP_DONE) {
        /* Time mends a registry that is away, and only that: no pause grows for it. */
        complain(w, outcome, outcome == SWAP_UNAVAILABLE ? "" : version, &err);
        return;
    }
    metric_add_at(M_MODEL_SWAPS, SWAP_DONE, 1);
    if (registry_note(w->registry, w->name, w->alias, version, &err) != 0)
        log_warn("cache-not-written", "%s", err.msg);
    metric_set(M_MODEL_CURRENT, 1);
    w->said[0] = w->tried[0] = '\0';
}

/* hinted: somebody changed something; what failed before may be mended. */
static void look(struct watch *w, bool hinted)
{
    struct err err;
    char version[REGISTRY_VERSION] = "";
    if (registry_resolve(w->registry, w->name, w->alias, version, &err) != 0) {
        if (!stopped(w))
            complain(w, unresolved(&err), "", &err);
        return;
    }
    struct served *now = pipeline_served(w->pipeline);
    bool same = strcmp(now->info->version, version) == 0;
    served_release(now);
    if (!same) {
        if (hinted || strcmp(w->tried, version) != 0 || clock_ns() >= w->not_before_ns)
            follow(w, version);
        return;
    }
    if (w->said[0])
        log_info("registry-agrees", "the version in service is what %s names", w->alias);
    metric_set(M_MODEL_CURRENT, 1);
    w->said[0] = w->tried[0] = '\0';
}

/* Until it is time to look again, a hint comes (true), or the service ends. */
static bool wait_a_while(struct watch *w, int64_t until_ns)
{
    int64_t left;
    while (!stopped(w) && (left = until_ns - clock_ns()) > 0) {
        int64_t slice = left < SLICE_NS ? left : SLICE_NS;
        int hint = registry_wait(w->registry, w->name, (int)(slice / 1000000) + 1);
        if (hint > 0)
            return true;
        int64_t at = clock_ns() + slice;
        struct timespec until = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
        (void)pthread_mutex_lock(&w->lock);
        if (hint < 0 && !w->stop)
            (void)pthread_cond_timedwait(&w->cond, &w->lock, &until);
        (void)pthread_mutex_unlock(&w->lock);
    }
    return false;
}

static void *watch_main(void *arg)
{
    struct watch *w = arg;
    bool hinted = false;
    while (!stopped(w)) {
        int64_t next = clock_ns() + w->cfg->registry_poll_ns;
        look(w, hinted);
        hinted = wait_a_while(w, next);
    }
    return NULL;
}

int watch_open(const struct config *cfg, struct pipeline *p, struct watch **out, struct err *err)
{
    *out = NULL;
    metric_set(M_MODEL_CURRENT, 1);
    if (!cfg->registry || registry_is_version(options_str(cfg->options, "alias")))
        return 0;
    struct registry *registry;
    pthread_condattr_t attr;
    if (load_registry(cfg->options, &registry, err) != 0)
        return -1;
    struct watch *w = xcalloc(1, sizeof *w);
    w->registry = registry;
    w->cfg = cfg;
    w->pipeline = p;
    w->name = options_str(cfg->options, "name");
    w->alias = options_str(cfg->options, "alias");
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&w->cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    sigset_t before; /* see pipeline_open */
    signals_hold(&before);
    int rc = pthread_create(&w->thread, NULL, watch_main, w);
    signals_release(&before);
    if (rc != 0) {
        (void)pthread_cond_destroy(&w->cond);
        (void)pthread_mutex_destroy(&w->lock);
        registry_close(w->registry);
        free(w);
        return err_set(err, ERR_IO, "cannot start the thread that watches the registry");
    }
    *out = w;
    return 0;
}

void watch_close(struct watch *w)
{
    if (!w)
        return;
    (void)pthread_mutex_lock(&w->lock);
    w->stop = true;
    (void)pthread_cond_signal(&w->cond);
    (void)pthread_mutex_unlock(&w->lock);
    registry_cancel(w->registry); /* a Redis that hangs is not waited for */
    (void)pthread_join(w->thread, NULL);
    registry_close(w->registry);
    (void)pthread_cond_destroy(&w->cond);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}
