/* Kafka, as the worker needs it. The files kafka_*.c are the only ones of the worker that include
 * librdkafka.
 *
 * Input: one consumer in a group (read committed, no automatic commits, eager assignment). Records
 * arrive on a queue of their own, so that rebalances and errors are served by kafka_in_poll even
 * while no records are wanted: polling never stops, and what was prefetched is kept (pausing would
 * throw it away). Output: one producer. Exactly-once: a transaction holds results, dead letters and
 * the consumer's offsets; whatever goes wrong, the transaction is aborted and the consumer goes
 * back to the committed offsets. At-least-once: results are acknowledged by every replica in sync,
 * then offsets are committed.
 *
 * Threads: kafka_in_* on the poll thread, kafka_out_* on the commit thread; the two share `struct
 * source` as marked. */
#ifndef WORKER_KAFKA_H
#define WORKER_KAFKA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "worker/config.h"
#include "worker/work.h"

/* A partition of an input topic; lives as long as the input. */
struct source {
    char *topic;
    int32_t partition;
    char partition_text[12];
    /* poll thread */
    bool assigned, at_end;
    int64_t start; /* where reading began at the last assignment, RD_KAFKA_OFFSET_BEGINNING (-2) or
                      _END (-1) included */
    _Atomic int64_t position; /* next offset to poll; _BEGINNING or _END: nothing was read yet;
                                 _INVALID (-1001): not ours */
    /* commit thread */
    int64_t pending;           /* next offset of the open group of works; -1: untouched */
    _Atomic int64_t committed; /* next offset after the last commit made here; -1: none */
};

struct kafka_in;
struct kafka_out;

struct kafka_in_events {
    void (*revoke)(
        void *arg,
        bool lost); /* before partitions are given up: finish (or, when lost, drop) all work */
    void (*assigned)(void *arg, int n);
    bool (*keep_waiting)(void *arg); /* asked about once a second while brokers do not answer */
    void *arg;
};

/* Checks that librdkafka accepts every kafka.* key and value. */
int kafka_check(const struct config *cfg, struct err *err);

/* Topics of cfg that the brokers do not have: appends their names, comma-separated, to missing.
 * labels: for {label}. -1: no broker answers. */
int kafka_missing_topics(const struct config *cfg, const char *const *labels, int n_labels,
                         struct buf *missing, struct err *err);

int kafka_in_open(const struct config *cfg, const struct kafka_in_events *events,
                  struct kafka_in **out, struct err *err);
void kafka_in_leave(struct kafka_in *in); /* leaves the group (revoke is called); NULL allowed */
/* Frees everything, leaving first if need be. Producers that use `in` are closed before. NULL
 * allowed. */
void kafka_in_close(struct kafka_in *in);
/* Serves events, then waits at most timeout_ms for a record when `want`. true: *r is a record,
 * owned by the caller. */
bool kafka_in_poll(struct kafka_in *in, bool want, int timeout_ms, struct record *r);
/* Goes back to the committed offsets of all assigned partitions. Retriable while brokers are away.
 */
int kafka_in_rewind(struct kafka_in *in, struct err *err);
bool kafka_in_at_end(
    const struct kafka_in *in); /* assigned, and every partition was read to its end */
/* The consumer has failed for good (a second member with its static identity): only a new process
 * helps. */
bool kafka_in_failed(const struct kafka_in *in);
bool kafka_in_joined(const struct kafka_in *in);
void kafka_record_free(struct record *r);
/* Value of a header of an input record (the last of that name), NULL when absent. Borrowed from the
 * record. */
const void *kafka_record_header(const struct record *r, const char *name, size_t *len);
/* Appends rubric_consumer_lag and the like. Any thread. */
void kafka_in_metrics(struct kafka_in *in, struct buf *out);

struct header {
    const char *name;
    const void *value;
    size_t len;
};

/* A record to produce. */
struct message {
    int topic;         /* index into the topics given to kafka_out_open */
    const void *value; /* NULL: null value */
    size_t len;
    const void *key;
    size_t key_len;
    int64_t timestamp_ms; /* < 0: now */
    const struct header *headers;
    size_t n_headers;
    const struct record *original; /* its headers go first; NULL: none */
};

enum kafka_outcome {
    KAFKA_OK,
    KAFKA_TOO_LARGE, /* kafka_out_send only: the record is over its topic's limit and was not sent
                      */
    KAFKA_ABORT,     /* abort, rewind, begin anew */
    KAFKA_FATAL,     /* rebuild the producer, rewind, begin anew */
};

/* Makes the producer; exactly-once: ends what a predecessor of the same transactional id left open.
 * Waits for brokers; keep_going false asks waiting loops to give up (shutdown). topics[0..n) are
 * all that will be produced to; the array is borrowed for the life of *out. Their size limits
 * (max.message.bytes) are asked for; where brokers do not tell, the client's message.max.bytes
 * holds. */
int kafka_out_open(const struct config *cfg, struct kafka_in *in, char *const *topics, int n_topics,
                   bool (*keep_going)(void *), void *arg, struct kafka_out **out, struct err *err);
void kafka_out_close(struct kafka_out *out); /* NULL allowed */
enum kafka_outcome kafka_out_begin(struct kafka_out *out, struct err *err);
enum kafka_outcome kafka_out_send(struct kafka_out *out, const struct message *m, struct err *err);
/* Offsets (the pending ones of sources[0..n)) and commit. Afterwards committed = pending on
 * success. */
enum kafka_outcome kafka_out_commit(struct kafka_out *out, struct source *const *sources, size_t n,
                                    struct err *err);
enum kafka_outcome kafka_out_abort(struct kafka_out *out, struct err *err);
/* Waits for brokers. -1 when told to give up, or when they answer with what waiting does not mend (a
 * topic's limit is too small now, no permission); then there is no producer, and kafka_out_begin is
 * KAFKA_FATAL until a later call succeeds. */
int kafka_out_rebuild(struct kafka_out *out, struct err *err);
void kafka_out_serve(struct kafka_out *out); /* delivery reports and events; does not block */

#endif
