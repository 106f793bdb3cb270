#include "trainer/evaluate.h"

#include <stdlib.h>

#include "base/err.h"

enum {
    CHUNK = 256 /* titles classified at a time */,
    ROUND = 8 /* chunks a thread, then a look at the clock */
};

struct job {
    const struct model *m;
    const struct dataset *d;
    struct workspace **ws; /* one per thread */
    float *p;              /* [n][labels] */
    int first;             /* chunk of this round */
};

static void classify_chunk(void *arg, int piece, int thread)
{
    const struct job *job = arg;
    const struct model_info *info = model_info(job->m);
    const struct dataset *d = job->d;
    size_t first = (size_t)(job->first + piece) * CHUNK,
           end = first + CHUNK < d->n ? first + CHUNK : d->n;
    int32_t start[CHUNK + 1] = {0}, n = 0;
    int32_t *ids = xmalloc((size_t)CHUNK * (size_t)info->max_tokens * sizeof *ids);
    for (size_t i = first; i < end; i++, n++)
        start[n + 1] =
            start[n] + model_encode(job->m, d->text + d->offset[i], d->offset[i + 1] - d->offset[i],
                                    ids + start[n], info->max_tokens, NULL);
    struct batch b = {.ids = ids, .start = start, .n = n};
    model_classify(job->m, job->ws[thread], &b, job->p + first * (size_t)info->n_labels);
    free(ids);
}

float *evaluate_probabilities(const struct model *m, const struct dataset *d, struct pool *pool,
                              struct progress *bar)
{
    const struct model_info *info = model_info(m);
    int threads = pool_threads(pool);
    struct job job = {
        .m = m, .d = d, .p = xmalloc((d->n + 1) * (size_t)info->n_labels * sizeof *job.p)};
    job.ws = xcalloc((size_t)threads, sizeof *job.ws);
    for (int i = 0; i < threads; i++)
        job.ws[i] = workspace_open(m, CHUNK, CHUNK * info->max_tokens);
    int chunks = (int)((d->n + CHUNK - 1) / CHUNK), some = bar ? ROUND * threads : chunks;
    for (; job.first < chunks; job.first += some) {
        pool_run(pool, chunks - job.first < some ? chunks - job.first : some, classify_chunk, &job);
        if (bar)
            progress_step(bar, (int64_t)job.first * CHUNK, NULL);
    }
    for (int i = 0; i < threads; i++)
        workspace_close(job.ws[i]);
    free(job.ws);
    return job.p;
}

size_t evaluate_known(const struct model *m, const struct dataset *d, const int32_t *map,
                      struct pool *pool, struct report *r)
{
    size_t labels = (size_t)model_info(m)->n_labels, unknown = 0;
    float *p = evaluate_probabilities(m, d, pool, NULL);
    for (size_t i = 0; i < d->n; i++) {
        int32_t label = map ? map[d->labels[i]] : d->labels[i];
        if (label >= 0)
            report_add(r, label, p + i * labels);
        else
            unknown++;
    }
    free(p);
    return unknown;
}

void evaluate_model(const struct model *m, const struct dataset *d, struct pool *pool,
                    struct report *r)
{
    (void)evaluate_known(m, d, NULL, pool, r);
}
