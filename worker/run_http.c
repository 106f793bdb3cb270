/* What the HTTP port says of the service, from before there is a model until its end. */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/ask.h"
#include "worker/metrics.h"
#include "worker/service.h"

#define LIVE_WITHIN_NS INT64_C(60000000000) /* /livez: both loops turned over within a minute */
/* While the model is loaded: opening a large one, or summing its files on a slow disk, is one step.
 * Waiting for a registry is not: every call to one is bounded, and shows. */
#define LOADING_WITHIN_NS (10 * LIVE_WITHIN_NS)
#define ASK_WAIT_SECONDS 2 /* for the question before */

static bool live(void *arg, struct buf *body)
{
    struct service *s = arg;
    int64_t now = clock_ns(), poll_age = now - atomic_load(&s->tick_ns);
    int64_t within = atomic_load(&s->loaded) ? LIVE_WITHIN_NS : LOADING_WITHIN_NS;
    int64_t commit_age = atomic_load(&s->started) ? now - committer_tick_ns(s->committer) : 0;
    if (poll_age >= within)
        buf_printf(body, "the %s for %lld s\n",
                   within == LIVE_WITHIN_NS ? "poll loop has not turned over"
                                            : "loading of the model has not got on",
                   (long long)(poll_age / 1000000000));
    /* One call to a broker may take as long as a transaction may. */
    if (commit_age >= LIVE_WITHIN_NS + s->cfg->transaction_timeout_ms * INT64_C(4000000))
        buf_printf(body, "the commit thread has not turned over for %lld s\n",
                   (long long)(commit_age / 1000000000));
    return body->len == 0;
}

static bool ready(void *arg, struct buf *body)
{
    struct service *s = arg;
    (void)pthread_mutex_lock(&s->lock);
    if (s->missing[0])
        buf_printf(body, "%s\n", s->missing);
    (void)pthread_mutex_unlock(&s->lock);
    if (service_stopping())
        buf_puts(body, "draining\n");
    else if (body->len == 0 && !atomic_load(&s->started))
        buf_puts(body, "starting\n");
    else if (body->len == 0 && !atomic_load(&s->joined))
        buf_puts(body, "not yet in the consumer group\n");
    else if (body->len == 0 && !committer_healthy(s->committer))
        buf_puts(body, "the producer is being replaced\n");
    metric_set(M_READY, body->len == 0);
    return body->len == 0;
}

/* What is in service, held for the caller; NULL before there is one. The poll thread sets the pipeline
 * while served is set, so whoever finds served gone finds the pipeline. */
static struct served *model_now(struct service *s)
{
    struct served *now = NULL;
    (void)pthread_mutex_lock(&s->lock);
    if (s->served)
        now = served_hold(s->served);
    else if (s->pipeline)
        now = pipeline_served(s->pipeline);
    (void)pthread_mutex_unlock(&s->lock);
    return now;
}

/* A cascade's stages, in their order: warm-up and /v1/classify count too. */
static void put_stages(const struct served *now, struct buf *body)
{
    const char *names[MODEL_MAX_STAGES];
    int64_t answered[MODEL_MAX_STAGES];
    int n = model_stages(now->model, names, answered);
    if (n)
        metric_header(body, "rubric_cascade_answered_total", "counter",
                      "Titles that each stage of the cascade has answered.");
    for (int i = 0; i < n; i++) {
        buf_printf(body, "rubric_cascade_answered_total{stage=\"%s\",version=\"", names[i]);
        metric_label(body, now->info->version);
        buf_printf(body, "\"} %lld\n", (long long)answered[i]);
    }
}

static void put_model_info(struct service *s, struct buf *body)
{
    struct served *now = model_now(s);
    if (!now)
        return;
    const struct model_info *info = now->info;
    metric_header(body, "rubric_model_info", "gauge", "The model that classifies.");
    buf_puts(body, "rubric_model_info{name=\"");
    metric_label(body, info->name);
    buf_puts(body, "\",version=\"");
    metric_label(body, info->version);
    buf_printf(body, "\",sha256=\"%s\",family=\"%s\"} 1\n", info->sha256, info->family);
    put_stages(now, body);
    served_release(now);
}

static void metrics(void *arg, struct buf *body)
{
    struct service *s = arg;
    struct buf unused;
    buf_init(&unused, 4096);
    (void)ready(s, &unused);
    buf_done(&unused);
    metrics_write(body);
    put_model_info(s, body);
    metric_header(body, "rubric_build_info", "gauge", "The program.");
    buf_printf(body, "rubric_build_info{version=\"%s\"} 1\n", RUBRIC_VERSION);
    if (atomic_load(&s->started))
        kafka_in_metrics(s->in, body);
}

/* One question at a time: the cores belong to the headlines on the topic. */
static unsigned classify(void *arg, const char *body, size_t len, struct buf *reply)
{
    struct service *s = arg;
    if (!atomic_load(&s->started) || service_stopping()) {
        char why[sizeof s->missing];
        (void)pthread_mutex_lock(&s->lock);
        memcpy(why, s->missing, sizeof why);
        (void)pthread_mutex_unlock(&s->lock);
        ask_error(reply, service_stopping() ? "draining" : why[0] ? why : "starting");
        return 503;
    }
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ASK_WAIT_SECONDS;
    if (pthread_mutex_timedlock(&s->asked, &until) != 0) {
        ask_error(reply, "busy with other questions; try again");
        return 503;
    }
    unsigned status = 503;
    if (service_stopping()) {
        ask_error(reply, "draining");
    } else {
        struct served *now = pipeline_served(s->pipeline);
        status = ask_answer(now, s->cfg->max_title_bytes, body, len, reply);
        served_release(now);
    }
    (void)pthread_mutex_unlock(&s->asked);
    return status;
}

int service_listen(struct service *s, struct err *err)
{
    struct http_routes routes = {live, ready, metrics, classify, ASK_MAX_BYTES, s};
    if (!s->cfg->http)
        return 0;
    if (http_open(s->cfg->http, &routes, &s->http, err) != 0)
        return -1;
    log_info("http-listening", "port %d", http_port(s->http));
    return 0;
}
