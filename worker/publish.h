/* From a classified work to records on topics: which topic, which headers, what becomes a dead
 * letter. Commit thread only. */
#ifndef WORKER_PUBLISH_H
#define WORKER_PUBLISH_H

#include <stddef.h>

#include "worker/kafka.h"

struct publisher;
struct publisher *publisher_open(const struct config *cfg, const struct model_info *info);
void publisher_close(struct publisher *p); /* NULL allowed */

char *const *publisher_topics(const struct publisher *p, int *n); /* all that may be produced to */

/* Sends every item of w and notes the offsets after it. */
enum kafka_outcome publisher_send(struct publisher *p, struct kafka_out *out, struct work *w,
                                  struct err *err);
/* Sources with pending offsets since the last committed or forget. */
struct source *const *publisher_sources(const struct publisher *p, size_t *n);
void publisher_committed(struct publisher *p); /* counts what was sent since */
void publisher_forget(struct publisher *p);    /* the group failed */

#endif
