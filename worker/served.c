#include "worker/served.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

bool served_same_labels(const char *const *labels, int32_t n, const struct model_info *next)
{
    bool same = n == next->n_labels;
    for (int32_t i = 0; same && i < n; i++)
        same = strcmp(labels[i], next->labels[i]) == 0;
    return same;
}

static const char warm_up[][40] = {"一", "二〇二六年新闻标题", "A headline, 12:30"};

int served_has_head(const struct model *m, struct err *err)
{
    const struct model_info *info = model_info(m);
    return info->n_labels > 0
               ? 0
               : err_set(err, ERR_FORMAT,
                         "model %s has no head yet: a bare encoder, which classifies "
                         "nothing before it is fine-tuned",
                         info->name);
}

/* The first batches would pay for page faults and lazy tables; and a model that makes no
 * probabilities of plain titles is none. */
int served_warm_up(const struct model *m, struct err *err)
{
    enum { N = sizeof warm_up / sizeof *warm_up };
    if (served_has_head(m, err) != 0)
        return -1;
    const struct model_info *info = model_info(m);
    int32_t start[N + 1] = {0}, max = info->max_tokens;
    int32_t *ids = xcalloc((size_t)max * N, sizeof *ids);
    float *p = xcalloc((size_t)info->n_labels * N, sizeof *p);
    struct workspace *ws = workspace_open(m, N, max * N);
    int rc = 0;
    for (int i = 0; i < N; i++)
        start[i + 1] =
            start[i] + model_encode(m, warm_up[i], strlen(warm_up[i]), ids + start[i], max, NULL);
    model_classify(m, ws, &(struct batch){.ids = ids, .start = start, .n = N}, p);
    for (int i = 0; i < N && rc == 0; i++) {
        float sum = 0;
        for (int32_t k = 0; k < info->n_labels; k++)
            sum += p[i * info->n_labels + k];
        if (info->each_for_itself ? !(sum >= 0 && sum <= (float)info->n_labels)
                                  : !(fabsf(sum - 1) < 1e-3f))
            rc = err_set(err, ERR_NUMERIC, "its probabilities of a plain title sum to %g",
                         (double)sum);
    }
    workspace_close(ws);
    free(ids);
    free(p);
    return rc;
}
