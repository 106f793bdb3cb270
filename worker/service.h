/* Private to run*.c: the state of the service. run.c has the poll thread's loop, run_start.c what
 * comes before it, run_http.c what the HTTP port answers meanwhile. */
#ifndef WORKER_SERVICE_H
#define WORKER_SERVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "worker/batcher.h"
#include "worker/committer.h"
#include "worker/http.h"
#include "worker/pipeline.h"
#include "worker/watch.h"

struct service {
    const struct config *cfg;
    struct served *served; /* the first model, until the pipeline has it; guarded by lock */
    struct watch *watch;
    int32_t max_tokens; /* of the first model: what a headline costs at most */
    struct batch_limits limits;
    struct codec *codec;
    struct pipeline *pipeline; /* from the HTTP threads: see service_model */
    struct kafka_in *in;
    struct committer *committer;
    struct http *http;
    struct work *current; /* being filled; NULL when none is free */
    uint64_t epoch;       /* of current; failed ones are smaller or equal */
    atomic_bool filling, joined, loaded, started;
    _Atomic int64_t tick_ns, drain_until_ns;
    pthread_mutex_t asked; /* held by the one question that is answered */
    pthread_mutex_t lock;  /* guards missing and served */
    char missing[1000];    /* why the service waits to start; "" when it does not */
};

bool service_stopping(void); /* a signal came; any thread */

/* run_start.c. Each ends early, in failure, when the service is to stop. */
void service_say_missing(struct service *s, const char *text);
/* The model: from a registry that does not answer, and of which nothing is in the cache, it is
 * waited for. Then its labels must fit the output's name. */
int service_load(struct service *s, struct err *err);
int service_wait_for_topics(struct service *s, struct err *err); /* until every one exists */

/* run_http.c. Opens the port, which answers from then on; nothing of the service need be there yet. */
int service_listen(struct service *s, struct err *err);

#endif
