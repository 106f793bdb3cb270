#include "ops/product.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/err.h"
#include "ops/gemm.h"
#include "ops/product_backends.h"
#include "ops/rows.h"

/* Exactly one of onednn and the plain path is in use. */
struct product_kernel {
    enum product_type type;
    int n, k;
    enum gemm_backend backend;
    struct onednn_kernel *onednn;
};

struct product_weights {
    const struct product_kernel *kernel;
    struct onednn_weights *onednn;
    void *plain; /* [N][K] */
    size_t bytes;
};

struct product_lane {
    const struct product_kernel *kernel;
    struct onednn_lane *onednn;
};

static pthread_once_t probed = PTHREAD_ONCE_INIT;
static bool onednn_has_int8;

static void probe(void)
{
    struct onednn_kernel *pk = onednn_kernel_open(PRODUCT_INT8, 64, 64, PRODUCT_STEP);
    onednn_has_int8 = pk != NULL;
    onednn_kernel_close(pk);
}

bool product_has(enum product_type type)
{
    bool onednn = gemm_backend() == GEMM_ONEDNN;
    if (type == PRODUCT_BF16)
        return onednn && cpu_has_bf16();
    if (type == PRODUCT_INT8 && onednn) {
        (void)pthread_once(&probed, probe);
        return onednn_has_int8;
    }
    return true;
}

int product_max_u8(void)
{
    return cpu_has_vnni() ? 255 : 127;
}

int product_rows(int m)
{
    return (m + PRODUCT_STEP - 1) / PRODUCT_STEP * PRODUCT_STEP;
}

struct product_kernel *product_kernel_open(enum product_type type, int n, int k, int max_m)
{
    struct product_kernel *pk = xcalloc(1, sizeof *pk);
    *pk = (struct product_kernel){type, n, k, gemm_backend(), NULL};
    if (pk->backend == GEMM_ONEDNN)
        pk->onednn = onednn_kernel_open(type, n, k, max_m);
    return pk;
}

void product_kernel_close(struct product_kernel *pk)
{
    if (!pk)
        return;
    onednn_kernel_close(pk->onednn);
    free(pk);
}

const char *product_kernel_name(const struct product_kernel *pk)
{
    if (pk->onednn)
        return onednn_kernel_name(pk->onednn);
    return pk->type == PRODUCT_INT8 ? "plain" : gemm_backend_name(pk->backend);
}

static size_t element(enum product_type type)
{
    return type == PRODUCT_FP32 ? sizeof(float) : type == PRODUCT_BF16 ? sizeof(uint16_t) : 1;
}

struct product_weights *product_pack(const struct product_kernel *pk, const void *w)
{
    struct product_weights *pw = xcalloc(1, sizeof *pw);
    size_t n = (size_t)pk->n * (size_t)pk->k;
    void *own = NULL;
    pw->kernel = pk;
    pw->bytes = n * element(pk->type);
    if (pk->type == PRODUCT_BF16 || !pk->onednn)
        own = xmalloc(pw->bytes);
    if (pk->type == PRODUCT_BF16)
        rows()->to_bf16(own, w, n);
    else if (own)
        memcpy(own, w, pw->bytes);
    if (!pk->onednn) {
        pw->plain = own;
        return pw;
    }
    pw->onednn = onednn_pack(pk->onednn, own ? own : w);
    pw->bytes = onednn_weights_bytes(pw->onednn);
    free(own);
    return pw;
}

void product_weights_close(struct product_weights *pw)
{
    if (!pw)
        return;
    onednn_weights_close(pw->onednn);
    free(pw->plain);
    free(pw);
}

size_t product_weights_bytes(const struct product_weights *pw)
{
    return pw->bytes;
}

struct product_lane *product_lane_open(const struct product_kernel *pk)
{
    struct product_lane *lane = xcalloc(1, sizeof *lane);
    lane->kernel = pk;
    lane->onednn = pk->onednn ? onednn_lane_open(pk->onednn) : NULL;
    return lane;
}

void product_lane_close(struct product_lane *lane)
{
    if (!lane)
        return;
    onednn_lane_close(lane->onednn);
    free(lane);
}

static void plain_int8(const struct product_kernel *pk, const int8_t *w, const uint8_t *x, int m,
                       int32_t *y)
{
    for (int i = 0; i < m; i++, x += pk->k, y += pk->n)
        for (int j = 0; j < pk->n; j++) {
            const int8_t *row = w + (size_t)j * (size_t)pk->k;
            int32_t sum = 0;
            for (int p = 0; p < pk->k; p++)
                sum += x[p] * row[p];
            y[j] = sum;
        }
}

/* Only where product_has() was not asked: bfloat16 without its instructions. */
static void plain_bf16(const struct product_kernel *pk, const uint16_t *w, const uint16_t *x, int m,
                       float *y)
{
    for (int i = 0; i < m; i++, x += pk->k, y += pk->n)
        for (int j = 0; j < pk->n; j++) {
            const uint16_t *row = w + (size_t)j * (size_t)pk->k;
            float sum = 0.0f;
            for (int p = 0; p < pk->k; p++) {
                uint32_t a = (uint32_t)x[p] << 16, b = (uint32_t)row[p] << 16;
                float fa, fb;
                memcpy(&fa, &a, sizeof fa);
                memcpy(&fb, &b, sizeof fb);
                sum += fa * fb;
            }
            y[j] = sum;
        }
}

void product_run(struct product_lane *lane, const struct product_weights *pw, const void *x, int m,
                 void *y)
{
    const struct product_kernel *pk = lane->kernel;
    if (m == 0)
        return;
    if (lane->onednn)
        onednn_run(lane->onednn, pw->onednn, x, m, y);
    else if (pk->type == PRODUCT_INT8)
        plain_int8(pk, pw->plain, x, m, y);
    else if (pk->type == PRODUCT_BF16)
        plain_bf16(pk, pw->plain, x, m, y);
    else
        gemm(&(struct gemm){false, true, m, pk->n, pk->k, 1.0f, 0.0f, x, pw->plain, y, pk->k, pk->k,
                            pk->n});
}
