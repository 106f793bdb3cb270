/* A model in service. Inference threads, open transactions and HTTP requests hold the one they work
 * with while another may already have taken its place; the last to let go closes it. Any thread. */
#ifndef WORKER_SERVED_H
#define WORKER_SERVED_H

#include <stdatomic.h>

#include "models/model.h"

struct served {
    struct model *model;
    const struct model_info *info;
    int *categories; /* [n_labels]: metrics_category of each label */
    atomic_int holders;
};

struct served *served_new(struct model *m); /* takes m over; held once */
struct served *served_hold(struct served *s);
void served_release(struct served *s); /* NULL allowed */

#endif
