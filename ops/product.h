/* Products with weights that are packed once and shared by threads:
 *     Y[M,N] = X[M,K] · W[N,K]^T
 *
 *     type           X          W as packed    Y
 *     PRODUCT_FP32   float      float          float
 *     PRODUCT_BF16   bfloat16   bfloat16       float
 *     PRODUCT_INT8   uint8_t    int8_t         int32_t, exact for X <= product_max_u8()
 *
 * A kernel belongs to a shape (type, N, K); layers of one shape share it.  oneDNN makes a primitive
 * for every M, and prefers weights in a layout of its own: so a kernel has one for each multiple
 * of PRODUCT_STEP up to its largest M, all made at open, and rows are computed in such multiples.
 * Without oneDNN the plain GEMM (ops/gemm.h) and a simple loop over integers do the same.
 * The backend is the one in use at open (gemm_backend()).
 *
 * A kernel and packed weights are const after open and shared by threads; a lane belongs to one
 * thread at a time and holds what a call needs, so product_run() allocates nothing of its own. */
#ifndef OPS_PRODUCT_H
#define OPS_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum product_type { PRODUCT_FP32, PRODUCT_BF16, PRODUCT_INT8, PRODUCT_TYPES };
#define PRODUCT_STEP 8

/* FP32 always; BF16 when oneDNN is the backend and the processor has the instructions; INT8 unless
 * oneDNN is the backend and has none for this processor but its slow reference. */
bool product_has(enum product_type type);
/* 255; 127 where pairs of products are summed in 16 bits (no VNNI), which larger values would
 * saturate. */
int product_max_u8(void);
/* m rounded up to PRODUCT_STEP: the rows that X and Y must have room for. */
int product_rows(int m);

struct product_kernel;
struct product_kernel *product_kernel_open(enum product_type type, int n, int k, int max_m);
void product_kernel_close(struct product_kernel *pk); /* NULL allowed */
/* What runs, for logs: "brg:avx512_core_vnni", "gemm:jit", "naive", … */
const char *product_kernel_name(const struct product_kernel *pk);

/* w [N][K]: float for FP32 and BF16 (rounded to nearest even), int8_t for INT8; not kept. */
struct product_weights;
struct product_weights *product_pack(const struct product_kernel *pk, const void *w);
void product_weights_close(struct product_weights *pw); /* NULL allowed */
size_t product_weights_bytes(const struct product_weights *pw);

struct product_lane;
struct product_lane *product_lane_open(const struct product_kernel *pk);
void product_lane_close(struct product_lane *lane); /* NULL allowed */

/* m <= the kernel's max_m.  x and y have product_rows(m) rows without gaps; what stands in rows
 * beyond m does not matter to the rows before it.  y overlaps neither x nor w.  Cannot fail;
 * m = 0 is a no-op. */
void product_run(struct product_lane *lane, const struct product_weights *pw, const void *x, int m,
                 void *y);

#endif
