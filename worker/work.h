/* What travels through the worker: records as they came, headlines found in them, results to
 * produce.
 *
 *   poll thread      fills a work: records (handles of the Kafka client, not copied), items (titles
 * and ids copied to text) inference thread classifies it: each item gets an encoded result in `out`
 *   commit thread    produces results and dead letters, commits, frees the records, gives the work
 * back A work has one owner at a time and is handed over whole. Order within it is the order
 * records were polled in. */
#ifndef WORKER_WORK_H
#define WORKER_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "models/model.h"
#include "proto/codec.h"
#include "worker/batcher.h"
#include "worker/config.h"
#include "worker/served.h"

/* Why something is a dead letter: values of the header dlq.reason. */
enum reason {
    REASON_NONE,
    REASON_NULL_VALUE,
    REASON_EMPTY_BATCH,
    REASON_MALFORMED,
    REASON_INVALID_UTF8,
    REASON_NUL_IN_TITLE,
    REASON_EMPTY_TITLE,
    REASON_TITLE_TOO_LONG,
    REASON_OUTPUT_TOO_LARGE,
    REASON_COUNT
};
const char *reason_name(enum reason r);

struct source; /* a partition of an input topic; see kafka.h */

struct record {
    const void *value; /* NULL: tombstone */
    size_t len;
    const void *key; /* NULL: no key */
    size_t key_len;
    int64_t timestamp_ms; /* -1: none */
    int64_t offset;
    struct source *source;
    void *handle; /* owns the bytes; kafka_record_free */
};

struct item {
    uint32_t record;                       /* index into records */
    int32_t index;                         /* of the headline in its record */
    enum reason reason;                    /* not NONE: a dead letter */
    uint32_t id, id_len, title, title_len; /* spans of text */
    int64_t published_unix_ms;
    /* filled by classification */
    int32_t label;
    float probability;
    size_t out, out_len; /* span of `out`: the encoded category */
};

struct work {
    uint64_t seq;
    uint64_t epoch; /* the assignment (and rewind) it was read under; an old one is thrown away */
    enum close_reason closed;
    struct served *served; /* held: the model that classifies it, from submission on */
    bool done;             /* classified; guarded by the pipeline's lock */
    int64_t last_close_ns;
    struct batch_fill fill;
    int64_t decode_ns; /* spent in work_add so far */
    struct record *records;
    size_t n_records, cap_records;
    struct item *items;
    size_t n_items, cap_items;
    struct buf text;  /* ids and titles; offsets, because it moves while growing */
    struct buf notes; /* NUL-terminated decode errors; a malformed item has its offset in `title` */
    struct buf out;
    struct work *next;
};

void work_init(struct work *w);
void work_done(struct work *w);  /* memory only; records must have been freed */
void work_reset(struct work *w); /* for reuse, memory kept */

/* Decodes a record into w: it takes the record over. Bad headlines become items with a reason. Poll
 * thread only. */
void work_add(struct work *w, const struct record *r, struct codec *codec, const struct config *cfg,
              int32_t max_tokens);

/* Per thread: scratch memory for the model of the last work; another one is made when a work comes
 * with another model. */
struct classifier;
struct classifier *classifier_open(const struct config *cfg);
void classifier_close(struct classifier *c); /* NULL allowed */
void classifier_run(struct classifier *c, struct work *w);
/* Whether it holds another model than s; classifier_forget lets go of that and its memory. */
bool classifier_holds_other(const struct classifier *c, const struct served *s);
void classifier_forget(struct classifier *c);

/* What dlq.error says of an item with a reason. */
const char *work_note(const struct work *w, const struct item *it);

#endif
