/* What kafka_in.c, kafka_out.c and kafka_topics.c share: configuration of a librdkafka client.
 * Private to kafka_*.c. */
#ifndef WORKER_KAFKA_CLIENT_H
#define WORKER_KAFKA_CLIENT_H

#include <librdkafka/rdkafka.h>

#include "base/err.h"
#include "worker/config.h"
#include "worker/work.h"

/* Sets one property; the error names it. */
int client_set(rd_kafka_conf_t *conf, const char *key, const char *value, struct err *err);

/* A configuration with brokers, client.id, logging and the passed-through kafka.* pairs; NULL on
 * error. Keys that only the other kind of client knows are left out (consumer: true for the
 * consumer). */
rd_kafka_conf_t *client_conf(const struct config *cfg, bool consumer, struct err *err);

/* The whole configuration of the consumer (kafka_in.c) and of a producer (kafka_out.c). */
rd_kafka_conf_t *consumer_conf(const struct config *cfg, struct err *err);
rd_kafka_conf_t *producer_sample_conf(const struct config *cfg, struct err *err);

/* Creates the client; takes conf over in any case. */
rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct err *err);

/* The record's bytes, headers included, live in the client's message. */
static inline const rd_kafka_message_t *record_message(const struct record *r)
{
    return r->handle;
}

#endif
