/* Between polling and committing: a fixed number of works, classified by inference threads in any
 * order and handed on in the order they were submitted. Memory is bounded by the number of works:
 * when none is free, the poll thread takes no records. One poll thread submits, one commit thread
 * takes. */
#ifndef WORKER_PIPELINE_H
#define WORKER_PIPELINE_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/work.h"

struct pipeline;
struct pipeline *pipeline_open(struct served *served, const struct config *cfg); /* takes it over */
void pipeline_close(struct pipeline *p); /* NULL allowed; nothing may be in flight */

struct work *pipeline_get(struct pipeline *p); /* a free work, or NULL at once; poll thread */
void pipeline_put(struct pipeline *p,
                  struct work *w); /* gives it back; frees its records; any thread */
/* Takes the model over: works submitted from now on are classified by it. Any thread. */
void pipeline_serve(struct pipeline *p, struct served *served);
struct served *pipeline_served(struct pipeline *p); /* the one in service, held for the caller */

void pipeline_submit(struct pipeline *p, struct work *w, enum close_reason why); /* poll thread */
/* The next work in order once it is classified; NULL when the time is over or pipeline_nudge was
 * called. Commit thread. */
struct work *pipeline_take(struct pipeline *p, int64_t until_ns);
void pipeline_nudge(
    struct pipeline *p); /* lets a waiting pipeline_take or pipeline_wait_idle look around */
int pipeline_in_flight(struct pipeline *p); /* submitted and not yet put back */
/* Works of this epoch and older need no classification any more. */
void pipeline_drop(struct pipeline *p, uint64_t epoch);
/* Waits until nothing is in flight and busy(arg) is false. false when the time is over. */
bool pipeline_wait_idle(struct pipeline *p, bool (*busy)(void *), void *arg, int64_t until_ns);

#endif
