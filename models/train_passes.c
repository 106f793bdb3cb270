#include "models/train_passes.h"

#include <stddef.h>

#include "models/body_parts.h"
#include "ops/dropout.h"
#include "ops/rows.h"

enum { ROWS = 16 /* of one piece */, COLUMNS = 64 };

struct pass {
    int n, c;
    float *y, *z;
    const float *x, *o, *dy;
    struct row_drop d;
    const struct row_norm *norm;
    enum activation act;
    float *mean, *scale;
    void (*row)(const struct pass *p, int i);
};

static void piece(void *arg, int piece, int thread)
{
    (void)thread;
    const struct pass *p = arg;
    int end = (piece + 1) * ROWS < p->n ? (piece + 1) * ROWS : p->n;
    for (int i = piece * ROWS; i < end; i++)
        p->row(p, i);
}

static void each_row(struct pool *pool, struct pass *p)
{
    pool_run(pool, (p->n + ROWS - 1) / ROWS, piece, p);
}

static size_t at(const struct pass *p, int i)
{
    return (size_t)i * (size_t)p->c;
}

static void drop_row(const struct pass *p, int i)
{
    dropout_row(p->y + at(p, i), p->x + at(p, i), p->c, p->d.p, p->d.seed, p->d.step,
                p->d.p > 0.0f ? p->d.key[i] : 0);
}

void pass_drop(struct pool *pool, float *y, const float *x, int n, int c, struct row_drop d)
{
    if (d.p > 0.0f || y != x)
        each_row(pool, &(struct pass){.n = n, .c = c, .y = y, .x = x, .d = d, .row = drop_row});
}

static void norm_of(const struct row_norm *norm, float *y, const float *x, int c)
{
    if (norm->beta)
        rows()->norm(y, x, norm->gamma, norm->beta, norm->eps, c);
    else
        rows()->rms_norm(y, x, norm->gamma, norm->eps, c);
}

static void add_norm_row(const struct pass *p, int i)
{
    float *sum = p->z + at(p, i);
    if (p->d.p > 0.0f) {
        dropout_row(sum, p->o + at(p, i), p->c, p->d.p, p->d.seed, p->d.step, p->d.key[i]);
        rows()->add(sum, sum, p->x + at(p, i), p->c);
    } else {
        rows()->add(sum, p->o + at(p, i), p->x + at(p, i), p->c);
    }
    if (p->y)
        norm_of(p->norm, p->y + at(p, i), sum, p->c);
}

void pass_add_norm(struct pool *pool, float *sum, float *y, const float *x, const float *o, int n,
                   int c, struct row_drop d, const struct row_norm *norm)
{
    each_row(pool, &(struct pass){.n = n,
                                  .c = c,
                                  .y = y,
                                  .z = sum,
                                  .x = x,
                                  .o = o,
                                  .d = d,
                                  .norm = norm,
                                  .row = add_norm_row});
}

static void norm_row(const struct pass *p, int i)
{
    norm_of(p->norm, p->y + at(p, i), p->x + at(p, i), p->c);
}

void pass_norm(struct pool *pool, float *y, const float *x, int n, int c,
               const struct row_norm *norm)
{
    each_row(pool, &(struct pass){.n = n, .c = c, .y = y, .x = x, .norm = norm, .row = norm_row});
}

static void norm_back_row(const struct pass *p, int i)
{
    const struct row_norm *norm = p->norm;
    (norm->beta ? rows()->norm_back
                : rows()->rms_norm_back)(p->y + at(p, i), p->dy + at(p, i), p->x + at(p, i),
                                         norm->gamma, norm->eps, &p->mean[i], &p->scale[i], p->c);
}

static void norm_columns(void *arg, int piece, int thread)
{
    (void)thread;
    const struct pass *p = arg;
    int from = piece * COLUMNS, n = p->c - from < COLUMNS ? p->c - from : COLUMNS;
    rows()->norm_columns(p->norm->dgamma + from, p->norm->dbeta ? p->norm->dbeta + from : NULL,
                         p->dy + from, p->x + from, p->c, p->mean, p->scale, p->n, n);
}

void pass_norm_back(struct pool *pool, float *dx, const float *dy, const float *x, int n, int c,
                    const struct row_norm *norm, float *scratch)
{
    struct pass p = {.n = n,
                     .c = c,
                     .y = dx,
                     .x = x,
                     .dy = dy,
                     .norm = norm,
                     .mean = scratch,
                     .scale = scratch + n,
                     .row = norm_back_row};
    each_row(pool, &p);
    pool_run(pool, (c + COLUMNS - 1) / COLUMNS, norm_columns, &p);
}

static void activate_row(const struct pass *p, int i)
{
    parts_activate(p->act, p->y + at(p, i), p->x + at(p, i), p->c);
}

void pass_activate(struct pool *pool, enum activation act, float *y, const float *x, int n, int c)
{
    each_row(pool, &(struct pass){.n = n, .c = c, .y = y, .x = x, .act = act, .row = activate_row});
}

static void activate_back_row(const struct pass *p, int i)
{
    const struct rows *r = rows();
    void (*const of[ACTIVATIONS])(float *, float *, const float *, const float *, int) = {
        r->gelu_back, r->gelu_tanh_back, r->relu_back, r->tanh_back};
    of[p->act](p->y + at(p, i), p->z + at(p, i), p->x + at(p, i), p->dy + at(p, i), p->c);
}

void pass_activate_back(struct pool *pool, enum activation act, float *y, float *dx, const float *x,
                        const float *dy, int n, int c)
{
    each_row(pool, &(struct pass){.n = n,
                                  .c = c,
                                  .y = y,
                                  .z = dx,
                                  .x = x,
                                  .dy = dy,
                                  .act = act,
                                  .row = activate_back_row});
}

static void multiply_row(const struct pass *p, int i)
{
    rows()->mul(p->y + at(p, i), p->x + at(p, i), p->o + at(p, i), p->c);
}

void pass_multiply(struct pool *pool, float *y, const float *a, const float *b, int n, int c)
{
    each_row(pool, &(struct pass){.n = n, .c = c, .y = y, .x = a, .o = b, .row = multiply_row});
}

static void multiply_back_row(const struct pass *p, int i)
{
    float *a = p->y + at(p, i), *b = p->z + at(p, i);
    const float *dy = p->dy + at(p, i);
    for (int k = 0; k < p->c; k++) {
        float was = a[k];
        a[k] = dy[k] * b[k];
        b[k] = dy[k] * was;
    }
}

void pass_multiply_back(struct pool *pool, float *a, float *b, const float *dy, int n, int c)
{
    each_row(pool,
             &(struct pass){.n = n, .c = c, .y = a, .z = b, .dy = dy, .row = multiply_back_row});
}

static void add_row(const struct pass *p, int i)
{
    rows()->add(p->y + at(p, i), p->y + at(p, i), p->x + at(p, i), p->c);
}

void pass_add(struct pool *pool, float *y, const float *x, int n, int c)
{
    each_row(pool, &(struct pass){.n = n, .c = c, .y = y, .x = x, .row = add_row});
}

#define ROUND_PIECE ((size_t)1 << 18)

struct rounding {
    uint16_t *to;
    const float *from;
    size_t n;
};

static void round_piece(void *arg, int piece, int thread)
{
    const struct rounding *r = arg;
    size_t from = (size_t)piece * ROUND_PIECE,
           n = r->n - from < ROUND_PIECE ? r->n - from : ROUND_PIECE;
    (void)thread;
    rows()->to_bf16(r->to + from, r->from + from, n);
}

void pass_round(struct pool *pool, uint16_t *y, const float *x, size_t n)
{
    struct rounding r = {y, x, n};
    pool_run(pool, (int)((n + ROUND_PIECE - 1) / ROUND_PIECE), round_piece, &r);
}
