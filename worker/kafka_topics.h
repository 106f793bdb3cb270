/* Questions about topics. Private to kafka_*.c but for kafka_missing_topics (kafka.h). */
#ifndef WORKER_KAFKA_TOPICS_H
#define WORKER_KAFKA_TOPICS_H

#include <librdkafka/rdkafka.h>

#include "base/err.h"

/* limits[i] = max.message.bytes of topics[i], by DescribeConfigs. -1 when brokers refuse or do not
 * answer; limits untouched. */
int topic_limits(rd_kafka_t *rk, char *const *topics, int n, long *limits, struct err *err);

#endif
