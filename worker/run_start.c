/* What the service waits for before it can start: the model, the topics. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/kafka.h"
#include "worker/load.h"
#include "worker/metrics.h"
#include "worker/service.h"

#define AGAIN_MS 1000

void service_say_missing(struct service *s, const char *text)
{
    (void)pthread_mutex_lock(&s->lock);
    (void)snprintf(s->missing, sizeof s->missing, "%s", text);
    (void)pthread_mutex_unlock(&s->lock);
}

static void pause_before_next(void)
{
    for (int i = 0; i < AGAIN_MS / 50 && !service_stopping(); i++)
        (void)poll(NULL, 0, 50);
}

/* A step of loading: what /readyz says, and a sign of life. */
static void on_step(void *arg, const char *doing)
{
    struct service *s = arg;
    char text[sizeof s->missing];
    atomic_store(&s->tick_ns, clock_ns());
    (void)snprintf(text, sizeof text, "loading model: %s", doing);
    service_say_missing(s, text);
}

/* A registry that is away at the start, with nothing of it in the cache, is waited for as brokers
 * are: restarting would only lose the port, and the log. */
static int load_or_wait(struct service *s, struct model **m, char stale[LOAD_STALE],
                        struct err *err)
{
    struct load_steps steps = {on_step, s};
    char last[sizeof err->msg] = "";
    while (!service_stopping()) {
        if (load_model(s->cfg->options, !s->cfg->allow_new_labels, &steps, m, stale, err) == 0)
            return 0;
        if (err->code != ERR_UNAVAILABLE || !err->retriable || service_stopping())
            return -1;
        on_step(s, err->msg);
        if (strcmp(err->msg, last) != 0)
            log_warn("waiting-for-registry", "%s; trying again every %d ms", err->msg, AGAIN_MS);
        memcpy(last, err->msg, sizeof last);
        pause_before_next();
    }
    return err_set(err, ERR_CANCELLED, "stopped while waiting for the model");
}

static int open_model(struct service *s, struct err *err)
{
    int64_t begin = clock_ns();
    struct model *m;
    char stale[LOAD_STALE] = "";
    if (load_or_wait(s, &m, stale, err) != 0)
        return -1;
    (void)pthread_mutex_lock(&s->lock);
    s->served = served_new(m);
    (void)pthread_mutex_unlock(&s->lock);
    if (stale[0])
        log_warn("model-from-cache", "%s; starting with the version that was in service last",
                 stale);
    double seconds = (double)(clock_ns() - begin) * 1e-9;
    const struct model_info *info = s->served->info;
    metric_set(M_MODEL_LOAD_SECONDS, seconds);
    log_info("model-loaded", "%s %s version %s, %d labels, %s%s%s, %.1f MB of weights, %.3f s",
             info->family, info->name, info->version, info->n_labels,
             precision_name(info->precision), info->kernels ? " by " : "",
             info->kernels ? info->kernels : "", (double)info->weights_bytes / 1e6, seconds);
    const char *asked = options_str(s->cfg->options, "precision");
    if (strcmp(asked, "auto") != 0 && strcmp(asked, precision_name(info->precision)) != 0)
        log_warn("precision", "%s was asked for; this model on this processor runs in %s", asked,
                 precision_name(info->precision));
    return 0;
}

/* With {label} in the output's name every label must make a topic's name. */
static int check_labels(const struct service *s, struct err *err)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const struct model_info *info = s->served->info;
    for (int32_t i = 0; strstr(s->cfg->output, "{label}") && i < info->n_labels; i++)
        if (info->labels[i][strspn(info->labels[i], legal)])
            return err_set(err, ERR_CONFIG,
                           "output = %s: the model's label \"%s\" cannot be part of a topic's name",
                           s->cfg->output, info->labels[i]);
    return 0;
}

int service_load(struct service *s, struct err *err)
{
    if (open_model(s, err) != 0 || check_labels(s, err) != 0)
        return -1;
    atomic_store(&s->tick_ns, clock_ns());
    atomic_store(&s->loaded, true);
    return 0;
}

/* Waits until every topic exists; logs a line when what is missing changes. -1 when told to stop.
 */
int service_wait_for_topics(struct service *s, struct err *err)
{
    const struct model_info *info = s->served->info;
    char last[1000] = "";
    while (!service_stopping()) {
        struct buf names;
        struct err why;
        char text[1000] = "";
        atomic_store(&s->tick_ns, clock_ns());
        buf_init(&names, 800);
        if (kafka_missing_topics(s->cfg, info->labels, info->n_labels, &names, &why) != 0) {
            if (why.code == ERR_CONFIG) {
                buf_done(&names);
                *err = why;
                return -1;
            }
            (void)snprintf(text, sizeof text, "%s", why.msg);
        } else if (names.len) {
            (void)snprintf(text, sizeof text, "missing topics: %s", names.data);
        }
        buf_done(&names);
        service_say_missing(s, text);
        if (!text[0])
            return 0;
        if (strcmp(text, last) != 0)
            log_warn("waiting-for-topics", "%s; trying again every %d ms", text, AGAIN_MS);
        memcpy(last, text, sizeof last);
        pause_before_next();
    }
    return err_set(err, ERR_CANCELLED, "stopped while waiting to start");
}
