/* When a batch closes: a pure function of what it holds and the time. */
#ifndef WORKER_BATCHER_H
#define WORKER_BATCHER_H

#include <stddef.h>
#include <stdint.h>

enum close_reason {
    CLOSE_NOT, /* keep filling */
    CLOSE_TITLES,
    CLOSE_TOKENS,
    CLOSE_BYTES,
    CLOSE_AGE,
    CLOSE_REVOKE,   /* partitions are being given up */
    CLOSE_SHUTDOWN, /* the worker stops */
    CLOSE_COUNT
};
const char *close_reason_name(enum close_reason r); /* "titles", "tokens", … */

struct batch_limits {
    int32_t titles, tokens;
    size_t bytes;
    int64_t age_ns;
};

struct batch_fill {
    int32_t titles, tokens;
    size_t bytes;
    int64_t since_ns; /* when the first record came in; meaningless while bytes, titles and records
                         are 0 */
    int32_t records;
};

/* An empty batch never closes. The first limit reached, in the order of the enum, is the reason. */
enum close_reason batcher_close(const struct batch_limits *limits, const struct batch_fill *fill,
                                int64_t now_ns);

/* How long until age closes the batch, >= 0; an empty one: idle_ns. */
int64_t batcher_wait(const struct batch_limits *limits, const struct batch_fill *fill,
                     int64_t now_ns, int64_t idle_ns);

#endif
