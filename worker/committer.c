#include "worker/committer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/metrics.h"
#include "worker/publish.h"

struct committer {
    const struct config *cfg;
    struct pipeline *pipeline;
    struct kafka_in *in;
    struct kafka_out *out;
    struct publisher *publisher;
    bool (*filling)(void *);
    bool (*keep_going)(void *);
    void *arg;
    pthread_t thread;
    bool started;
    atomic_bool stop, hurry, busy, healthy;
    _Atomic uint64_t failed_epoch;
    _Atomic int64_t tick_ns;
    /* the open transaction; commit thread only */
    bool open;
    struct served *served; /* held: the one model of the open transaction */
    uint64_t epoch;
    int64_t deadline_ns;
    atomic_int failures;           /* in a row */
    struct committer_totals group; /* of the open transaction */
    pthread_mutex_t lock;          /* guards totals */
    struct committer_totals totals;
};

static bool commit_keeps_going(void *arg)
{
    struct committer *c = arg;
    atomic_store(&c->tick_ns, clock_ns());
    return c->keep_going(c->arg);
}

/* failed_epoch only ever grows; both threads raise it. */
static void raise_failed(struct committer *c, uint64_t epoch)
{
    uint64_t now = atomic_load(&c->failed_epoch);
    while (now < epoch && !atomic_compare_exchange_weak(&c->failed_epoch, &now, epoch)) {
    }
    pipeline_drop(c->pipeline, epoch);
}

/* Ends a failed group: whatever it takes, afterwards no transaction is open and the epoch is
 * marked. */
static void give_up(struct committer *c, enum kafka_outcome why, const struct err *cause)
{
    struct err err = *cause;
    log_warn(why == KAFKA_FATAL ? "producer-failed" : "transaction-aborted",
             "%s; %lld record(s) will be read again", cause->msg, (long long)c->group.records);
    raise_failed(c, c->epoch);
    if (c->open && why != KAFKA_FATAL)
        why = kafka_out_abort(c->out, &err);
    if (why == KAFKA_FATAL) {
        atomic_store(&c->healthy, false);
        if (kafka_out_rebuild(c->out, &err) == 0)
            atomic_store(&c->healthy, true);
        else
            log_error("producer-lost", "%s", err.msg);
    }
    publisher_forget(c->publisher);
    c->group = (struct committer_totals){0};
    served_release(c->served);
    c->served = NULL;
    c->open = false;
    atomic_fetch_add(&c->failures, 1);
    atomic_store(&c->busy, false);
    pipeline_nudge(c->pipeline);
}

static void begin(struct committer *c, const struct work *w)
{
    struct err err;
    atomic_store(&c->busy, true);
    c->epoch = w->epoch;
    enum kafka_outcome o = kafka_out_begin(c->out, &err);
    if (o != KAFKA_OK) {
        give_up(c, KAFKA_FATAL,
                &err); /* a transaction that cannot begin leaves the producer unusable */
        return;
    }
    c->open = true;
    c->served = served_hold(w->served);
    c->deadline_ns = clock_ns() + c->cfg->commit_interval_ns;
}

static void add(struct committer *c, struct work *w)
{
    if (c->totals.first_ns == 0) {
        (void)pthread_mutex_lock(&c->lock);
        c->totals.first_ns = w->fill.since_ns;
        (void)pthread_mutex_unlock(&c->lock);
    }
    if (!c->open)
        begin(c, w);
    if (!c->open)
        return;
    struct err err;
    int64_t start = clock_ns();
    enum kafka_outcome o = publisher_send(c->publisher, c->out, w, &err);
    metric_observe(M_STAGE_PRODUCE_SECONDS, (double)(clock_ns() - start) * 1e-9, 1);
    if (o != KAFKA_OK) {
        give_up(c, o, &err);
        return;
    }
    c->group.records += (int64_t)w->n_records;
    c->group.headlines += (int64_t)w->n_items;
}

static void commit(struct committer *c)
{
    struct err err = {0};
    int64_t start = clock_ns();
    size_t n;
    struct source *const *sources = publisher_sources(c->publisher, &n);
    enum kafka_outcome o = kafka_out_commit(c->out, sources, n, &err);
    if (o != KAFKA_OK) {
        give_up(c, o, &err);
        return;
    }
    int64_t now = clock_ns();
    metric_observe(M_STAGE_COMMIT_SECONDS, (double)(now - start) * 1e-9, 1);
    publisher_committed(c->publisher);
    (void)pthread_mutex_lock(&c->lock);
    c->totals.records += c->group.records;
    c->totals.headlines += c->group.headlines;
    c->totals.transactions++;
    c->totals.last_ns = now;
    (void)pthread_mutex_unlock(&c->lock);
    c->group = (struct committer_totals){0};
    served_release(c->served);
    c->served = NULL;
    c->open = false;
    atomic_store(&c->failures, 0);
    atomic_store(&c->busy, false);
    pipeline_nudge(c->pipeline);
}

/* Time to commit: the group is full or old, or nothing more is on its way. */
static bool due(struct committer *c)
{
    if (c->group.headlines >= c->cfg->commit_records || clock_ns() >= c->deadline_ns)
        return true;
    bool more = pipeline_in_flight(c->pipeline) > 0;
    return !more && (atomic_load(&c->hurry) || !c->filling(c->arg));
}

static void *committer_main(void *arg)
{
    struct committer *c = arg;
    static const struct err revoked = {.code = ERR_CANCELLED, .msg = "partitions were given up"};
    while (!atomic_load(&c->stop)) {
        int64_t now = clock_ns();
        atomic_store(&c->tick_ns, now);
        struct work *w =
            pipeline_take(c->pipeline, c->open && c->deadline_ns < now + 50000000 ? c->deadline_ns
                                                                                  : now + 50000000);
        if (w) {
            /* One model, one transaction. A failed epoch's is given up below, as ever. */
            if (c->open && w->served != c->served && c->epoch > atomic_load(&c->failed_epoch))
                commit(c);
            if (w->epoch > atomic_load(&c->failed_epoch)) {
                atomic_store(&c->busy, true); /* before the work counts as no longer in flight */
                add(c, w);
            }
            pipeline_put(c->pipeline, w);
        }
        if (c->open && c->epoch <= atomic_load(&c->failed_epoch))
            give_up(c, KAFKA_ABORT, &revoked);
        else if (c->open && due(c))
            commit(c);
        else if (!c->open)
            kafka_out_serve(c->out);
    }
    if (c->open) {
        struct err err;
        (void)kafka_out_abort(c->out, &err);
        publisher_forget(c->publisher);
    }
    return NULL;
}

struct committer *committer_open(const struct config *cfg, const struct model_info *info,
                                 struct pipeline *p, struct kafka_in *in, bool (*filling)(void *),
                                 bool (*keep_going)(void *), void *arg, struct err *err)
{
    struct committer *c = xcalloc(1, sizeof *c);
    c->cfg = cfg;
    c->pipeline = p;
    c->in = in;
    c->filling = filling;
    c->keep_going = keep_going;
    c->arg = arg;
    (void)pthread_mutex_init(&c->lock, NULL);
    atomic_init(&c->healthy, true);
    c->publisher = publisher_open(cfg, info);
    int n;
    char *const *topics = publisher_topics(c->publisher, &n);
    if (kafka_out_open(cfg, in, topics, n, commit_keeps_going, c, &c->out, err) != 0) {
        committer_close(c);
        return NULL;
    }
    if (pthread_create(&c->thread, NULL, committer_main, c) != 0) {
        (void)err_set(err, ERR_IO, "cannot start the commit thread");
        committer_close(c);
        return NULL;
    }
    c->started = true;
    return c;
}

void committer_close(struct committer *c)
{
    if (!c)
        return;
    atomic_store(&c->stop, true);
    if (c->started) {
        pipeline_nudge(c->pipeline);
        (void)pthread_join(c->thread, NULL);
    }
    served_release(c->served);
    kafka_out_close(c->out);
    publisher_close(c->publisher);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
}

uint64_t committer_failed_epoch(const struct committer *c)
{
    return atomic_load(&c->failed_epoch);
}

int committer_failures(const struct committer *c)
{
    return atomic_load(&c->failures);
}

void committer_fail_epoch(struct committer *c, uint64_t epoch)
{
    raise_failed(c, epoch);
    pipeline_nudge(c->pipeline);
}

void committer_hurry(struct committer *c, bool hurry)
{
    atomic_store(&c->hurry, hurry);
    pipeline_nudge(c->pipeline);
}

bool committer_busy(void *arg)
{
    return atomic_load(&((struct committer *)arg)->busy);
}

int64_t committer_tick_ns(const struct committer *c)
{
    return atomic_load(&c->tick_ns);
}

bool committer_healthy(const struct committer *c)
{
    return atomic_load(&c->healthy);
}

struct committer_totals committer_totals(const struct committer *c)
{
    struct committer *m = (struct committer *)(size_t)c;
    (void)pthread_mutex_lock(&m->lock);
    struct committer_totals t = m->totals;
    (void)pthread_mutex_unlock(&m->lock);
    return t;
}
