#include "models/encoder_train_parts.h"

#include <string.h>

#include "ops/rows.h"

/* The sum of the rows that say what a token is, and where. */
struct lookup {
    struct encoder_train *e;
    const struct encoder_pass *p;
    const float *d; /* [ids, E] on the way back */
};

static void look_up(void *arg, int t, int thread)
{
    const struct lookup *k = arg;
    const struct encoder_train *e = k->e;
    const struct batch *b = k->p->batch;
    int c = config(e)->embedding_size;
    const float *words = weight(e, k->p, P_WORD, 0), *positions = weight(e, k->p, P_POSITION, 0),
                *type = weight(e, k->p, P_TYPE, 0), *task = weight(e, k->p, P_TASK, 0);
    (void)thread;
    for (int32_t i = b->start[t]; i < b->start[t + 1]; i++) {
        float *row = e->sum0 + (size_t)i * (size_t)c;
        memcpy(row, words + (size_t)b->ids[i] * (size_t)c, (size_t)c * sizeof *row);
        if (positions)
            rows()->add(row, row, positions + (size_t)(i - b->start[t]) * (size_t)c, c);
        if (type)
            rows()->add(row, row, type, c);
        if (task)
            rows()->add(row, row, task, c);
    }
}

void encoder_train_embed(struct encoder_train *e, const struct encoder_pass *p)
{
    const struct batch *b = p->batch;
    int n = b->start[b->n], c = config(e)->embedding_size;
    struct row_norm norm = norm_of(e, p, P_EMB_NORM_W, P_EMB_NORM_B, 0);
    struct row_drop drop = drop_at(p, p->dropout.hidden, -1, SITE_OUT, p->key);
    bool projects = weight(e, p, P_EMB_PROJ_W, 0) != NULL;
    float *to = projects ? e->e : e->saved[0].x;
    pool_run(e->pool, b->n, look_up, &(struct lookup){e, p, NULL});
    const float *sum = e->sum0;
    if (norm.gamma) {
        pass_norm(e->pool, to, sum, n, c, &norm);
        sum = to;
    }
    pass_drop(e->pool, to, sum, n, c, drop);
    if (projects)
        linear_forward(e->exact, to, c, n, matrix(e, p, P_EMB_PROJ_W, 0, config(e)->hidden, c),
                       weight(e, p, P_EMB_PROJ_B, 0), e->saved[0].x, config(e)->hidden);
}

/* One chunk of columns of every row: no two pieces add to the same place. */
enum { COLUMNS = 32 };
static void look_up_back(void *arg, int piece, int thread)
{
    const struct lookup *k = arg;
    const struct encoder_train *e = k->e;
    const struct batch *b = k->p->batch;
    int c = config(e)->embedding_size, from = piece * COLUMNS,
        n = c - from < COLUMNS ? c - from : COLUMNS;
    float *words = gradient(e, k->p, P_WORD, 0), *positions = gradient(e, k->p, P_POSITION, 0),
          *type = gradient(e, k->p, P_TYPE, 0), *task = gradient(e, k->p, P_TASK, 0);
    (void)thread;
    for (int32_t t = 0; t < b->n; t++)
        for (int32_t i = b->start[t]; i < b->start[t + 1]; i++) {
            const float *d = k->d + (size_t)i * (size_t)c + from;
            float *const to[] = {
                words + (size_t)b->ids[i] * (size_t)c,
                positions ? positions + (size_t)(i - b->start[t]) * (size_t)c : NULL, type, task};
            for (int j = 0; j < 4; j++)
                if (to[j])
                    rows()->add(to[j] + from, to[j] + from, d, n);
        }
}

/* dx [ids, C] of the first layer's input. */
void encoder_train_embed_back(struct encoder_train *e, const struct encoder_pass *p)
{
    const struct batch *b = p->batch;
    int n = b->start[b->n], c = config(e)->embedding_size;
    struct row_norm norm = norm_of(e, p, P_EMB_NORM_W, P_EMB_NORM_B, 0);
    struct row_drop drop = drop_at(p, p->dropout.hidden, -1, SITE_OUT, p->key);
    float *d = e->dx;
    if (weight(e, p, P_EMB_PROJ_W, 0)) {
        d = e->dcontext;
        linear_backward(e->exact, e->e, c, e->dx, config(e)->hidden, n,
                        matrix(e, p, P_EMB_PROJ_W, 0, config(e)->hidden, c),
                        gradient(e, p, P_EMB_PROJ_W, 0), gradient(e, p, P_EMB_PROJ_B, 0), d, c,
                        false);
    }
    pass_drop(e->pool, d, d, n, c, drop);
    if (norm.gamma) {
        pass_norm_back(e->pool, e->dsum, d, e->sum0, n, c, &norm, e->statistics);
        d = e->dsum;
    }
    pool_run(e->pool, (c + COLUMNS - 1) / COLUMNS, look_up_back, &(struct lookup){e, p, d});
}
