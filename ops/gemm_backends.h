/* Private to ops/gemm*.c: one function per backend, all of gemm()'s contract but for empty
 * matrices, which gemm() keeps away. */
#ifndef OPS_GEMM_BACKENDS_H
#define OPS_GEMM_BACKENDS_H

#include "ops/gemm.h"

void gemm_onednn(const struct gemm *g);
void gemm_openblas(const struct gemm *g);
void gemm_naive(const struct gemm *g);
void onednn_one_thread(void); /* to be called before oneDNN is, on every thread that does */

#endif
