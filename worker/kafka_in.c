/* The input side of kafka.h. */
#include <pthread.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/kafka.h"
#include "worker/kafka_client.h"
#include "worker/kafka_in.h"
#include "worker/metrics.h"

/* Assigning again stops the old fetch at some later moment, and stopping takes the forwarding away:
 * it is renewed this often (harmless when it stands). */
#define FORWARD_EVERY_NS 100000000

/* Events (rebalances, errors) are looked after at least this often while records flow. */
#define SERVE_EVERY_NS 2000000

struct kafka_in {
    rd_kafka_t *rk;
    rd_kafka_queue_t
        *records; /* the partitions' queues are forwarded here, apart from the consumer's events */
    struct kafka_in_events events;
    int64_t from; /* RD_KAFKA_OFFSET_BEGINNING or _END, for partitions without a committed offset */
    bool joined;  /* an assignment was received (maybe of no partition) and not given back */
    bool left, failed;
    int64_t served_ns, forwarded_ns;
    rd_kafka_message_t *held; /* a record that came with the events while none was wanted */
    pthread_mutex_t lock;     /* guards sources for kafka_in_metrics */
    struct source **sources;
    size_t n_sources;
    struct source *last;
};

rd_kafka_t *kafka_in_client(struct kafka_in *in)
{
    return in->rk;
}

/* The source of a partition, made on first sight. Pointers stay valid until close. */
static struct source *source_of(struct kafka_in *in, const char *topic, int32_t partition)
{
    /* Records come in runs of one partition: try the last hit first. */
    for (size_t i = 0; i <= in->n_sources; i++) {
        struct source *s = i == 0 ? in->last : in->sources[i - 1];
        if (s && s->partition == partition && strcmp(s->topic, topic) == 0)
            return in->last = s;
    }
    struct source *s = xcalloc(1, sizeof *s);
    s->topic = xstrdup(topic);
    s->partition = partition;
    (void)snprintf(s->partition_text, sizeof s->partition_text, "%d", partition);
    s->pending = -1;
    atomic_init(&s->committed, -1);
    atomic_init(&s->position, RD_KAFKA_OFFSET_INVALID);
    (void)pthread_mutex_lock(&in->lock);
    in->sources = xrealloc(in->sources, (in->n_sources + 1) * sizeof *in->sources);
    in->sources[in->n_sources++] = s;
    (void)pthread_mutex_unlock(&in->lock);
    return s;
}

/* Committed offsets of parts, from the group coordinator; an unfinished transaction of a
 * predecessor is waited for (the broker answers only with stable offsets). -1 after `tries` seconds
 * or so. */
static int fetch_committed(struct kafka_in *in, rd_kafka_topic_partition_list_t *parts, int tries,
                           struct err *err)
{
    for (int i = 0; i < tries && (i == 0 || in->events.keep_waiting(in->events.arg)); i++) {
        for (int p = 0; p < parts->cnt; p++)
            parts->elems[p].offset = RD_KAFKA_OFFSET_INVALID;
        int64_t begin = clock_ns();
        rd_kafka_resp_err_t e = rd_kafka_committed(in->rk, parts, 1000);
        for (int p = 0; p < parts->cnt && !e; p++)
            e = parts->elems[p].err;
        if (!e)
            return 0;
        (void)err_set(err, ERR_UNAVAILABLE, "committed offsets of group: %s", rd_kafka_err2str(e));
        err->retriable = true;
        int64_t spent_ms = (clock_ns() - begin) / 1000000;
        if (spent_ms < 1000 && i + 1 < tries)
            (void)poll(NULL, 0, (int)(200 < 1000 - spent_ms ? 200 : 1000 - spent_ms));
    }
    return -1;
}

/* Sets where each partition starts: the committed offset, else what was committed in this process
 * (a broker without a group store), else the start of this assignment, else the configured end of
 * the log. */
static int64_t starting_point(const struct kafka_in *in, const struct source *s, int64_t committed,
                              bool again)
{
    if (committed >= 0)
        return committed;
    int64_t ours = atomic_load(&((struct source *)(size_t)s)->committed);
    if (again && ours >= 0)
        return ours;
    return again ? s->start : in->from;
}

static void forward_queues(struct kafka_in *in, const rd_kafka_topic_partition_list_t *parts)
{
    for (int i = 0; i < parts->cnt; i++) {
        rd_kafka_queue_t *q =
            rd_kafka_queue_get_partition(in->rk, parts->elems[i].topic, parts->elems[i].partition);
        if (q) {
            rd_kafka_queue_forward(q, in->records);
            rd_kafka_queue_destroy(q);
        }
    }
}

static void on_assign(struct kafka_in *in, rd_kafka_topic_partition_list_t *parts)
{
    struct err err;
    bool known = parts->cnt == 0 || fetch_committed(in, parts, 60, &err) == 0;
    if (!known)
        log_warn("offsets-unknown", "%s; leaving it to the client", err.msg);
    for (int i = 0; i < parts->cnt; i++) {
        rd_kafka_topic_partition_t *p = &parts->elems[i];
        struct source *s = source_of(in, p->topic, p->partition);
        p->offset = known ? starting_point(in, s, p->offset, false) : RD_KAFKA_OFFSET_STORED;
        s->start = p->offset;
        s->assigned = true;
        s->at_end = false;
        atomic_store(&s->committed, -1);
        atomic_store(&s->position, p->offset);
    }
    /* Before the fetch starts: what arrived on the consumer's own queue first would be read out of
     * order with what follows on ours. */
    forward_queues(in, parts);
    rd_kafka_resp_err_t e = rd_kafka_assign(in->rk, parts);
    if (e)
        log_error("assign-failed", "%s", rd_kafka_err2str(e));
    forward_queues(in, parts);
    in->joined = true;
    metric_add_at(M_REBALANCES, REBALANCE_ASSIGNED, 1);
    metric_set(M_PARTITIONS_ASSIGNED, parts->cnt);
    log_info("partitions-assigned", "%d partition(s)", parts->cnt);
    in->events.assigned(in->events.arg, parts->cnt);
}

static void on_revoke(struct kafka_in *in, const rd_kafka_topic_partition_list_t *parts)
{
    bool lost = rd_kafka_assignment_lost(in->rk) != 0;
    log_event(lost ? LOG_WARN : LOG_INFO, lost ? "partitions-lost" : "partitions-revoked",
              "%d partition(s)", parts->cnt);
    metric_add_at(M_REBALANCES, lost ? REBALANCE_LOST : REBALANCE_REVOKED, 1);
    in->events.revoke(in->events.arg, lost);
    for (size_t i = 0; i < in->n_sources; i++) {
        in->sources[i]->assigned = false;
        atomic_store(&in->sources[i]->position, RD_KAFKA_OFFSET_INVALID);
        atomic_store(&in->sources[i]->committed, -1);
    }
    if (in->held) {
        rd_kafka_message_destroy(in->held);
        in->held = NULL;
    }
    in->joined = false;
    metric_set(M_PARTITIONS_ASSIGNED, 0);
    rd_kafka_resp_err_t e = rd_kafka_assign(in->rk, NULL);
    if (e)
        log_error("unassign-failed", "%s", rd_kafka_err2str(e));
}

static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t what,
                         rd_kafka_topic_partition_list_t *parts, void *opaque)
{
    (void)rk;
    struct kafka_in *in = opaque;
    if (what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        on_assign(in, parts);
    else
        on_revoke(in, parts);
}

static int subscribe(struct kafka_in *in, const char *topics, struct err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(4);
    char *copy = xstrdup(topics), *save = NULL;
    for (char *t = strtok_r(copy, ",", &save); t; t = strtok_r(NULL, ",", &save))
        (void)rd_kafka_topic_partition_list_add(list, t, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t e = rd_kafka_subscribe(in->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    free(copy);
    return e ? err_set(err, ERR_CONFIG, "subscribe to %s: %s", topics, rd_kafka_err2str(e)) : 0;
}

static const struct {
    const char *key, *value;
} consumer_defaults[] = {
    /* Prefetch: memory stays bounded whatever the lag, but there is more than a second's work of a
     * fast model in it, for a partition whose share is full is not fetched again for a second. */
    {"queued.max.messages.kbytes", "65536"},
    {"queued.min.messages", "200000"},
    {"partition.assignment.strategy", "range"},
};

rd_kafka_conf_t *consumer_conf(const struct config *cfg, struct err *err)
{
    rd_kafka_conf_t *conf = client_conf(cfg, true, err);
    if (!conf)
        return NULL;
    for (size_t i = 0; i < sizeof consumer_defaults / sizeof *consumer_defaults; i++) {
        const char *key, *value;
        bool given = false;
        for (size_t j = 0; options_passed(cfg->options, j, &key, &value); j++)
            given |= strcmp(key, consumer_defaults[i].key) == 0;
        if (!given &&
            client_set(conf, consumer_defaults[i].key, consumer_defaults[i].value, err) != 0)
            goto fail;
    }
    /* auto.offset.reset = error: an offset that is gone must be seen and counted, not skipped over
     * silently. */
    if (client_set(conf, "group.id", cfg->group, err) != 0 ||
        client_set(conf, "enable.auto.commit", "false", err) != 0 ||
        client_set(conf, "enable.auto.offset.store", "false", err) != 0 ||
        client_set(conf, "isolation.level", "read_committed", err) != 0 ||
        client_set(conf, "auto.offset.reset", "error", err) != 0 ||
        client_set(conf, "enable.partition.eof", cfg->stop_at_end ? "true" : "false", err) != 0)
        goto fail;
    return conf;
fail:
    rd_kafka_conf_destroy(conf);
    return NULL;
}

int kafka_in_open(const struct config *cfg, const struct kafka_in_events *events,
                  struct kafka_in **out, struct err *err)
{
    rd_kafka_conf_t *conf = consumer_conf(cfg, err);
    if (!conf)
        return -1;
    struct kafka_in *in = xcalloc(1, sizeof *in);
    in->events = *events;
    in->from = RD_KAFKA_OFFSET_BEGINNING;
    const char *key, *value;
    for (size_t i = 0; options_passed(cfg->options, i, &key, &value); i++)
        if (strcmp(key, "auto.offset.reset") == 0 && strcmp(value, "latest") == 0)
            in->from = RD_KAFKA_OFFSET_END;
    (void)pthread_mutex_init(&in->lock, NULL);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_opaque(conf, in);
    in->rk = client_new(RD_KAFKA_CONSUMER, conf, err);
    if (!in->rk) {
        free(in);
        return -1;
    }
    (void)rd_kafka_poll_set_consumer(in->rk);
    in->records = rd_kafka_queue_new(in->rk);
    if (subscribe(in, cfg->input, err) != 0) {
        kafka_in_close(in);
        return -1;
    }
    *out = in;
    return 0;
}

void kafka_in_leave(struct kafka_in *in)
{
    if (!in || in->left)
        return;
    if (in->held)
        rd_kafka_message_destroy(in->held);
    in->held = NULL;
    (void)rd_kafka_consumer_close(in->rk);
    in->left = true;
}

void kafka_in_close(struct kafka_in *in)
{
    if (!in)
        return;
    kafka_in_leave(in);
    rd_kafka_queue_destroy(in->records);
    rd_kafka_destroy(in->rk);
    for (size_t i = 0; i < in->n_sources; i++) {
        free(in->sources[i]->topic);
        free(in->sources[i]);
    }
    free(in->sources);
    (void)pthread_mutex_destroy(&in->lock);
    free(in);
}

/* Assigns the same partitions again, each at its offset in parts. One path for every start:
 * prefetched records that no longer fit are dropped by it, and a partition that stopped on an error
 * fetches again (seeking would be refused there). */
static rd_kafka_resp_err_t assign_again(struct kafka_in *in,
                                        const rd_kafka_topic_partition_list_t *parts)
{
    if (in->held)
        rd_kafka_message_destroy(in->held);
    in->held = NULL;
    rd_kafka_resp_err_t e = rd_kafka_assign(in->rk, parts);
    forward_queues(in, parts);
    return e;
}

static rd_kafka_topic_partition_list_t *assigned_partitions(const struct kafka_in *in)
{
    rd_kafka_topic_partition_list_t *parts = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < in->n_sources; i++) {
        struct source *s = in->sources[i];
        if (!s->assigned)
            continue;
        int64_t at = atomic_load(&s->position);
        rd_kafka_topic_partition_list_add(parts, s->topic, s->partition)->offset =
            at >= 0 ? at : s->start;
    }
    return parts;
}

/* The next record of a partition is gone from the broker (retention, deletion): say so and go on
 * with what is there. */
static void out_of_range(struct kafka_in *in, const rd_kafka_message_t *m)
{
    const char *topic = m->rkt ? rd_kafka_topic_name(m->rkt) : "?";
    metric_add(M_OFFSETS_OUT_OF_RANGE, 1);
    log_error("offset-out-of-range", "%s [%d]: %s; going on at the %s", topic, m->partition,
              rd_kafka_message_errstr(m),
              in->from == RD_KAFKA_OFFSET_BEGINNING ? "beginning" : "end");
    if (!m->rkt)
        return;
    struct source *s = source_of(in, topic, m->partition);
    s->start = in->from;
    atomic_store(&s->position, in->from);
    rd_kafka_topic_partition_list_t *parts = assigned_partitions(in);
    rd_kafka_resp_err_t e = assign_again(in, parts);
    rd_kafka_topic_partition_list_destroy(parts);
    if (e)
        log_error("assign-failed", "%s", rd_kafka_err2str(e));
}

/* A message without a record: an event. */
static void on_error(struct kafka_in *in, const rd_kafka_message_t *m)
{
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (m->rkt)
            source_of(in, rd_kafka_topic_name(m->rkt), m->partition)->at_end = true;
    } else if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
               m->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE) {
        out_of_range(in, m);
    } else {
        in->failed |= m->err == RD_KAFKA_RESP_ERR__FATAL;
        metric_add(M_KAFKA_ERRORS, 1);
        log_warn("consumer-error", "%s: %s", rd_kafka_err2name(m->err), rd_kafka_message_errstr(m));
    }
}

static bool take(struct kafka_in *in, rd_kafka_message_t *m, struct record *r)
{
    if (!m)
        return false;
    if (m->err) {
        on_error(in, m);
        rd_kafka_message_destroy(m);
        return false;
    }
    rd_kafka_timestamp_type_t kind;
    *r = (struct record){
        .value = m->payload,
        .len = m->len,
        .key = m->key,
        .key_len = m->key_len,
        .timestamp_ms = rd_kafka_message_timestamp(m, &kind),
        .offset = m->offset,
        .handle = m,
    };
    r->source = source_of(in, rd_kafka_topic_name(m->rkt), m->partition);
    if (!r->source->assigned) { /* fetched before the partition was given up */
        kafka_record_free(r);
        return false;
    }
    r->source->at_end = false;
    if (r->source->start < 0) /* the end of the log moves: going back must come here again */
        r->source->start = m->offset;
    atomic_store_explicit(&r->source->position, m->offset + 1, memory_order_relaxed);
    metric_add(M_RECORDS_CONSUMED, 1);
    return true;
}

bool kafka_in_poll(struct kafka_in *in, bool want, int timeout_ms, struct record *r)
{
    if (want && in->held) {
        rd_kafka_message_t *m = in->held;
        in->held = NULL;
        if (take(in, m, r))
            return true;
    }
    int64_t now = clock_ns();
    if ((!want || now - in->served_ns >= SERVE_EVERY_NS) && !in->held) {
        in->served_ns = now;
        if (in->joined && now - in->forwarded_ns >= FORWARD_EVERY_NS) {
            rd_kafka_topic_partition_list_t *parts = assigned_partitions(in);
            forward_queues(in, parts);
            rd_kafka_topic_partition_list_destroy(parts);
            in->forwarded_ns = now;
        }
        rd_kafka_message_t *m = rd_kafka_consumer_poll(in->rk, want ? 0 : timeout_ms);
        if (m && !m->err && !want)
            in->held = m;
        else if (take(in, m, r))
            return true;
    } else if (!want) {
        (void)poll(NULL, 0, timeout_ms < 1 ? 1 : timeout_ms); /* holding one record back already */
    }
    return want && take(in, rd_kafka_consume_queue(in->records, timeout_ms), r);
}

int kafka_in_rewind(struct kafka_in *in, struct err *err)
{
    rd_kafka_topic_partition_list_t *parts = assigned_partitions(in);
    int rc = parts->cnt > 0 ? fetch_committed(in, parts, 2, err) : 0;
    for (int i = 0; i < parts->cnt && rc == 0; i++) {
        rd_kafka_topic_partition_t *p = &parts->elems[i];
        struct source *s = source_of(in, p->topic, p->partition);
        p->offset = starting_point(in, s, p->offset, true);
        s->at_end = false;
        atomic_store(&s->position, p->offset);
    }
    rd_kafka_resp_err_t e = rc == 0 && parts->cnt > 0 ? assign_again(in, parts) : 0;
    if (e) {
        rc = err_set(err, ERR_UNAVAILABLE, "assign: %s", rd_kafka_err2str(e));
        err->retriable = true;
    }
    rd_kafka_topic_partition_list_destroy(parts);
    if (rc == 0)
        metric_add(M_REWINDS, 1);
    return rc;
}

bool kafka_in_at_end(const struct kafka_in *in)
{
    for (size_t i = 0; i < in->n_sources; i++)
        if (in->sources[i]->assigned && !in->sources[i]->at_end)
            return false;
    return in->joined;
}

bool kafka_in_failed(const struct kafka_in *in)
{
    return in->failed;
}

bool kafka_in_joined(const struct kafka_in *in)
{
    return in->joined;
}

void kafka_record_free(struct record *r)
{
    if (r->handle)
        rd_kafka_message_destroy(r->handle);
    r->handle = NULL;
}

const void *kafka_record_header(const struct record *r, const char *name, size_t *len)
{
    rd_kafka_headers_t *headers;
    const void *value;
    if (rd_kafka_message_headers(record_message(r), &headers) ||
        rd_kafka_header_get_last(headers, name, &value, len))
        return NULL;
    return value;
}

static void metrics_row(struct buf *out, const char *name, const struct source *s, int64_t value)
{
    buf_printf(out, "%s{topic=\"%s\",partition=\"%d\"} %lld\n", name, s->topic, s->partition,
               (long long)value);
}

void kafka_in_metrics(struct kafka_in *in, struct buf *out)
{
    metric_header(out, "rubric_consumer_lag", "gauge",
                  "Records not yet committed, per input partition of this worker.");
    (void)pthread_mutex_lock(&in->lock);
    for (size_t i = 0; i < in->n_sources; i++) {
        struct source *s = in->sources[i];
        int64_t low, high, at = atomic_load(&s->committed);
        if (rd_kafka_get_watermark_offsets(in->rk, s->topic, s->partition, &low, &high) != 0 ||
            high < 0)
            continue;
        if (at < 0)
            at = atomic_load(&s->position);
        if (at == RD_KAFKA_OFFSET_BEGINNING)
            at = low >= 0 ? low : 0;
        else if (at == RD_KAFKA_OFFSET_END)
            at = high;
        if (at >= 0)
            metrics_row(out, "rubric_consumer_lag", s, high > at ? high - at : 0);
    }
    metric_header(out, "rubric_committed_offset", "gauge",
                  "Next offset after the last commit, per input partition.");
    for (size_t i = 0; i < in->n_sources; i++)
        if (atomic_load(&in->sources[i]->committed) >= 0)
            metrics_row(out, "rubric_committed_offset", in->sources[i],
                        atomic_load(&in->sources[i]->committed));
    (void)pthread_mutex_unlock(&in->lock);
}
