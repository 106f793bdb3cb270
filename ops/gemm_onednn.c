#include "ops/gemm_backends.h"

#ifdef RUBRIC_HAVE_ONEDNN

#include <stdio.h>
#include <stdlib.h>

#include <dnnl.h>

#if DNNL_CPU_RUNTIME == DNNL_RUNTIME_OMP
/* <omp.h> is not there for every compiler; this is the one call that is needed of it, and its ABI
 * is fixed by OpenMP. */
extern void omp_set_num_threads(int n);
#else
static void omp_set_num_threads(int n)
{
    (void)n;
}
#endif

/* OpenMP keeps the number of threads per calling thread; our threads are the parallelism, so each
 * caller gets 1. */
void onednn_one_thread(void)
{
    static _Thread_local int single;
    if (!single) {
        omp_set_num_threads(1);
        single = 1;
    }
}

void gemm_onednn(const struct gemm *g)
{
    onednn_one_thread();
    /* dnnl_sgemm is row-major and the same function in 2.x and 3.x. */
    dnnl_status_t s = dnnl_sgemm(g->ta ? 'T' : 'N', g->tb ? 'T' : 'N', g->m, g->n, g->k, g->alpha,
                                 g->a, g->lda, g->b, g->ldb, g->beta, g->c, g->ldc);
    if (s != dnnl_success) { /* wrong arguments or out of memory: neither has a way on */
        (void)fprintf(stderr, "oneDNN: dnnl_sgemm failed with status %d\n", (int)s);
        abort();
    }
}

#else

void gemm_onednn(const struct gemm *g)
{
    gemm_naive(g);
}

#endif
