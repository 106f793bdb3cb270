#include "worker/kafka_demo.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/kafka_client.h"

struct demo_broker {
    rd_kafka_t *host; /* the mock cluster lives in a client; it is also the feeder */
    rd_kafka_mock_cluster_t *cluster;
    rd_kafka_t *reader;
    rd_kafka_topic_t *input;
};

static void quiet(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

static int open_reader(struct demo_broker *b, const char *const *topics, size_t n_topics,
                       int partitions, struct err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, quiet);
    if (client_set(conf, "bootstrap.servers", demo_broker_address(b), err) != 0 ||
        client_set(conf, "group.id", "demo-reader", err) != 0 ||
        client_set(conf, "fetch.wait.max.ms", "10", err) != 0 ||
        client_set(conf, "enable.auto.commit", "false", err) != 0) {
        rd_kafka_conf_destroy(conf);
        return -1;
    }
    b->reader = client_new(RD_KAFKA_CONSUMER, conf, err);
    if (!b->reader)
        return -1;
    (void)rd_kafka_poll_set_consumer(b->reader);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (size_t t = 1; t < n_topics; t++)
        for (int p = 0; p < partitions; p++)
            rd_kafka_topic_partition_list_add(list, topics[t], p)->offset =
                RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_resp_err_t e = rd_kafka_assign(b->reader, list);
    rd_kafka_topic_partition_list_destroy(list);
    return e ? err_set(err, ERR_UNAVAILABLE, "demo reader: %s", rd_kafka_err2str(e)) : 0;
}

int demo_broker_open(const char *const *topics, size_t n_topics, int partitions,
                     struct demo_broker **out, struct err *err)
{
    struct demo_broker *b = xcalloc(1, sizeof *b);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, quiet);
    if (client_set(conf, "test.mock.num.brokers", "1", err) != 0) {
        rd_kafka_conf_destroy(conf);
        free(b);
        return -1;
    }
    b->host = client_new(RD_KAFKA_PRODUCER, conf, err);
    b->cluster = b->host ? rd_kafka_handle_mock_cluster(b->host) : NULL;
    if (!b->cluster) {
        demo_broker_close(b);
        return err_set(err, ERR_UNAVAILABLE, "this librdkafka has no mock cluster");
    }
    for (size_t t = 0; t < n_topics; t++)
        (void)rd_kafka_mock_topic_create(b->cluster, topics[t], partitions, 1);
    b->input = rd_kafka_topic_new(b->host, topics[0], NULL);
    if (open_reader(b, topics, n_topics, partitions, err) != 0) {
        demo_broker_close(b);
        return -1;
    }
    *out = b;
    return 0;
}

void demo_broker_close(struct demo_broker *b)
{
    if (!b)
        return;
    if (b->reader) {
        (void)rd_kafka_consumer_close(b->reader);
        rd_kafka_destroy(b->reader);
    }
    if (b->input)
        rd_kafka_topic_destroy(b->input);
    if (b->host)
        rd_kafka_destroy(b->host); /* the cluster goes with it */
    free(b);
}

const char *demo_broker_address(const struct demo_broker *b)
{
    return rd_kafka_mock_cluster_bootstraps(b->cluster);
}

int demo_broker_send(struct demo_broker *b, const char *key, const char *value, size_t len,
                     struct err *err)
{
    int rc = rd_kafka_produce(b->input, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY,
                              (void *)(size_t)value, len, key, strlen(key), NULL);
    (void)rd_kafka_poll(b->host, 0);
    return rc ? err_set(err, ERR_UNAVAILABLE, "demo feeder: %s",
                        rd_kafka_err2str(rd_kafka_last_error()))
              : 0;
}

bool demo_broker_read(struct demo_broker *b, int timeout_ms, struct demo_answer *a)
{
    rd_kafka_message_t *m = rd_kafka_consumer_poll(b->reader, timeout_ms);
    bool got = m && !m->err && m->payload;
    if (got) {
        rd_kafka_timestamp_type_t kind;
        (void)snprintf(a->topic, sizeof a->topic, "%s", rd_kafka_topic_name(m->rkt));
        (void)snprintf(a->key, sizeof a->key, "%.*s", m->key ? (int)m->key_len : 0,
                       m->key ? (char *)m->key : "");
        a->value = xmalloc(m->len + 1);
        memcpy(a->value, m->payload, m->len);
        a->value[m->len] = '\0';
        a->len = m->len;
        a->sent_ms = rd_kafka_message_timestamp(m, &kind);
    }
    if (m)
        rd_kafka_message_destroy(m);
    return got;
}
