/* The poll thread. It owns the consumer and the batch being filled.
 *
 * Start: HTTP port, model and topics (both waited for), consumer, producer, threads.
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
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/kafka.h"
#include "worker/load.h"
#include "worker/metrics.h"
#include "worker/service.h"

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

bool service_stopping(void)
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
        if (service_stopping())
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
    return !service_stopping();
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
        if (service_stopping()) /* from here on everything that waits for brokers is bounded */
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
    while (clock_ns() < until && !service_stopping())
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

static int start(struct service *s, struct err *err)
{
    const struct config *cfg = s->cfg;
    service_say_missing(s, "loading model");
    if (service_listen(s, err) != 0 || service_load(s, err) != 0 ||
        service_wait_for_topics(s, err) != 0)
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
        while (!service_stopping() && !kafka_in_failed(s.in) && !(cfg->stop_at_end && all_done(&s)))
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
    } else if (service_stopping()) {
        rc = 0;
    }
    finish(&s);
    (void)pthread_mutex_destroy(&s.asked);
    (void)pthread_mutex_destroy(&s.lock);
    if (rc == 0)
        log_info("stopped", "drained and committed");
    return rc;
}
