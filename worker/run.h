/* The service: consume, classify, publish, until told to stop. */
#ifndef WORKER_RUN_H
#define WORKER_RUN_H

#include "base/err.h"
#include "worker/config.h"

/* Installs handlers: the first SIGTERM or SIGINT drains, the second aborts. Once per process,
 * before threads are made. */
void run_handle_signals(void);
/* What a signal does, for a program that embeds the service (the demo). */
void run_stop(void);

/* Runs until stopped, or, with stop-at-end, until every partition was read to its end. 0: drained
 * and committed. */
int run_service(const struct config *cfg, struct err *err);

#endif
