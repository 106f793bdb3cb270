#include "worker/served.h"

#include <stdlib.h>

#include "base/err.h"
#include "worker/metrics.h"

struct served *served_new(struct model *m)
{
    struct served *s = xcalloc(1, sizeof *s);
    s->model = m;
    s->info = model_info(m);
    s->categories = xcalloc((size_t)s->info->n_labels, sizeof *s->categories);
    for (int32_t i = 0; i < s->info->n_labels; i++)
        s->categories[i] = metrics_category(s->info->labels[i]);
    atomic_init(&s->holders, 1);
    return s;
}

struct served *served_hold(struct served *s)
{
    (void)atomic_fetch_add(&s->holders, 1);
    return s;
}

void served_release(struct served *s)
{
    if (!s || atomic_fetch_sub(&s->holders, 1) != 1)
        return;
    model_close(s->model);
    free(s->categories);
    free(s);
}
