#include "ops/product.h"

#include "ops/gemm.h"
#include "ops/projection.h"
#include "tests/ops/numbers.h"

static const int shapes[][2] = {{1, 1}, {7, 5}, {48, 16}, {130, 64}, {33, 257}, {96, 768}};
enum { SHAPES = sizeof shapes / sizeof *shapes, MAX_M = 40 };
static const int ms[] = {1, 2, 8, 9, 24, 39, 40};
enum { MS = sizeof ms / sizeof *ms };

static void each_backend(void (*fn)(void))
{
    enum gemm_backend before = gemm_backend();
    for (int b = 0; b < GEMM_BACKENDS; b++)
        if (gemm_backend_built((enum gemm_backend)b)) {
            gemm_backend_set((enum gemm_backend)b);
            fn();
        }
    gemm_backend_set(before);
}

static double bf16(float x)
{
    uint16_t h;
    rows()->to_bf16(&h, &x, 1);
    uint32_t bits = (uint32_t)h << 16;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void floats(enum product_type type)
{
    for (int s = 0; s < SHAPES; s++) {
        int n = shapes[s][0], k = shapes[s][1];
        float *w = numbers((size_t)(n * k), 1, 1), *x = numbers((size_t)(MAX_M * k), 2, 1);
        float *y = xcalloc((size_t)(MAX_M * n), sizeof *y);
        uint16_t *h = xmalloc((size_t)(MAX_M * k) * sizeof *h);
        rows()->to_bf16(h, x, (size_t)(MAX_M * k));
        struct product_kernel *pk = product_kernel_open(type, n, k, MAX_M);
        struct product_weights *pw = product_pack(pk, w);
        struct product_lane *lane = product_lane_open(pk);
        for (int a = 0; a < MS; a++) {
            product_run(lane, pw, type == PRODUCT_BF16 ? (const void *)h : x, ms[a], y);
            for (int i = 0; i < ms[a]; i++)
                for (int j = 0; j < n; j++) {
                    double sum = 0;
                    for (int p = 0; p < k; p++)
                        sum += type == PRODUCT_BF16 ? bf16(x[i * k + p]) * bf16(w[j * k + p])
                                                    : (double)x[i * k + p] * w[j * k + p];
                    assert_near(y[i * n + j], sum, 2e-5 * sqrt(k) + 1e-6);
                }
        }
        product_lane_close(lane);
        product_weights_close(pw);
        product_kernel_close(pk);
        free(w);
        free(x);
        free(y);
        free(h);
    }
}

static void fp32(void)
{
    floats(PRODUCT_FP32);
}

static void bytes(void)
{
    for (int s = 0; s < SHAPES; s++)
        for (int extreme = 0; extreme < 3; extreme++) {
            int n = shapes[s][0], k = shapes[s][1], most = product_max_u8();
            int8_t *w = xmalloc((size_t)(n * k));
            uint8_t *x = xmalloc((size_t)(MAX_M * k));
            int32_t *y = xcalloc((size_t)(MAX_M * n), sizeof *y);
            for (int i = 0; i < n * k; i++)
                w[i] = (int8_t)(extreme ? (extreme == 1 ? 127 : -127) : (i * 37) % 255 - 127);
            for (int i = 0; i < MAX_M * k; i++)
                x[i] = (uint8_t)(extreme ? most : (i * 91) % (most + 1));
            struct product_kernel *pk = product_kernel_open(PRODUCT_INT8, n, k, MAX_M);
            struct product_weights *pw = product_pack(pk, w);
            struct product_lane *lane = product_lane_open(pk);
            for (int a = 0; a < MS; a++) {
                product_run(lane, pw, x, ms[a], y);
                for (int i = 0; i < ms[a]; i++)
                    for (int j = 0; j < n; j++) {
                        int32_t sum = 0;
                        for (int p = 0; p < k; p++)
                            sum += x[i * k + p] * w[j * k + p];
                        assert_int_equal(y[i * n + j], sum);
                    }
            }
            product_lane_close(lane);
            product_weights_close(pw);
            product_kernel_close(pk);
            free(w);
            free(x);
            free(y);
        }
}

/* A linear layer through its rows: exact in fp32, within the steps of its bytes in int8. */
static void layer(enum product_type type, double within)
{
    enum { N = 70, K = 96, M = 17 };
    float *w = numbers(N * K, 1, 0.1), *b = numbers(N, 2, 1), *x = numbers(M * K, 3, 1);
    struct projection_set *set = projection_set_open(M);
    struct projection *p = projection_open(set, type, N, K, w, b),
                      *bare = projection_open(set, type, N, K, w, NULL);
    struct projection_lanes *lanes = projection_lanes_open(set);
    struct projection_rows in = {xcalloc((size_t)product_rows(M) * K, sizeof(float)),
                                 xcalloc(M, sizeof(float)), xcalloc(M, sizeof(int32_t))};
    float *sum = xcalloc((size_t)product_rows(M) * N, sizeof *sum), y[N], z[N];
    assert_int_equal(projection_width(p), N);
    assert_int_equal(projection_type(p), type);
    for (int i = 0; i < M; i++)
        projection_put(p, &in, i, x + i * K);
    projection_run(lanes, p, &in, M, sum);
    double worst = 0, largest = 0;
    for (int i = 0; i < M; i++) {
        projection_take(p, &in, sum, i, y);
        projection_take(bare, &in, sum, i, z);
        for (int j = 0; j < N; j++) {
            double expected = b[j];
            for (int k = 0; k < K; k++)
                expected += (double)x[i * K + k] * w[j * K + k];
            worst = fmax(worst, fabs(y[j] - expected));
            largest = fmax(largest, fabs(expected));
            assert_near(y[j], z[j] + b[j], 1e-5);
        }
    }
    assert_near(worst / largest, 0, within);
    projection_lanes_close(lanes);
    projection_close(p);
    projection_close(bare);
    projection_set_close(set);
    free(in.data);
    free(in.scale);
    free(in.zero);
    free(w);
    free(b);
    free(x);
    free(sum);
}

static void layers(void)
{
    layer(PRODUCT_FP32, 1e-6);
    layer(PRODUCT_INT8, 0.02);
    if (product_has(PRODUCT_BF16))
        layer(PRODUCT_BF16, 0.01);
}

static void test_fp32(void **state)
{
    (void)state;
    each_backend(fp32);
}

static void test_bf16(void **state)
{
    (void)state;
    assert_true(product_has(PRODUCT_FP32) && product_has(PRODUCT_INT8));
    if (product_has(PRODUCT_BF16))
        floats(PRODUCT_BF16);
    enum gemm_backend before = gemm_backend();
    gemm_backend_set(GEMM_NAIVE);
    assert_false(product_has(PRODUCT_BF16));
    floats(PRODUCT_BF16); /* slow, but right */
    gemm_backend_set(before);
}

static void test_bytes_are_exact(void **state)
{
    (void)state;
    each_backend(bytes);
}

static void test_layers(void **state)
{
    (void)state;
    each_backend(layers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fp32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_bytes_are_exact),
        cmocka_unit_test(test_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
