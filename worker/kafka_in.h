/* For kafka_out.c alone: the group's metadata go with the offsets, and at-least-once commits them
 * on the consumer. */
#ifndef WORKER_KAFKA_IN_H
#define WORKER_KAFKA_IN_H

#include <librdkafka/rdkafka.h>

#include "worker/kafka.h"

rd_kafka_t *kafka_in_client(struct kafka_in *in);

#endif
