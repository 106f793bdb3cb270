#include "ops/linear.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "ops/gemm.h"
#include "ops/gemm_bf16.h"
#include "ops/rows.h"

enum {
    TILE_M = 192,
    TILE_N = 384,
    ROWS = 64,    /* of x that one piece rounds */
    COLUMNS = 64, /* that one piece adds up */
    STEP_M = 16,  /* rows of a product are a multiple of it in bfloat16 */
    STEP_K = 64   /* and rows that are summed over */
};

struct linear {
    enum product_type type;
    struct pool *pool;
    struct gemm_bf16_set *bf16;
    uint16_t *x, *dy; /* [max_rows rounded up, max_width] */
    float *rest;      /* [threads][STEP_M][TILE_N]: the last rows of C */
};

struct linear *linear_open(enum product_type type, int max_rows, int max_width, struct pool *pool)
{
    struct linear *l = xcalloc(1, sizeof *l);
    *l = (struct linear){.type = type, .pool = pool};
    if (type == PRODUCT_BF16) {
        size_t n = ((size_t)max_rows + STEP_K) / STEP_K * STEP_K * (size_t)max_width;
        l->bf16 = gemm_bf16_open(pool_threads(pool));
        l->x = xmalloc(n * sizeof *l->x);
        l->dy = xmalloc(n * sizeof *l->dy);
        l->rest = xmalloc((size_t)pool_threads(pool) * STEP_M * TILE_N * sizeof *l->rest);
    }
    return l;
}

void linear_close(struct linear *l)
{
    if (!l)
        return;
    gemm_bf16_close(l->bf16);
    free(l->x);
    free(l->dy);
    free(l->rest);
    free(l);
}

/* C[M,N] (+)= op(A) op(B) + bias, in tiles; one of the two kinds of factors is there. */
struct job {
    struct linear *l;
    bool ta, tb, add;
    int m, n, k, lda, ldb, ldc;
    const float *a, *b, *bias;
    const uint16_t *ab, *bb;
    float *c;
};

static int pieces(int n, int size)
{
    return (n + size - 1) / size;
}

static void multiply(const struct job *j, int thread, int row, int column, int m, int n, float *c,
                     int ldc, bool add)
{
    size_t a = j->ta ? (size_t)row : (size_t)row * (size_t)j->lda;
    size_t b = j->tb ? (size_t)column * (size_t)j->ldb : (size_t)column;
    if (j->ab)
        gemm_bf16(j->l->bf16, thread,
                  &(struct gemm_bf16){j->ta, j->tb, add, m, n, j->k, j->ab + a, j->bb + b, c,
                                      j->lda, j->ldb, ldc});
    else
        gemm(&(struct gemm){j->ta, j->tb, m, n, j->k, 1.0f, add ? 1.0f : 0.0f, j->a + a, j->b + b,
                            c, j->lda, j->ldb, ldc});
}

static void tile(void *arg, int piece, int thread)
{
    const struct job *j = arg;
    int across = pieces(j->n, TILE_N), row = piece / across * TILE_M,
        column = piece % across * TILE_N;
    int m = j->m - row < TILE_M ? j->m - row : TILE_M,
        n = j->n - column < TILE_N ? j->n - column : TILE_N;
    float *c = j->c + (size_t)row * (size_t)j->ldc + column;
    bool add = j->add;
    if (j->bias) {
        for (int i = 0; i < m; i++)
            memcpy(c + (size_t)i * (size_t)j->ldc, j->bias + column, (size_t)n * sizeof *c);
        add = true;
    }
    /* So that primitives are few, rows come in multiples: the last ones go through a buffer, where A
     * has zeros behind them. */
    int whole = j->ab && !j->ta ? m / STEP_M * STEP_M : m, left = m - whole;
    if (whole)
        multiply(j, thread, row, column, whole, n, c, j->ldc, add);
    if (!left)
        return;
    float *rest = j->l->rest + (size_t)thread * STEP_M * TILE_N;
    multiply(j, thread, row + whole, column, STEP_M, n, rest, TILE_N, false);
    for (int i = 0; i < left; i++) {
        float *to = c + (size_t)(whole + i) * (size_t)j->ldc, *from = rest + (size_t)i * TILE_N;
        if (add)
            rows()->add(to, to, from, n);
        else
            memcpy(to, from, (size_t)n * sizeof *to);
    }
}

static void run(struct job *j)
{
    pool_run(j->l->pool, pieces(j->m, TILE_M) * pieces(j->n, TILE_N), tile, j);
}

struct rounding {
    uint16_t *to;
    const float *x;
    int ld, n, k, padded;
};

static void round_rows(void *arg, int piece, int thread)
{
    (void)thread;
    const struct rounding *r = arg;
    int end = (piece + 1) * ROWS < r->padded ? (piece + 1) * ROWS : r->padded;
    for (int i = piece * ROWS; i < end; i++) {
        uint16_t *to = r->to + (size_t)i * (size_t)r->k;
        if (i < r->n)
            rows()->to_bf16(to, r->x + (size_t)i * (size_t)r->ld, (size_t)r->k);
        else
            memset(to, 0, (size_t)r->k * sizeof *to);
    }
}

/* Rows of zeros up to a multiple of STEP_K behind them. */
static const uint16_t *rounded(struct linear *l, uint16_t *to, const float *x, int ld, int n, int k)
{
    struct rounding r = {to, x, ld, n, k, pieces(n, STEP_K) * STEP_K};
    pool_run(l->pool, pieces(r.padded, ROWS), round_rows, &r);
    return to;
}

void linear_forward(struct linear *l, const float *x, int ldx, int n, struct linear_weight w,
                    const float *b, float *y, int ldy)
{
    struct job j = {.l = l,
                    .tb = !w.inputs_first,
                    .m = n,
                    .n = w.o,
                    .k = w.k,
                    .lda = ldx,
                    .ldb = w.inputs_first ? w.o : w.k,
                    .ldc = ldy,
                    .a = x,
                    .b = w.w,
                    .bias = b,
                    .c = y};
    if (n == 0)
        return;
    if (l->type == PRODUCT_BF16) {
        j.ab = rounded(l, l->x, x, ldx, n, w.k);
        j.bb = w.wb;
        j.lda = w.k;
    }
    run(&j);
}

struct columns {
    const float *x;
    float *sum;
    int ld, m, n;
};

static void add_columns(void *arg, int piece, int thread)
{
    (void)thread;
    const struct columns *c = arg;
    int at = piece * COLUMNS, n = c->n - at < COLUMNS ? c->n - at : COLUMNS;
    rows()->add_columns(c->sum + at, c->x + at, c->ld, c->m, n);
}

static void weight_gradient(struct linear *l, const float *x, int ldx, const uint16_t *xb,
                            const float *dy, int lddy, const uint16_t *dyb, int n,
                            struct linear_weight w, float *dw)
{
    bool bf16 = l->type == PRODUCT_BF16;
    int rows_summed = bf16 ? pieces(n, STEP_K) * STEP_K : n;
    struct job j = {.l = l, .ta = true, .add = true, .k = rows_summed, .c = dw};
    if (w.inputs_first) {
        j.m = w.k;
        j.n = w.o;
        j.a = x;
        j.b = dy;
        j.ab = xb;
        j.bb = dyb;
        j.lda = bf16 ? w.k : ldx;
        j.ldb = bf16 ? w.o : lddy;
        j.ldc = w.o;
    } else {
        j.m = w.o;
        j.n = w.k;
        j.a = dy;
        j.b = x;
        j.ab = dyb;
        j.bb = xb;
        j.lda = bf16 ? w.o : lddy;
        j.ldb = bf16 ? w.k : ldx;
        j.ldc = w.k;
    }
    run(&j);
}

static void input_gradient(struct linear *l, const float *dy, int lddy, const uint16_t *dyb, int n,
                           struct linear_weight w, float *dx, int lddx, bool add)
{
    struct job j = {.l = l,
                    .tb = w.inputs_first,
                    .add = add,
                    .m = n,
                    .n = w.k,
                    .k = w.o,
                    .lda = dyb ? w.o : lddy,
                    .ldb = w.inputs_first ? w.o : w.k,
                    .ldc = lddx,
                    .a = dy,
                    .b = w.w,
                    .ab = dyb,
                    .bb = dyb ? w.wb : NULL,
                    .c = dx};
    run(&j);
}

void linear_input_gradient(struct linear *l, const float *dy, int lddy, int n,
                           struct linear_weight w, float *dx, int lddx)
{
    const uint16_t *dyb = l->type == PRODUCT_BF16 && n ? rounded(l, l->dy, dy, lddy, n, w.o) : NULL;
    if (n)
        input_gradient(l, dy, lddy, dyb, n, w, dx, lddx, false);
}

void linear_backward(struct linear *l, const float *x, int ldx, const float *dy, int lddy, int n,
                     struct linear_weight w, float *dw, float *db, float *dx, int lddx, bool add)
{
    const uint16_t *xb = NULL, *dyb = NULL;
    if (n == 0)
        return;
    if (l->type == PRODUCT_BF16) {
        xb = rounded(l, l->x, x, ldx, n, w.k);
        dyb = rounded(l, l->dy, dy, lddy, n, w.o);
    }
    if (db) {
        struct columns c = {dy, db, lddy, n, w.o};
        pool_run(l->pool, pieces(w.o, COLUMNS), add_columns, &c);
    }
    weight_gradient(l, x, ldx, xb, dy, lddy, dyb, n, w, dw);
    if (dx)
        input_gradient(l, dy, lddy, dyb, n, w, dx, lddx, add);
}
