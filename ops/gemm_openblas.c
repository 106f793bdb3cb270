#include "ops/gemm_backends.h"

#ifdef RUBRIC_HAVE_OPENBLAS

#include <pthread.h>

#include <cblas-openblas.h> /* by this name it is OpenBLAS, whatever else is installed */

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void single_thread(void)
{
    openblas_set_num_threads(1);
}

void gemm_openblas(const struct gemm *g)
{
    (void)pthread_once(&once, single_thread);
    cblas_sgemm(CblasRowMajor, g->ta ? CblasTrans : CblasNoTrans, g->tb ? CblasTrans : CblasNoTrans,
                g->m, g->n, g->k, g->alpha, g->a, g->lda, g->b, g->ldb, g->beta, g->c, g->ldc);
}

#else

void gemm_openblas(const struct gemm *g)
{
    gemm_naive(g);
}

#endif
