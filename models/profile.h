/* Where a transformer's time goes: nanoseconds by kind of work, added up over batches.  A workspace
 * without a profile reads no clock.  One thread owns a profile, as it does its workspace. */
#ifndef MODELS_PROFILE_H
#define MODELS_PROFILE_H

#include <stdint.h>

#include "base/clock.h"

/* Products are the matrix products alone; what prepares their rows and finishes them is counted
 * beside. */
enum profile_op {
    PROFILE_EMBED,     /* rows of the vocabulary, positions, first norm */
    PROFILE_QKV,       /* products: queries, keys and values */
    PROFILE_QKV_ROWS,  /* quantisation, bias */
    PROFILE_ATTENTION, /* scores, softmax, context */
    PROFILE_OUT,       /* product after attention */
    PROFILE_OUT_ROWS,  /* quantisation, bias, residual, norm */
    PROFILE_INNER,     /* product C to F (with T5's gate) */
    PROFILE_INNER_ROWS,
    PROFILE_OUTER, /* product F to C */
    PROFILE_OUTER_ROWS,
    PROFILE_HEAD,
    PROFILE_OPS
};

struct profile {
    int64_t ns[PROFILE_OPS];
};

const char *profile_name(enum profile_op op);

static inline int64_t profile_start(const struct profile *p)
{
    return p ? clock_ns() : 0;
}

/* Adds the time since `since` and returns now, the next one's start. */
static inline int64_t profile_add(struct profile *p, enum profile_op op, int64_t since)
{
    if (!p)
        return 0;
    int64_t now = clock_ns();
    p->ns[op] += now - since;
    return now;
}

#endif
