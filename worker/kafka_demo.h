/* An embedded stand-in for a broker (librdkafka's mock cluster) with a feeder and a reader, for
 * `rubric-worker demo`. Its transactions are hollow: it shows the path, it proves nothing about
 * delivery. */
#ifndef WORKER_KAFKA_DEMO_H
#define WORKER_KAFKA_DEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct demo_broker;
int demo_broker_open(const char *const *topics, size_t n_topics, int partitions,
                     struct demo_broker **out, struct err *err);
void demo_broker_close(struct demo_broker *b); /* NULL allowed */
const char *demo_broker_address(const struct demo_broker *b);

/* Sends one record to topics[0]; the key is kept by the worker, so the answer can be told by it.
 * One thread. */
int demo_broker_send(struct demo_broker *b, const char *key, const char *value, size_t len,
                     struct err *err);

struct demo_answer {
    char topic[64];
    char key[64];
    char *value; /* NUL-terminated, freed by the caller */
    size_t len;
    int64_t sent_ms; /* timestamp of the headline's record */
};
/* Reads the next record of any topic but topics[0]. false: none within timeout_ms. One thread. */
bool demo_broker_read(struct demo_broker *b, int timeout_ms, struct demo_answer *a);

#endif
