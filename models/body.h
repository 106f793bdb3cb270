/* What stands between a transformer's ids and its head: the encoder of most families, T5's
 * two stacks.  models/transformer.c holds what is the same for both: configuration, head,
 * slices. */
#ifndef MODELS_BODY_H
#define MODELS_BODY_H

#include <stdbool.h>
#include <stdint.h>

#include "data/batch.h"
#include "models/params.h"
#include "models/profile.h"
#include "models/trace.h"
#include "models/transformer_config.h"
#include "ops/projection.h"

/* What a body is opened from; all borrowed. */
struct body_source {
    const struct transformer_config *cfg;
    const struct params *params;
    struct projection_set *set; /* outlives the body */
    enum product_type type;     /* of the layers' products */
    const json_t *keep;         /* weights kept out of int8, or NULL */
    int32_t max_tokens;         /* of a title */
};

struct body {
    int (*open)(const struct body_source *src, void **out, struct err *err);
    void (*close)(void *body); /* NULL allowed */
    int64_t (*bytes)(const void *body);
    /* For slices of at most max_ids ids and max_titles titles. */
    void *(*workspace_open)(const void *body, int32_t max_titles, int32_t max_ids);
    void (*workspace_close)(void *ws); /* NULL allowed */
    /* Times are added to *p from now on; NULL: no more. */
    void (*profile)(void *ws, struct profile *p);
    /* features [n, C]: the row of each title that the head reads.  t may be NULL; first is the
     * slice's first title, for it.  No allocation. */
    void (*forward)(const void *body, void *ws, const struct batch *b, float *features,
                    const struct trace *t, int32_t first);
};

/* Rows of a slice that go through a product together: their inner rows stay in the second-level
 * cache. */
#define BODY_BLOCK 128

#endif
