/* The commit thread: takes classified works in order, produces their results and dead letters,
 * commits them with the offsets they came from, one transaction per group of works. Whatever fails,
 * nothing of the group counts: the transaction is aborted (or the producer replaced) and the poll
 * thread is asked to go back to the committed offsets.
 *
 * Epochs: the poll thread numbers its assignments and rewinds; works carry the number.
 * `failed_epoch` >= a work's epoch means that the work must not be committed any more. */
#ifndef WORKER_COMMITTER_H
#define WORKER_COMMITTER_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/kafka.h"
#include "worker/pipeline.h"

struct committer;

struct committer_totals {
    int64_t records, headlines, transactions, committed_records;
    int64_t first_ns,
        last_ns; /* when the first work was taken, when the last commit ended; 0: none */
};

/* filling(arg): the poll thread holds an open batch. keep_going(arg): false ends waiting for
 * brokers. */
struct committer *committer_open(const struct config *cfg, const struct model_info *info,
                                 struct pipeline *p, struct kafka_in *in, bool (*filling)(void *),
                                 bool (*keep_going)(void *), void *arg, struct err *err);
/* Stops the thread (an open transaction is aborted) and frees everything. NULL allowed. */
void committer_close(struct committer *c);

uint64_t committer_failed_epoch(const struct committer *c);
int committer_failures(
    const struct committer *c); /* groups that failed in a row, for backing off */
/* Nothing of this epoch or older may be committed from now on; returns before the abort is done.
 * Poll thread. */
void committer_fail_epoch(struct committer *c, uint64_t epoch);
void committer_hurry(struct committer *c, bool hurry); /* commit as soon as nothing is waiting */
bool committer_busy(void *c);                          /* a transaction is open or being ended */
bool committer_healthy(
    const struct committer *c); /* the producer works; false while it is being replaced */
/* When the commit thread last showed that it is alive: turned over, or asked whether to go on
 * waiting for brokers. Any thread. */
int64_t committer_tick_ns(const struct committer *c);
struct committer_totals committer_totals(const struct committer *c);

#endif
