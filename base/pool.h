/* A fixed pool of threads for parallel loops. Not OpenMP: ThreadSanitizer cannot see into libgomp,
 * and a loop's result must not depend on the number of threads. Work is cut into `n` numbered
 * pieces by the caller; which thread runs a piece is left open, what a piece computes is not. The
 * calling thread works too. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

struct pool; /* one parallel loop at a time; calls come from one thread at a time */

typedef void pool_fn(void *arg, int piece, int thread); /* 0 <= thread < pool_threads() */

struct pool *pool_open(int threads);       /* threads < 1: cpu_count() */
void pool_close(struct pool *pool);        /* NULL allowed */
int pool_threads(const struct pool *pool); /* NULL: 1 */
/* Runs fn(arg, 0..n-1); returns when all are done. pool NULL runs them here, in order. */
void pool_run(struct pool *pool, int n, pool_fn *fn, void *arg);

#endif
