/* Inside of ops/product.c: what oneDNN does of it.  The one owner of the primitives is
 * ops/product_onednn.c. */
#ifndef OPS_PRODUCT_BACKENDS_H
#define OPS_PRODUCT_BACKENDS_H

#include "ops/product.h"

struct onednn_kernel;
struct onednn_weights;
struct onednn_lane;

/* NULL: this build has no oneDNN, or only its reference implementation would run. */
struct onednn_kernel *onednn_kernel_open(enum product_type type, int n, int k, int max_m);
void onednn_kernel_close(struct onednn_kernel *pk);
const char *onednn_kernel_name(const struct onednn_kernel *pk);
/* w in the kernel's own types (bfloat16 for BF16). */
struct onednn_weights *onednn_pack(const struct onednn_kernel *pk, const void *w);
void onednn_weights_close(struct onednn_weights *pw);
size_t onednn_weights_bytes(const struct onednn_weights *pw);
struct onednn_lane *onednn_lane_open(const struct onednn_kernel *pk);
void onednn_lane_close(struct onednn_lane *lane);
void onednn_run(struct onednn_lane *lane, const struct onednn_weights *pw, const void *x, int m,
                void *y);

#endif
