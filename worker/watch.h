/* Keeps the model in service at what the registry's alias names: asks every registry-poll-ms and
 * whenever the registry hints at a change, fetches
 * and verifies a new version beside the old one, opens it, checks its labels, warms it up, and hands
 * it to the pipeline.  Whatever goes wrong leaves the old one in service, is said in the log (once,
 * until it changes) and counted (rubric_model_swaps_total); the same version is tried again after a
 * pause that doubles up to a minute. */
#ifndef WORKER_WATCH_H
#define WORKER_WATCH_H

#include "base/err.h"
#include "worker/config.h"
#include "worker/pipeline.h"

struct watch;
/* *out NULL when there is nothing to watch: no registry, or a version instead of an alias. */
int watch_open(const struct config *cfg, struct pipeline *p, struct watch **out, struct err *err);
void watch_close(struct watch *w); /* ends a fetch that is under way; NULL allowed */

#endif
