/* history.json: how a fit went, kept beside the model that it made. It holds the lines of --log-json and
 * nothing else, no clock among them, so the same seed gives the same bytes whatever the threads and
 * interruptions, and the version that a registry makes of the directory stays the same too.
 *
 *   {"format": 1, "lines": [{"arch": "textcnn", …}, {"iteration": 200, "train_loss": …, …}, …]}
 *
 * A struct history belongs to one thread at a time. */
#ifndef TRAINER_HISTORY_H
#define TRAINER_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define HISTORY_FILE "history.json"
#define HISTORY_MAX_BYTES (64 * 1024 * 1024)

/* One evaluation on dev in the course of a fit. Losses are means of -ln p(label), from 0; those of
 * train are over the steps since the evaluation before. Accuracies are 0 .. 1. */
struct history_point {
    int64_t iteration; /* steps done, ascending from 1 */
    double train_loss, train_accuracy, dev_loss, dev_accuracy;
};

struct history {
    bool found; /* false: the directory has no history.json, the rest is zero */
    struct history_point *points;
    size_t n;               /* 0: the family is fitted in one piece (linear) */
    int64_t best_iteration; /* of the weights that were kept; 0 when n is 0 */
};

/* Replaces dir/history.json by the log's lines. log: complete lines of JSON objects, as --log-json. */
int history_write(const char *dir, const struct buf *log, struct err *err);

/* Reads dir/history.json. A directory without one is no error: models from before it, or of other
 * makers, have none. Refused, with the path, line of the log (from 1) and cause: another format,
 * a number that is missing, of the wrong kind or out of range, iterations that do not ascend. On
 * failure *h is untouched. */
int history_read(const char *dir, struct history *h, struct err *err);
void history_done(struct history *h); /* safe on a zeroed one */

#endif
