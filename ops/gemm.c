#include "ops/gemm.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ops/gemm_backends.h"

typedef void gemm_fn(const struct gemm *g);

static const struct {
    const char *name;
    bool built;
    gemm_fn *fn;
} backends[GEMM_BACKENDS] = {
    [GEMM_ONEDNN] = {"onednn",
#ifdef RUBRIC_HAVE_ONEDNN
                     true,
#else
                     false,
#endif
                     gemm_onednn},
    [GEMM_OPENBLAS] = {"openblas",
#ifdef RUBRIC_HAVE_OPENBLAS
                       true,
#else
                       false,
#endif
                       gemm_openblas},
    [GEMM_NAIVE] = {"naive", true, gemm_naive},
};

static atomic_int chosen = -1;

/* Sums in float, in the order of k: a specification, not a fast one.  B's row is walked where it
 * lies, for the cache's sake. */
void gemm_naive(const struct gemm *g)
{
    for (int i = 0; i < g->m; i++) {
        float *c = g->c + (size_t)i * (size_t)g->ldc;
        for (int j = 0; j < g->n; j++)
            c[j] = g->beta == 0.0f ? 0.0f : g->beta * c[j];
        for (int p = 0; p < g->k; p++) {
            size_t ai = g->ta ? (size_t)p * (size_t)g->lda + (size_t)i
                              : (size_t)i * (size_t)g->lda + (size_t)p;
            float x = g->alpha * g->a[ai];
            const float *b = g->tb ? g->b + p : g->b + (size_t)p * (size_t)g->ldb;
            size_t step = g->tb ? (size_t)g->ldb : 1;
            for (int j = 0; j < g->n; j++)
                c[j] += x * b[(size_t)j * step];
        }
    }
}

const char *gemm_backend_name(enum gemm_backend b)
{
    return backends[b].name;
}

bool gemm_backend_built(enum gemm_backend b)
{
    return backends[b].built;
}

enum gemm_backend gemm_backend(void)
{
    int now = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (now >= 0)
        return (enum gemm_backend)now;
    const char *want = getenv("RUBRIC_GEMM");
    int first = -1;
    for (int i = 0; i < GEMM_BACKENDS; i++) {
        if (!backends[i].built)
            continue;
        if (first < 0)
            first = i;
        if (want && strcmp(want, backends[i].name) == 0)
            now = i;
    }
    now = now < 0 ? first : now;
    atomic_store_explicit(&chosen, now,
                          memory_order_relaxed); /* two racing callers store the same */
    return (enum gemm_backend)now;
}

void gemm_backend_set(enum gemm_backend b)
{
    assert(backends[b].built);
    atomic_store(&chosen, (int)b);
}

void gemm(const struct gemm *g)
{
    assert(g->m >= 0 && g->n >= 0 && g->k >= 0);
    if (g->m == 0 || g->n == 0)
        return;
    if (g->k == 0)
        gemm_naive(g); /* libraries differ on whether an empty sum still scales C */
    else
        backends[gemm_backend()].fn(g);
}

static int tiles(int size, int tile)
{
    return (size + tile - 1) / tile;
}

static void tile_piece(void *arg, int piece, int thread)
{
    (void)thread;
    const struct gemm *all = arg;
    int across = tiles(all->n, GEMM_TILE_N);
    int i = piece / across * GEMM_TILE_M, j = piece % across * GEMM_TILE_N;
    struct gemm g = *all;
    g.m = all->m - i < GEMM_TILE_M ? all->m - i : GEMM_TILE_M;
    g.n = all->n - j < GEMM_TILE_N ? all->n - j : GEMM_TILE_N;
    g.a += all->ta ? (size_t)i : (size_t)i * (size_t)all->lda;
    g.b += all->tb ? (size_t)j * (size_t)all->ldb : (size_t)j;
    g.c += (size_t)i * (size_t)all->ldc + (size_t)j;
    gemm(&g);
}

void gemm_parallel(const struct gemm *g, struct pool *pool)
{
    if (g->m == 0 || g->n == 0)
        return;
    struct gemm copy = *g; /* pool_fn takes a mutable argument */
    pool_run(pool, tiles(g->m, GEMM_TILE_M) * tiles(g->n, GEMM_TILE_N), tile_piece, &copy);
}
