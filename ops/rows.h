/* Row kernels: the inner loops of the ops, one source (ops/rows_body.h) compiled for the base
 * instruction set, AVX2 and AVX-512 into const tables.  rows() picks the table once, by base/cpu.h
 * (RUBRIC_ISA lowers); rows_of() is for tests, which run every table the processor has.  Ops call
 * these; models call ops. No allocation, cannot fail; n = 0 is a no-op.  Pointers need no
 * alignment.  Thread-safe. */
#ifndef OPS_ROWS_H
#define OPS_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"

struct convpool; /* ops/convpool.h */
struct adamw;    /* ops/adamw.h */

struct rows {
    enum cpu_isa isa;
    float (*max)(const float *x, int n); /* n >= 1 */
    float (*exp_sum)(float *y, const float *x, float shift,
                     int n); /* y = e^(x - shift), which may be x; returns the sum of y */
    void (*scale)(float *y, const float *x, float a, int n); /* y = a x; y may be x */
    /* y[o] = bias[o] + sum over c of w[o][c] x[c]; bias NULL = 0 */
    void (*affine)(float *y, const float *x, const float *w, const float *bias, int c, int o);
    void (*bias_relu)(float *y, const float *x, const float *bias,
                      int n); /* y = max(x + bias, 0); y may be x */
    /* y = max(scale q + bias, 0) */
    void (*unfix_relu)(float *y, const int16_t *q, const float *scale, const float *bias, int n);
    void (*adamw)(const struct adamw *a, float *w, const float *g, float *m, float *v, size_t n);
    /* See ops/convpool.h. arg may be NULL. */
    void (*convpool_f32)(const struct convpool *s, const float *p, const int32_t *row, int t,
                         float *y, int32_t *arg);
    void (*convpool_bf16)(const struct convpool *s, const uint16_t *p, const int32_t *row, int t,
                          float *y, int32_t *arg);
    /* See ops/convpool_fixed.h: one tile [rows][w][CONVPOOL_TILE] over n titles; y of title i is
     * y[i * y_stride .. + CONVPOOL_TILE). */
    void (*convpool_int16)(const int16_t *tile, int w, const int32_t *row, const int32_t *start,
                           int n, int16_t *y, size_t y_stride);
    void (*convpool_int8)(const int8_t *tile, int w, const int32_t *row, const int32_t *start,
                          int n, int16_t *y, size_t y_stride);

    /* For transformers (ops/rows_transformer.h).  y may be x (or z). */
    void (*add)(float *y, const float *x, const float *z, int n); /* y = x + z */
    void (*mul)(float *y, const float *x, const float *z, int n); /* y = x z, by element */
    /* LayerNorm (Ba et al., arXiv:1607.06450): y = (x - mean) / sqrt(var + eps) gamma + beta, var
     * over n */
    void (*norm)(float *y, const float *x, const float *gamma, const float *beta, float eps, int n);
    /* RMSNorm (Zhang and Sennrich, arXiv:1910.07467): y = x / sqrt(mean of x^2 + eps) gamma */
    void (*rms_norm)(float *y, const float *x, const float *gamma, float eps, int n);
    /* GELU (Hendrycks and Gimpel, arXiv:1606.08415): x Phi(x), and its approximation by tanh */
    void (*gelu)(float *y, const float *x, int n);
    void (*gelu_tanh)(float *y, const float *x, int n);
    void (*relu)(float *y, const float *x, int n);
    void (*tanh)(float *y, const float *x, int n);
    void (*to_bf16)(uint16_t *y, const float *x, size_t n); /* to nearest, ties to even */
    /* x[i] = scale (q[i] - zero) within scale / 2, 0 <= q <= levels (<= 255), 0 exactly; x finite */
    void (*quantize)(uint8_t *q, const float *x, int levels, float *scale, int32_t *zero, int n);
    /* The product of a quantised row with quantised weights as numbers: w_scale and w_sum are each
     * output's step and sum of weights.
     * y = (sum - zero w_sum) scale w_scale + bias; y may be sum's memory */
    void (*dequantize)(float *y, const int32_t *sum, float scale, int32_t zero,
                       const float *w_scale, const int32_t *w_sum, const float *bias, int n);
    void (*widen_int8)(float *y, const int8_t *q, float scale, int n); /* y = scale q */
    /* softmax(scale s) of n >= 1 scores in place, in whole vectors: s has room for n rounded up to
     * ROWS_PAD, of which those up to the vector's end become 0. */
    void (*softmax_padded)(float *s, float scale, int n);
    void (*transpose)(float *y, int ldy, const float *x, int ldx, int m,
                      int n); /* y[n,m] = x[m,n] transposed */
    /* C[m,n] = A[m,k] B[k,n], row-major with row strides; small ones, on one thread.  Whole vectors
     * are read and written: n rounded up to ROWS_PAD is what rows of B and C must have room for. */
    void (*product)(float *c, int ldc, const float *a, int lda, const float *b, int ldb, int m,
                    int n, int k);

    /* For training (ops/rows_train.h). */
    void (*add_scaled)(float *y, const float *x, float a, int n); /* y += a x */
    float (*dot)(const float *x, const float *y, int n);
    /* dx of norm() and rms_norm() from x and dy; dx may be dy, not x.  *mean (0 for rms_norm) and
     * *scale = 1 / sqrt(... + eps) are the row's, for norm_columns(). */
    void (*norm_back)(float *dx, const float *dy, const float *x, const float *gamma, float eps,
                      float *mean, float *scale, int n);
    void (*rms_norm_back)(float *dx, const float *dy, const float *x, const float *gamma, float eps,
                          float *mean, float *scale, int n);
    /* Over the rows r of m, with stride ld, n columns: dgamma += dy_r (x_r - mean[r]) scale[r], dbeta
     * (NULL: none) += dy_r */
    void (*norm_columns)(float *dgamma, float *dbeta, const float *dy, const float *x, int ld,
                         const float *mean, const float *scale, int m, int n);
    void (*add_columns)(float *sum, const float *x, int ld, int m, int n); /* sum += each row */
    /* ds = scale p (dp - p · dp); ds may be dp */
    void (*softmax_back)(float *ds, const float *p, const float *dp, float scale, int n);
    /* y = f(x) and dx = dy f'(x); y or dx may be x, dx may be dy */
    void (*gelu_back)(float *y, float *dx, const float *x, const float *dy, int n);
    void (*gelu_tanh_back)(float *y, float *dx, const float *x, const float *dy, int n);
    void (*relu_back)(float *y, float *dx, const float *x, const float *dy, int n);
    void (*tanh_back)(float *y, float *dx, const float *x, const float *dy, int n);
    /* See ops/dropout.h: below = p 2^32, stream and seed are rng_block()'s. */
    void (*drop)(float *y, const float *x, int n, uint32_t below, float scale, uint64_t seed,
                 uint64_t stream, uint32_t row);
};

/* Floats that the widest vector has. */
#define ROWS_PAD 16

const struct rows *rows(void);
const struct rows *rows_of(enum cpu_isa isa); /* NULL when this build or processor lacks it */

#endif
