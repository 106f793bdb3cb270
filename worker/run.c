/* The poll thread. It owns the consumer and the batch being filled.
 *
 * Start: model, HTTP port, topics (waited for), consumer, producer, threads.
 *
 * Loop: serve Kafka's events; fill the batch; submit it when it closes; after a failure go back to
 * the committed offsets.
 *
 * Revoke: submit what is open, wait until everything in flight is committed, only then let the
 * partitions go; when they are lost already, commit nothing more.
 *
 * Stop: the same as revoke, then leave the group; bounded by drain-timeout-ms. */
#include "worker/run.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/ask.h"
#include "worker/batcher.h"
#include "worker/committer.h"
#include "worker/http.h"
#include "worker/load.h"
#include "worker/metrics.h"
#include "worker/pipeline.h"
#include "worker/watch.h"

#define LIVE_WITHIN_NS 60000000000 /* /livez: both loops turned over within a minute */
#define TOPICS_EVERY_MS 1000
#define ASK_WAIT_SECONDS 2  /* for the question before */
#define EXIT_NOT_DRAINED 75 /* EX_TEMPFAIL */

static atomic_int stop_requests;

static void on_signal(int signal)
{
    (void)signal;
    load_cancel();
    /* A third one means it: a commit that hangs cannot be interrupted. */
    if (atomic_fetch_add(&stop_requests, 1) >= 2)
        _exit(143);
}

void run_handle_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal};
    (void)sigemptyset(&sa.sa_mask);
    (void)sigaction(SIGTERM, &sa, NULL);
    (void)sigaction(SIGINT, &sa, NULL);
    sa.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &sa, NULL);
}

void run_stop(void)
{
    atomic_fetch_add(&stop_requests, 1);
}

struct service {
    const struct config *cfg;
    struct served *served; /* the first model, until the pipeline has it; guarded by lock */
    struct watch *watch;
    int32_t max_tokens; /* of the first model: what a headline costs at most */
    struct batch_limits limits;
    struct codec *codec;
    struct pipeline *pipeline;
    struct kafka_in *in;
    struct committer *committer;
    struct http *http;
    struct work *current; /* being filled; NULL when none is free */
    uint64_t epoch;       /* of current; failed ones are smaller or equal */
    atomic_bool filling, joined, started;
    _Atomic int64_t tick_ns, drain_until_ns;
    pthread_mutex_t asked; /* held by the one question that is answered */
    pthread_mutex_t lock;  /* guards missing and served */
    char missing[1000];    /* why the service waits to start; "" when it does not */
};

static bool stopping(void)
{
    return atomic_load(&stop_requests) > 0;
}

/* For loops that wait for brokers: false once the drain bound is over or a second signal came. */
static bool keep_going(void *arg)
{
    struct service *s = arg;
    int64_t until = atomic_load(&s->drain_until_ns);
    if (!atomic_load(&s->started)) {
        atomic_store(&s->tick_ns, clock_ns()); /* waiting for brokers at the start is being alive */
        if (stopping())
            return false;
    }
    return atomic_load(&stop_requests) < 2 && !(until && clock_ns() > until);
}

static bool is_filling(void *arg)
{
    return atomic_load(&((struct service *)arg)->filling);
}

/* For waits inside the poll thread: it is alive, and stops waiting when told to. */
static bool keep_waiting(void *arg)
{
    struct service *s = arg;
    atomic_store(&s->tick_ns, clock_ns());
    return !stopping();
}

static void submit(struct service *s, enum close_reason why)
{
    if (!s->current)
        return;
    s->current->epoch = s->epoch;
    pipeline_submit(s->pipeline, s->current, why);
    s->current = NULL;
    atomic_store(&s->filling, false);
}

static void drop_current(struct service *s)
{
    if (s->current)
        pipeline_put(s->pipeline, s->current);
    s->current = NULL;
    atomic_store(&s->filling, false);
}

/* Fixes the moment when waiting for brokers ends; the first call counts. */
static void start_drain(struct service *s)
{
    int64_t none = 0;
    (void)atomic_compare_exchange_strong(&s->drain_until_ns, &none,
                                         clock_ns() + s->cfg->drain_timeout_ns);
}

/* Waits until nothing is in flight and no transaction is open; from `until` on by giving up instead
 * of committing. The wait itself has no bound while the service runs: partitions must not be given
 * up under an open transaction. */
static bool settle(struct service *s, int64_t until_ns)
{
    bool in_time = true;
    committer_hurry(s->committer, true);
    for (;;) {
        int64_t slice = clock_ns() + 100000000;
        if (stopping()) /* from here on everything that waits for brokers is bounded */
            start_drain(s);
        atomic_store(&s->tick_ns, clock_ns());
        if (pipeline_wait_idle(s->pipeline, committer_busy, s->committer, slice))
            break;
        if (in_time && (clock_ns() > until_ns || atomic_load(&stop_requests) > 1)) {
            in_time = false;
            committer_fail_epoch(s->committer, s->epoch);
        }
        if (!in_time && !keep_going(s)) {
            /* A second signal: a moment for the abort, so that readers are not held up. */
            (void)pipeline_wait_idle(s->pipeline, committer_busy, s->committer,
                                     clock_ns() + 1000000000);
            break;
        }
    }
    committer_hurry(s->committer, false);
    return in_time;
}

static void on_revoke(void *arg, bool lost)
{
    struct service *s = arg;
    atomic_store(&s->joined, false);
    if (!s->committer)
        return;
    if (lost) {
        drop_current(s);
        committer_fail_epoch(s->committer, s->epoch);
    } else if (s->current && s->current->fill.records) {
        submit(s, CLOSE_REVOKE);
    }
    (void)settle(s, clock_ns() + s->cfg->drain_timeout_ns);
}

static void on_assigned(void *arg, int n)
{
    struct service *s = arg;
    (void)n;
    drop_current(s);
    s->epoch++; /* whatever failed before, these partitions start at what is committed */
    atomic_store(&s->joined, true);
}

/* After a failed group: back to the committed offsets, slowly when it keeps failing. */
static void rewind_input(struct service *s)
{
    struct err err;
    int failures = committer_failures(s->committer);
    drop_current(s);
    (void)settle(s, 0);
    int64_t until = clock_ns() + (failures > 6 ? 5000 : 50 << failures) * INT64_C(1000000);
    struct record r;
    while (clock_ns() < until && !stopping())
        (void)kafka_in_poll(s->in, false, 20, &r);
    if (committer_failed_epoch(s->committer) < s->epoch)
        return; /* a rebalance meanwhile did it */
    if (kafka_in_rewind(s->in, &err) != 0) {
        log_warn("rewind-waits", "%s", err.msg);
        return; /* the loop comes back here */
    }
    s->epoch++;
    log_info("rewound", "reading again from the committed offsets");
}

static void poll_once(struct service *s)
{
    struct record r;
    int64_t now = clock_ns();
    atomic_store(&s->tick_ns, now);
    if (committer_failed_epoch(s->committer) >= s->epoch && kafka_in_joined(s->in)) {
        rewind_input(s);
        return;
    }
    if (!s->current)
        s->current = pipeline_get(s->pipeline);
    static const struct batch_fill empty;
    const struct batch_fill *fill = s->current ? &s->current->fill : &empty;
    int64_t wait = batcher_wait(&s->limits, fill, now, 50000000);
    bool got = kafka_in_poll(s->in, s->current != NULL,
                             s->current ? (int)((wait + 999999) / 1000000) : 5, &r);
    if (got) {
        while (!s->current) { /* a rebalance inside poll took the batch away */
            s->current = pipeline_get(s->pipeline);
            if (!s->current)
                (void)poll(NULL, 0, 1);
        }
        atomic_store(&s->filling, true);
        now = clock_ns();
        work_add(s->current, &r, s->codec, s->cfg, s->max_tokens);
    }
    if (s->current) {
        int64_t after = clock_ns();
        if (got)
            s->current->decode_ns += after - now;
        enum close_reason why = batcher_close(&s->limits, &s->current->fill, after);
        if (why != CLOSE_NOT)
            submit(s, why);
    }
}

/* Nothing read and not yet committed. */
static bool all_done(struct service *s)
{
    return kafka_in_at_end(s->in) && !atomic_load(&s->filling) &&
           pipeline_in_flight(s->pipeline) == 0 && !committer_busy(s->committer) &&
           committer_failed_epoch(s->committer) < s->epoch;
}

static bool drain(struct service *s)
{
    int64_t until = clock_ns() + s->cfg->drain_timeout_ns;
    log_info("draining", "finishing what is in flight, at most %lld ms",
             (long long)(s->cfg->drain_timeout_ns / 1000000));
    start_drain(s);
    until = atomic_load(&s->drain_until_ns);
    if (s->current && s->current->fill.records)
        submit(s, CLOSE_SHUTDOWN);
    else
        drop_current(s);
    return settle(s, until) && committer_failed_epoch(s->committer) < s->epoch;
}

static bool live(void *arg, struct buf *body)
{
    struct service *s = arg;
    int64_t now = clock_ns(), poll_age = now - atomic_load(&s->tick_ns);
    int64_t commit_age = atomic_load(&s->started) ? now - committer_tick_ns(s->committer) : 0;
    if (poll_age >= LIVE_WITHIN_NS)
        buf_printf(body, "the poll loop has not turned over for %lld s\n",
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
    if (stopping())
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

static void metrics(void *arg, struct buf *body)
{
    struct service *s = arg;
    struct buf unused;
    buf_init(&unused, 4096);
    (void)ready(s, &unused);
    buf_done(&unused);
    metrics_write(body);
    (void)pthread_mutex_lock(&s->lock);
    struct served *now = s->served ? served_hold(s->served) : pipeline_served(s->pipeline);
    (void)pthread_mutex_unlock(&s->lock);
    const struct model_info *info = now->info;
    metric_header(body, "rubric_model_info", "gauge", "The model that classifies.");
    buf_puts(body, "rubric_model_info{name=\"");
    metric_label(body, info->name);
    buf_puts(body, "\",version=\"");
    metric_label(body, info->version);
    buf_printf(body, "\",sha256=\"%s\",family=\"%s\"} 1\n", info->sha256, info->family);
    served_release(now);
    metric_header(body, "rubric_build_info", "gauge", "The program.");
    buf_printf(body, "rubric_build_info{version=\"%s\"} 1\n", RUBRIC_VERSION);
    if (atomic_load(&s->started))
        kafka_in_metrics(s->in, body);
}

/* One question at a time: the cores belong to the headlines on the topic. */
static unsigned classify(void *arg, const char *body, size_t len, struct buf *reply)
{
    struct service *s = arg;
    if (!atomic_load(&s->started) || stopping()) {
        ask_error(reply, stopping() ? "draining" : "starting");
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
    if (stopping()) {
        ask_error(reply, "draining");
    } else {
        struct served *now = pipeline_served(s->pipeline);
        status = ask_answer(now, s->cfg->max_title_bytes, body, len, reply);
        served_release(now);
    }
    (void)pthread_mutex_unlock(&s->asked);
    return status;
}

static void say_missing(struct service *s, const char *text)
{
    (void)pthread_mutex_lock(&s->lock);
    (void)snprintf(s->missing, sizeof s->missing, "%s", text);
    (void)pthread_mutex_unlock(&s->lock);
}

/* Waits until every topic exists; logs a line when what is missing changes. -1 when told to stop.
 */
static int wait_for_topics(struct service *s, struct err *err)
{
    const struct model_info *info = s->served->info;
    char last[1000] = "";
    while (!stopping()) {
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
        say_missing(s, text);
        if (!text[0])
            return 0;
        if (strcmp(text, last) != 0)
            log_warn("waiting-for-topics", "%s; trying again every %d ms", text, TOPICS_EVERY_MS);
        memcpy(last, text, sizeof last);
        for (int i = 0; i < TOPICS_EVERY_MS / 50 && !stopping(); i++)
            (void)poll(NULL, 0, 50);
    }
    return err_set(err, ERR_CANCELLED, "stopped while waiting to start");
}

static int open_model(struct service *s, struct err *err)
{
    int64_t begin = clock_ns();
    struct model *m;
    char stale[LOAD_STALE] = "";
    if (load_model(s->cfg->options, !s->cfg->allow_new_labels, &m, stale, err) != 0)
        return -1;
    s->served = served_new(m);
    if (stale[0])
        log_warn("model-from-cache", "%s; starting with the version that was in service last",
                 stale);
    double seconds = (double)(clock_ns() - begin) * 1e-9;
    const struct model_info *info = s->served->info;
    metric_set(M_MODEL_LOAD_SECONDS, seconds);
    log_info("model-loaded", "%s %s version %s, %d labels, %s, %.1f MB of weights, %.3f s",
             info->family, info->name, info->version, info->n_labels,
             precision_name(info->precision), (double)info->weights_bytes / 1e6, seconds);
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

static int start(struct service *s, struct err *err)
{
    const struct config *cfg = s->cfg;
    if (open_model(s, err) != 0 || check_labels(s, err) != 0)
        return -1;
    if (cfg->http) {
        struct http_routes routes = {live, ready, metrics, classify, ASK_MAX_BYTES, s};
        if (http_open(cfg->http, &routes, &s->http, err) != 0)
            return -1;
        log_info("http-listening", "port %d", http_port(s->http));
    }
    if (wait_for_topics(s, err) != 0)
        return -1;
    struct kafka_in_events events = {on_revoke, on_assigned, keep_waiting, s};
    if (kafka_in_open(cfg, &events, &s->in, err) != 0)
        return -1;
    s->codec = codec_open(cfg->wire_in, cfg->max_headlines, 64u << 20);
    codec_allow(s->codec, cfg->schema_ids_in, cfg->n_schema_ids_in);
    s->pipeline = pipeline_open(served_hold(s->served), cfg);
    if (!s->pipeline)
        return err_set(err, ERR_IO, "cannot start inference threads");
    s->committer =
        committer_open(cfg, s->served->info, s->pipeline, s->in, is_filling, keep_going, s, err);
    if (!s->committer)
        return -1;
    s->max_tokens = s->served->info->max_tokens;
    (void)pthread_mutex_lock(&s->lock);
    served_release(s->served);
    s->served = NULL;
    (void)pthread_mutex_unlock(&s->lock);
    if (watch_open(cfg, s->pipeline, &s->watch, err) != 0)
        return -1;
    atomic_store(&s->started, true);
    log_info("running", "%s from %s to %s, group %s, %d inference thread(s)",
             cfg->exactly_once ? "exactly once" : "at least once", cfg->input, cfg->output,
             cfg->group, cfg->threads);
    return 0;
}

static void say_summary(const struct service *s)
{
    struct committer_totals t = committer_totals(s->committer);
    double seconds = t.last_ns > t.first_ns ? (double)(t.last_ns - t.first_ns) * 1e-9 : 0;
    double per_txn = t.transactions ? (double)t.records / (double)t.transactions : 0;
    log_info("totals", "%lld record(s), %lld headline(s), %lld transaction(s)",
             (long long)t.records, (long long)t.headlines, (long long)t.transactions);
    if (s->cfg->stop_at_end) {
        (void)printf("{\"event\":\"summary\",\"records\":%lld,\"headlines\":%lld,\"seconds\":%.6f,"
                     "\"records_per_s\":%.1f,"
                     "\"transactions\":%lld,\"records_per_transaction\":%.1f}\n",
                     (long long)t.records, (long long)t.headlines, seconds,
                     seconds > 0 ? (double)t.records / seconds : 0, (long long)t.transactions,
                     per_txn);
        (void)fflush(stdout);
    }
}

static void finish(struct service *s)
{
    /* Leaving the group calls on_revoke, which settles with the commit thread: it must still be
     * there. */
    kafka_in_leave(s->in);
    http_close(s->http);
    watch_close(s->watch);
    committer_close(s->committer);
    if (s->pipeline) {
        drop_current(s);
        struct work *w;
        while ((w = pipeline_take(s->pipeline, 0)))
            pipeline_put(s->pipeline, w);
    }
    pipeline_close(s->pipeline);
    kafka_in_close(s->in);
    codec_close(s->codec);
    served_release(s->served);
    metrics_done();
}

int run_service(const struct config *cfg, struct err *err)
{
    struct service s = {.cfg = cfg, .epoch = 1};
    s.limits = (struct batch_limits){cfg->batch_titles, cfg->batch_tokens, cfg->batch_bytes,
                                     cfg->batch_age_ns};
    (void)pthread_mutex_init(&s.lock, NULL);
    (void)pthread_mutex_init(&s.asked, NULL);
    atomic_store(&s.tick_ns, clock_ns());
    int rc = start(&s, err);
    if (rc == 0) {
        while (!stopping() && !kafka_in_failed(s.in) && !(cfg->stop_at_end && all_done(&s)))
            poll_once(&s);
        if (kafka_in_failed(s.in))
            rc = err_set(err, ERR_UNAVAILABLE, "the consumer has failed for good");
        bool drained = drain(&s);
        say_summary(&s);
        if (!drained) {
            /* Brokers do not answer, or a second signal came: cleaning up could block beyond the
             * bound. Nothing is lost: what was not committed will be read again. */
            log_error("not-drained",
                      "stopped before everything in flight was committed; it will be read again");
            _exit(EXIT_NOT_DRAINED);
        }
    } else if (stopping()) {
        rc = 0;
    }
    finish(&s);
    (void)pthread_mutex_destroy(&s.asked);
    (void)pthread_mutex_destroy(&s.lock);
    if (rc == 0)
        log_info("stopped", "drained and committed");
    return rc;
}
