/* A model in service. Inference threads, open transactions and HTTP requests hold the one they work
 * with while another may already have taken its place; the last to let go closes it. Any thread. */
#ifndef WORKER_SERVED_H
#define WORKER_SERVED_H

#include <stdatomic.h>

#include "base/err.h"
#include "models/model.h"

struct served {
    struct model *model;
    const struct model_info *info;
    int *categories; /* [n_labels]: metrics_category of each label */
    atomic_int holders;
};

/* Whether next has these labels, in this order. */
bool served_same_labels(const char *const *labels, int32_t n, const struct model_info *next);
/* An error for a bare encoder. */
int served_has_head(const struct model *m, struct err *err);
/* Classifies a few plain titles with a model that is not in service yet: lazy tables and page faults are
 * paid here. Refused: one that makes no probabilities of them. */
int served_warm_up(const struct model *m, struct err *err);

struct served *served_new(struct model *m); /* takes m over; held once */
struct served *served_hold(struct served *s);
void served_release(struct served *s); /* NULL allowed */

#endif
