#include "trainer/ngram_rows.h"

#include <stdlib.h>

#include "base/err.h"

#define CHUNK 1024 /* titles whose features one piece of work makes */

struct feature_job {
    const struct ngrams *g;
    const struct batch *b;
    struct ngram_rows *r;
};

static void feature_chunk(void *arg, int piece, int thread)
{
    (void)thread;
    const struct feature_job *job = arg;
    int32_t first = piece * CHUNK;
    int32_t end = job->b->n - first > CHUNK ? first + CHUNK : job->b->n;
    for (int32_t i = first; i < end; i++) {
        int32_t from = job->b->start[i];
        int64_t at = job->r->start[i];
        job->r->count[i] = linear_features(job->g, job->b->ids + from, job->b->start[i + 1] - from,
                                           job->r->index + at, job->r->value + at);
    }
}

void ngram_rows_make(struct ngram_rows *r, const struct ngrams *g, const struct batch *b,
                     struct pool *pool)
{
    size_t room = (size_t)LINEAR_MAX_NGRAM * (size_t)b->start[b->n];
    r->start = xmalloc(((size_t)b->n + 1) * sizeof *r->start);
    r->count = xmalloc((size_t)b->n * sizeof *r->count);
    r->index = xmalloc(room * sizeof *r->index);
    r->value = xmalloc(room * sizeof *r->value);
    for (int32_t i = 0; i <= b->n; i++)
        r->start[i] = (int64_t)LINEAR_MAX_NGRAM * b->start[i];
    struct feature_job job = {g, b, r};
    pool_run(pool, (b->n + CHUNK - 1) / CHUNK, feature_chunk, &job);
    r->x = (struct sparse){.rows = b->n,
                           .columns = ngrams_count(g),
                           .start = r->start,
                           .count = r->count,
                           .index = r->index,
                           .value = r->value};
}

void ngram_rows_done(struct ngram_rows *r)
{
    free(r->start);
    free(r->count);
    free(r->index);
    free(r->value);
    *r = (struct ngram_rows){0};
}
