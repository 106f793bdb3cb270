/* The output side of kafka.h. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/kafka.h"
#include "worker/kafka_client.h"
#include "worker/kafka_in.h"
#include "worker/kafka_topics.h"
#include "worker/metrics.h"

#define DEFAULT_LIMIT 1000000 /* librdkafka's message.max.bytes */
#define LEAST_LIMIT 1024      /* what a topic must take: see check_limits */

struct topic {
    rd_kafka_topic_t *handle;
    long limit; /* bytes of one record, framing included */
};

struct kafka_out {
    const struct config *cfg;
    struct kafka_in *in;
    rd_kafka_t *rk;
    char *transactional_id;
    char *const *names;
    struct topic *topics;
    int n_topics;
    bool (*keep_going)(void *);
    void *arg;
    /* what delivery reports said since the last begin; commit thread only (reports are served by
     * its calls) */
    rd_kafka_resp_err_t failed;
    bool too_large;
    long assumed_limit; /* of topics whose limit brokers do not tell */
};

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct kafka_out *out = opaque;
    (void)rk;
    if (!m->err || m->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE ||
        m->err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
        return;
    if (!out->failed)
        log_warn("delivery-failed", "%s: %s", rd_kafka_topic_name(m->rkt),
                 rd_kafka_err2str(m->err));
    out->failed = m->err;
    out->too_large |= m->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
}

static bool passed(const struct config *cfg, const char *name)
{
    const char *key, *value;
    for (size_t i = 0; options_passed(cfg->options, i, &key, &value); i++)
        if (strcmp(key, name) == 0)
            return true;
    return false;
}

static int set_number(rd_kafka_conf_t *conf, const char *key, long value, struct err *err)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%ld", value);
    return client_set(conf, key, text, err);
}

static int producer_conf(struct kafka_out *out, rd_kafka_conf_t *conf, struct err *err)
{
    const struct config *cfg = out->cfg;
    long most = 1000, least = DEFAULT_LIMIT;
    for (int i = 0; i < out->n_topics; i++) {
        most = out->topics[i].limit > most ? out->topics[i].limit : most;
        least = out->topics[i].limit < least ? out->topics[i].limit : least;
    }
    /* murmur2: the Java client's partition for the same key. A batch is held to the smallest limit,
     * or brokers would refuse batches of records that each are small enough. */
    if (client_set(conf, "partitioner", "murmur2_random", err) != 0 ||
        client_set(conf, "acks", "all", err) != 0 ||
        client_set(conf, "enable.idempotence", "true", err) != 0 ||
        client_set(conf, "delivery.report.only.error", "true", err) != 0 ||
        (!passed(cfg, "message.max.bytes") &&
         set_number(conf, "message.max.bytes", most, err) != 0) ||
        (!passed(cfg, "batch.size") && set_number(conf, "batch.size", least, err) != 0) ||
        (!passed(cfg, "compression.type") && !passed(cfg, "compression.codec") &&
         client_set(conf, "compression.type", "lz4", err) != 0))
        return -1;
    /* A transaction begun right after a commit is told to come back while the broker still writes
     * its markers: 100 ms, the client's default, would be most of a headline's age. */
    if (!passed(cfg, "retry.backoff.ms") && client_set(conf, "retry.backoff.ms", "10", err) != 0)
        return -1;
    if (!passed(cfg, "queue.buffering.max.kbytes") &&
        client_set(conf, "queue.buffering.max.kbytes", "65536", err) != 0)
        return -1;
    if (!cfg->exactly_once)
        return 0;
    if (client_set(conf, "transactional.id", out->transactional_id, err) != 0)
        return -1;
    return set_number(conf, "transaction.timeout.ms", cfg->transaction_timeout_ms, err);
}

static void drop_producer(struct kafka_out *out)
{
    if (!out->rk)
        return;
    /* What is on its way is waited for, not purged: librdkafka 2.0 frees a purged message again
     * when the answer to its request is a fatal error. */
    (void)rd_kafka_purge(out->rk, RD_KAFKA_PURGE_F_QUEUE);
    (void)rd_kafka_flush(out->rk, 2000);
    for (int i = 0; i < out->n_topics; i++) {
        if (out->topics[i].handle)
            rd_kafka_topic_destroy(out->topics[i].handle);
        out->topics[i].handle = NULL;
    }
    rd_kafka_destroy(out->rk);
    out->rk = NULL;
}

/* Limits of the topics. Where brokers do not tell, a refused size halves what is assumed, so that
 * going round again ends. */
static void ask_limits(struct kafka_out *out)
{
    long *limits = xcalloc((size_t)out->n_topics, sizeof *limits);
    struct err err;
    if (out->too_large && out->assumed_limit > 2000)
        out->assumed_limit /= 2;
    for (int i = 0; i < out->n_topics; i++)
        limits[i] = out->assumed_limit;
    rd_kafka_t *rk = kafka_in_client(out->in);
    if (topic_limits(rk, out->names, out->n_topics, limits, &err) != 0)
        log_info("topic-limits-unknown", "%s; taking %ld bytes", err.msg, out->assumed_limit);
    else
        out->assumed_limit = DEFAULT_LIMIT;
    for (int i = 0; i < out->n_topics; i++)
        out->topics[i].limit = limits[i];
    free(limits);
}

rd_kafka_conf_t *producer_sample_conf(const struct config *cfg, struct err *err)
{
    struct kafka_out out = {.cfg = cfg, .transactional_id = "sample"};
    rd_kafka_conf_t *conf = client_conf(cfg, false, err);
    if (conf && producer_conf(&out, conf, err) != 0) {
        rd_kafka_conf_destroy(conf);
        conf = NULL;
    }
    return conf;
}

/* A dead letter without its value, its own headers, its error text and its key must fit every
 * topic, or one bad record would be gone round for ever. */
static int check_limits(const struct kafka_out *out, struct err *err)
{
    for (int i = 0; i < out->n_topics; i++)
        if (out->topics[i].limit < LEAST_LIMIT)
            return err_set(err, ERR_CONFIG,
                           "topic %s: max.message.bytes is %ld: at least %d are needed",
                           out->names[i], out->topics[i].limit, LEAST_LIMIT);
    return 0;
}

/* A new producer, ready to begin. -1 with err->retriable: brokers do not answer yet. */
static int make_producer(struct kafka_out *out, struct err *err)
{
    drop_producer(out);
    ask_limits(out);
    if (check_limits(out, err) != 0)
        return -1;
    rd_kafka_conf_t *conf = client_conf(out->cfg, false, err);
    if (!conf)
        return -1;
    if (producer_conf(out, conf, err) != 0) {
        rd_kafka_conf_destroy(conf);
        return -1;
    }
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, out);
    out->rk = client_new(RD_KAFKA_PRODUCER, conf, err);
    if (!out->rk)
        return -1;
    for (int i = 0; i < out->n_topics; i++)
        out->topics[i].handle = rd_kafka_topic_new(out->rk, out->names[i], NULL);
    out->failed = RD_KAFKA_RESP_ERR_NO_ERROR;
    out->too_large = false;
    while (out->cfg->exactly_once) {
        rd_kafka_error_t *e = rd_kafka_init_transactions(out->rk, 5000);
        if (!e)
            break;
        bool again = rd_kafka_error_is_retriable(e) != 0;
        (void)err_set(err, ERR_UNAVAILABLE, "init transactions of %s: %s", out->transactional_id,
                      rd_kafka_error_string(e));
        err->retriable = true;
        rd_kafka_error_destroy(e);
        if (!again || !out->keep_going(out->arg))
            return -1;
        (void)poll(NULL, 0, 100);
    }
    return 0;
}

/* make_producer, again and again where brokers may answer later. */
static int make_producer_at_last(struct kafka_out *out, struct err *err)
{
    int wait_ms = 100;
    while (make_producer(out, err) != 0) {
        if (!err->retriable || !out->keep_going(out->arg))
            return -1;
        log_warn("producer-unavailable", "%s; trying again", err->msg);
        (void)poll(NULL, 0, wait_ms);
        wait_ms = wait_ms < 5000 ? 2 * wait_ms : 5000;
    }
    return 0;
}

int kafka_out_rebuild(struct kafka_out *out, struct err *err)
{
    metric_add(M_PRODUCER_REBUILDS, 1);
    return make_producer_at_last(out, err);
}

static char *own_transactional_id(void)
{
    char host[128] = "host", text[256];
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(text, sizeof text, "rubric-%s-%ld-%llx", host, (long)getpid(),
                   (unsigned long long)clock_wall_ms());
    return xstrdup(text);
}

int kafka_out_open(const struct config *cfg, struct kafka_in *in, char *const *topics, int n_topics,
                   bool (*keep_going)(void *), void *arg, struct kafka_out **result,
                   struct err *err)
{
    struct kafka_out *out = xcalloc(1, sizeof *out);
    out->cfg = cfg;
    out->in = in;
    out->names = topics;
    out->n_topics = n_topics;
    out->topics = xcalloc((size_t)n_topics, sizeof *out->topics);
    out->transactional_id =
        cfg->transactional_id ? xstrdup(cfg->transactional_id) : own_transactional_id();
    out->keep_going = keep_going;
    out->arg = arg;
    out->assumed_limit = DEFAULT_LIMIT;
    if (make_producer_at_last(out, err) != 0) {
        kafka_out_close(out);
        return -1;
    }
    *result = out;
    return 0;
}

void kafka_out_close(struct kafka_out *out)
{
    if (!out)
        return;
    drop_producer(out);
    free(out->topics);
    free(out->transactional_id);
    free(out);
}

/* What an error object asks for; takes it over. An error without any flag is treated as fatal, as
 * librdkafka advises. */
static enum kafka_outcome judge(rd_kafka_error_t *e, const char *what, struct err *err)
{
    enum kafka_outcome o = rd_kafka_error_txn_requires_abort(e) ? KAFKA_ABORT : KAFKA_FATAL;
    if (rd_kafka_error_is_fatal(e))
        o = KAFKA_FATAL;
    (void)err_set(err, ERR_UNAVAILABLE, "%s: %s: %s", what, rd_kafka_error_name(e),
                  rd_kafka_error_string(e));
    rd_kafka_error_destroy(e);
    return o;
}

enum kafka_outcome kafka_out_begin(struct kafka_out *out, struct err *err)
{
    out->failed = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!out->rk) {
        (void)err_set(err, ERR_UNAVAILABLE, "there is no producer");
        return KAFKA_FATAL;
    }
    if (!out->cfg->exactly_once)
        return KAFKA_OK;
    rd_kafka_error_t *e = rd_kafka_begin_transaction(out->rk);
    return e ? judge(e, "begin transaction", err) : KAFKA_OK;
}

/* Bytes of a record on the wire, uncompressed: the record batch header (61), varints at their usual
 * most, key, value, headers. */
static size_t wire_size(const struct message *m, rd_kafka_headers_t *headers)
{
    size_t n = 61 + 25 + m->key_len + m->len, len;
    const char *name;
    const void *value;
    for (size_t i = 0; headers && rd_kafka_header_get_all(headers, i, &name, &value, &len) == 0;
         i++)
        n += strlen(name) + len + 8;
    return n;
}

static rd_kafka_headers_t *make_headers(const struct message *m)
{
    rd_kafka_headers_t *all = NULL, *original;
    if (m->original && rd_kafka_message_headers(record_message(m->original), &original) == 0)
        all = rd_kafka_headers_copy(original);
    if (!all)
        all = rd_kafka_headers_new(m->n_headers);
    for (size_t i = 0; i < m->n_headers; i++)
        (void)rd_kafka_header_add(all, m->headers[i].name, -1, m->headers[i].value,
                                  (ssize_t)m->headers[i].len);
    return all;
}

/* What a failed produce call asks for. */
static enum kafka_outcome produce_failed(struct kafka_out *out, rd_kafka_error_t *e,
                                         struct err *err)
{
    char why[256];
    rd_kafka_resp_err_t code = rd_kafka_error_code(e);
    (void)err_set(err, ERR_UNAVAILABLE, "produce: %s", rd_kafka_error_string(e));
    rd_kafka_error_destroy(e);
    if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        return KAFKA_TOO_LARGE;
    return rd_kafka_fatal_error(out->rk, why, sizeof why) ? KAFKA_FATAL : KAFKA_ABORT;
}

enum kafka_outcome kafka_out_send(struct kafka_out *out, const struct message *m, struct err *err)
{
    struct topic *t = &out->topics[m->topic];
    rd_kafka_headers_t *headers = make_headers(m);
    size_t size = wire_size(m, headers);
    if (size > (size_t)t->limit) {
        rd_kafka_headers_destroy(headers);
        (void)err_set(err, ERR_FORMAT, "%zu bytes, over the limit of topic %s, %ld", size,
                      out->names[m->topic], t->limit);
        return KAFKA_TOO_LARGE;
    }
    rd_kafka_vu_t v[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = t->handle},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(size_t)m->value, m->len}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(size_t)m->key, m->key_len}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = m->timestamp_ms > 0 ? m->timestamp_ms : 0},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    for (;;) {
        rd_kafka_error_t *e = rd_kafka_produceva(out->rk, v, sizeof v / sizeof *v);
        if (!e)
            return KAFKA_OK; /* the client owns the headers now */
        if (rd_kafka_error_code(e) == RD_KAFKA_RESP_ERR__QUEUE_FULL && !out->failed) {
            rd_kafka_error_destroy(e);
            (void)rd_kafka_poll(out->rk, 10);
            continue;
        }
        rd_kafka_headers_destroy(headers);
        return produce_failed(out, e, err);
    }
}

static rd_kafka_topic_partition_list_t *offsets_of(struct source *const *sources, size_t n)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)n);
    for (size_t i = 0; i < n; i++)
        rd_kafka_topic_partition_list_add(list, sources[i]->topic, sources[i]->partition)->offset =
            sources[i]->pending;
    return list;
}

/* Calls that may be repeated are, until the transaction would have timed out anyway. */
#define RETRYING(call)                                                                             \
    for (int64_t until = clock_ns() + (int64_t)out->cfg->transaction_timeout_ms * 1000000;;) {     \
        e = (call);                                                                                \
        if (!e || !rd_kafka_error_is_retriable(e) || rd_kafka_error_txn_requires_abort(e) ||       \
            clock_ns() > until)                                                                    \
            break;                                                                                 \
        rd_kafka_error_destroy(e);                                                                 \
        (void)poll(NULL, 0, 50);                                                                   \
    }

static enum kafka_outcome commit_transaction(struct kafka_out *out,
                                             const rd_kafka_topic_partition_list_t *offsets,
                                             struct err *err)
{
    rd_kafka_error_t *e;
    rd_kafka_consumer_group_metadata_t *group =
        rd_kafka_consumer_group_metadata(kafka_in_client(out->in));
    if (!group) {
        (void)err_set(err, ERR_UNAVAILABLE, "the consumer has no group metadata");
        return KAFKA_ABORT;
    }
    RETRYING(rd_kafka_send_offsets_to_transaction(out->rk, offsets, group, -1))
    rd_kafka_consumer_group_metadata_destroy(group);
    if (e) {
        bool retriable = rd_kafka_error_is_retriable(e) != 0;
        enum kafka_outcome o = judge(e, "send offsets", err);
        return retriable ? KAFKA_ABORT : o;
    }
    RETRYING(rd_kafka_commit_transaction(out->rk, -1))
    if (e) {
        enum kafka_outcome o = judge(e, "commit transaction", err);
        return o;
    }
    return KAFKA_OK;
}

static enum kafka_outcome commit_offsets(struct kafka_out *out,
                                         rd_kafka_topic_partition_list_t *offsets, struct err *err)
{
    char why[256];
    while (rd_kafka_outq_len(out->rk) > 0 && !out->failed && out->keep_going(out->arg))
        (void)rd_kafka_flush(out->rk, 1000);
    if (out->failed || rd_kafka_outq_len(out->rk) > 0) {
        (void)err_set(err, ERR_UNAVAILABLE, "delivery: %s", rd_kafka_err2str(out->failed));
        return out->too_large || rd_kafka_fatal_error(out->rk, why, sizeof why) ? KAFKA_FATAL
                                                                                : KAFKA_ABORT;
    }
    rd_kafka_resp_err_t e = rd_kafka_commit(kafka_in_client(out->in), offsets, 0);
    for (int i = 0; i < offsets->cnt && !e; i++)
        e = offsets->elems[i].err;
    if (!e)
        return KAFKA_OK;
    (void)err_set(err, ERR_UNAVAILABLE, "commit offsets: %s", rd_kafka_err2str(e));
    return KAFKA_ABORT;
}

enum kafka_outcome kafka_out_commit(struct kafka_out *out, struct source *const *sources, size_t n,
                                    struct err *err)
{
    rd_kafka_topic_partition_list_t *offsets = offsets_of(sources, n);
    enum kafka_outcome o = out->cfg->exactly_once ? commit_transaction(out, offsets, err)
                                                  : commit_offsets(out, offsets, err);
    rd_kafka_topic_partition_list_destroy(offsets);
    for (size_t i = 0; i < n && o == KAFKA_OK; i++)
        atomic_store(&sources[i]->committed, sources[i]->pending);
    metric_add_at(M_TRANSACTIONS,
                  o == KAFKA_OK      ? TXN_COMMITTED
                  : o == KAFKA_ABORT ? TXN_ABORTED
                                     : TXN_FATAL,
                  1);
    return o;
}

enum kafka_outcome kafka_out_abort(struct kafka_out *out, struct err *err)
{
    if (!out->cfg->exactly_once) {
        (void)rd_kafka_purge(out->rk, RD_KAFKA_PURGE_F_QUEUE); /* as in drop_producer */
        (void)rd_kafka_flush(out->rk, 2000);
    }
    while (out->cfg->exactly_once) {
        rd_kafka_error_t *e = rd_kafka_abort_transaction(out->rk, -1);
        if (!e)
            break;
        if (!rd_kafka_error_is_retriable(e) || !out->keep_going(out->arg))
            return judge(e, "abort transaction", err);
        log_warn("abort-waits", "%s", rd_kafka_error_string(e));
        rd_kafka_error_destroy(e);
        (void)poll(NULL, 0, 200);
    }
    /* A topic's limit has changed under us: a new producer learns it, or the same batch would fail
     * for ever. */
    return out->too_large ? KAFKA_FATAL : KAFKA_OK;
}

void kafka_out_serve(struct kafka_out *out)
{
    if (out->rk)
        (void)rd_kafka_poll(out->rk, 0);
}
