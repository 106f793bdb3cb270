#include "ops/adamw.h"

#include <math.h>

#include "ops/rows.h"

#define PIECE 65536 /* floats */
#define MAX_PIECES 4096

struct adamw adamw_at(const struct adamw *a, int64_t step)
{
    struct adamw at = *a;
    at.correct1 = (float)(1.0 / (1.0 - pow((double)a->beta1, (double)step)));
    at.correct2 = (float)(1.0 / (1.0 - pow((double)a->beta2, (double)step)));
    return at;
}

struct update {
    const struct adamw *at;
    float *w, *m, *v;
    const float *g;
    size_t n;
};

static void update_piece(void *arg, int piece, int thread)
{
    (void)thread;
    const struct update *u = arg;
    size_t i = (size_t)piece * PIECE, n = u->n - i < PIECE ? u->n - i : PIECE;
    rows()->adamw(u->at, u->w + i, u->g + i, u->m + i, u->v + i, n);
}

void adamw_step(const struct adamw *at, float *w, const float *g, float *m, float *v, size_t n,
                struct pool *pool)
{
    struct update u = {at, w, m, v, g, n};
    pool_run(pool, (int)((n + PIECE - 1) / PIECE), update_piece, &u);
}

struct norm {
    const float *g;
    size_t n, piece;
    double sum[MAX_PIECES];
};

static void norm_piece(void *arg, int piece, int thread)
{
    (void)thread;
    struct norm *s = arg;
    size_t i = (size_t)piece * s->piece, end = s->n - i < s->piece ? s->n : i + s->piece;
    double sum[4] = {0};
    for (; i + 4 <= end; i += 4)
        for (size_t k = 0; k < 4; k++)
            sum[k] += (double)s->g[i + k] * (double)s->g[i + k];
    for (; i < end; i++)
        sum[0] += (double)s->g[i] * (double)s->g[i];
    s->sum[piece] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

double grad_norm(const float *g, size_t n, struct pool *pool)
{
    struct norm s = {.g = g, .n = n, .piece = PIECE};
    while ((n + s.piece - 1) / s.piece > MAX_PIECES)
        s.piece *= 2;
    int pieces = (int)((n + s.piece - 1) / s.piece);
    pool_run(pool, pieces, norm_piece, &s);
    double total = 0.0;
    for (int i = 0; i < pieces; i++)
        total += s.sum[i];
    return sqrt(total);
}
