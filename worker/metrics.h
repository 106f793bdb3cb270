/* Counters, gauges and histograms of the worker, and their Prometheus text form (version 0.0.4).
 * One table (metrics.c) lists every metric with its help text; updates are relaxed atomics and can
 * be made from any thread. */
#ifndef WORKER_METRICS_H
#define WORKER_METRICS_H

#include <stdint.h>

#include "base/buf.h"

enum metric {
    /* counters without labels */
    M_RECORDS_CONSUMED,
    M_HEADLINES_CLASSIFIED,
    M_HEADLINES_TRUNCATED,
    M_OUTPUTS_PRODUCED,
    M_REVIEWS_PRODUCED,
    M_OFFSETS_OUT_OF_RANGE,
    M_REWINDS,
    M_PRODUCER_REBUILDS,
    M_KAFKA_ERRORS,
    /* counters with one label */
    M_DEAD_LETTERS, /* reason */
    M_BATCHES,      /* close reason */
    M_TRANSACTIONS, /* outcome */
    M_REBALANCES,   /* kind */
    M_PREDICTIONS,  /* category */
    M_MODEL_SWAPS,  /* outcome */
    /* gauges */
    M_PARTITIONS_ASSIGNED,
    M_BATCHES_IN_FLIGHT,
    M_READY,
    M_MODEL_CURRENT,
    M_MODEL_LOAD_SECONDS,
    /* histograms */
    M_BATCH_TITLES,
    M_BATCH_QUEUE_SECONDS,
    M_STAGE_DECODE_SECONDS,
    M_STAGE_CLASSIFY_SECONDS,
    M_STAGE_PRODUCE_SECONDS,
    M_STAGE_COMMIT_SECONDS,
    M_AGE_SECONDS,
    M_CONFIDENCE,
    M_COUNT
};

enum { TXN_COMMITTED, TXN_ABORTED, TXN_FATAL, TXN_OUTCOMES };
enum metric_swap {
    SWAP_DONE,
    SWAP_UNAVAILABLE, /* the registry does not answer */
    SWAP_NO_ALIAS,    /* there is no such alias: never set, or the registry was emptied */
    SWAP_NO_VERSION,  /* the alias names a version that does not exist */
    SWAP_NO_CONTENT, /* the version is there, nothing of its content: published too early, evicted */
    SWAP_INCOMPLETE, /* parts of it are not there */
    SWAP_TRUNCATED,  /* a part is shorter than the manifest says */
    SWAP_CORRUPT,    /* bytes are not what the manifest says */
    SWAP_LABELS,     /* other labels than the model in service has */
    SWAP_UNLOADABLE, /* verified, and still no model */
    SWAP_FAILED,     /* anything else: a full disk */
    SWAP_OUTCOMES
};
enum { REBALANCE_ASSIGNED, REBALANCE_REVOKED, REBALANCE_LOST, REBALANCE_KINDS };

#define METRIC_MAX_LABELS 1000 /* as many values as a label may take (categories) */

/* The place of a category among M_PREDICTIONS' labels: the one it has, or the next; -1 when all are
 * taken (it is then counted in no row). The name is copied. */
int metrics_category(const char *name);
const char *swap_outcome_name(enum metric_swap o);
void metrics_done(void); /* forgets the categories; no other thread may be at work */

void metric_add(enum metric m, int64_t n);
void metric_add_at(enum metric m, int label, int64_t n);
void metric_set(enum metric m, double value);
void metric_observe(enum metric m, double value, int64_t times);
int64_t metric_value_at(enum metric m, int label);
int64_t metric_value(enum metric m); /* a counter or a gauge; for tests and the summary */

/* Appends the whole exposition. The caller appends what it alone knows (lag per partition, model
 * info) with metric_header. */
void metrics_write(struct buf *out);
void metric_label(struct buf *out, const char *value); /* escaped, without the quotes */
void metric_header(struct buf *out, const char *name, const char *type, const char *help);

#endif
