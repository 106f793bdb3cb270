#include "ops/gemm_backends.h"

#ifdef RUBRIC_HAVE_OPENBLAS

#include <pthread.h>

#include <cblas-openblas.h> /* by this name it is OpenBLAS, whatever else is installed */

/* A sequential build (Debian's libopenblas-serial) hands its work buffers out without a lock: calls
 * from two threads now and then share one and give wrong sums (OpenBLAS issues 2126 and 2711; here
 * about 1 product of 5,000).  Such a build gets one call at a time; the other builds, which lock by
 * themselves, run one thread in each call. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static bool sequential;

static void look_at_build(void)
{
    sequential = openblas_get_parallel() == OPENBLAS_SEQUENTIAL;
    openblas_set_num_threads(1);
}

void gemm_openblas(const struct gemm *g)
{
    (void)pthread_once(&once, look_at_build);
    if (sequential)
        (void)pthread_mutex_lock(&one_at_a_time);
    cblas_sgemm(CblasRowMajor, g->ta ? CblasTrans : CblasNoTrans, g->tb ? CblasTrans : CblasNoTrans,
                g->m, g->n, g->k, g->alpha, g->a, g->lda, g->b, g->ldb, g->beta, g->c, g->ldc);
    if (sequential)
        (void)pthread_mutex_unlock(&one_at_a_time);
}

#else

void gemm_openblas(const struct gemm *g)
{
    gemm_naive(g);
}

#endif
