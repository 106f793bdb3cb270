/* The yardstick of this engine: the rate at which bare packed products (ops/product.h: oneDNN and
 * nothing around it) of a model's shapes run, all layers' weights in turn, on all threads at once.
 *     bench_roofline --model DIR --precision fp32|bf16|int8 [--threads N] [--seconds S]
 * prints {"flops_per_s": …} on one line.  Rows go through in the engine's own blocks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/json.h"
#include "base/file.h"
#include "base/options.h"
#include "base/pool.h"
#include "models/body.h"
#include "models/transformer.h"
#include "ops/product.h"

enum { SHAPES = 4, ROWS = 1024 };

static const struct opt options[] = {
    {"model", OPT_STR, NULL, 0, 0, NULL, "model directory", false},
    {"precision", OPT_STR, "fp32", 0, 0, NULL, "as rubric-worker takes it", false},
    {"threads", OPT_INT, "0", 0, 1024, NULL, "threads; 0 = what the cgroup allows", false},
    {"seconds", OPT_REAL, "1", 0.1, 600, NULL, "how long", false},
};
#define N_OPTIONS (sizeof options / sizeof *options)

struct roofline {
    int layers;
    int n[SHAPES], k[SHAPES]; /* queries, keys and values; output; inner; outer */
    struct product_kernel *kernels[SHAPES];
    struct product_weights **weights; /* [layers][SHAPES] */
    int64_t until_ns;
    double *flops; /* [threads] */
};

static void open_shapes(struct roofline *r, enum product_type type)
{
    r->weights = xcalloc((size_t)r->layers * SHAPES, sizeof(struct product_weights *));
    for (int s = 0; s < SHAPES; s++) {
        size_t cells = (size_t)r->n[s] * (size_t)r->k[s];
        float *w = xmalloc(cells * sizeof *w);
        r->kernels[s] = product_kernel_open(type, r->n[s], r->k[s], BODY_BLOCK);
        for (size_t i = 0; i < cells; i++)
            w[i] = 0.01f * (float)(i % 17);
        if (type == PRODUCT_INT8)
            memset(w, 3, cells);
        for (int l = 0; l < r->layers; l++)
            r->weights[l * SHAPES + s] = product_pack(r->kernels[s], w);
        free(w);
    }
}

static void run(void *arg, int piece, int thread)
{
    struct roofline *r = arg;
    struct product_lane *lanes[SHAPES];
    size_t wide = 1, deep = 1;
    (void)thread;
    for (int s = 0; s < SHAPES; s++) {
        lanes[s] = product_lane_open(r->kernels[s]);
        wide = (size_t)r->n[s] > wide ? (size_t)r->n[s] : wide;
        deep = (size_t)r->k[s] > deep ? (size_t)r->k[s] : deep;
    }
    float *x = xcalloc(BODY_BLOCK * deep, sizeof *x), *y = xcalloc(BODY_BLOCK * wide, sizeof *y);
    while (clock_ns() < r->until_ns)
        for (int l = 0; l < r->layers; l++)
            for (int s = 0; s < SHAPES; s++)
                for (int i = 0; i < ROWS; i += BODY_BLOCK) {
                    product_run(lanes[s], r->weights[l * SHAPES + s], x, BODY_BLOCK, y);
                    r->flops[piece] += 2.0 * BODY_BLOCK * r->n[s] * r->k[s];
                }
    for (int s = 0; s < SHAPES; s++)
        product_lane_close(lanes[s]);
    free(x);
    free(y);
}

static int read_shapes(const char *dir, struct roofline *r, struct err *err)
{
    struct transformer_config c;
    char *path = file_path("%s/config.json", dir);
    json_t *config = json_parse_file(path, 1 << 24, err);
    free(path);
    int rc = config ? transformer_config_read(config, NULL, &c, err) : -1;
    json_decref(config);
    if (rc != 0)
        return -1;
    int a = c.heads * c.head_size;
    r->layers = c.family == FAMILY_ALBERT ? c.groups * c.inner_layers : c.layers;
    const int n[SHAPES] = {3 * a, c.hidden, c.inner, c.hidden},
              k[SHAPES] = {c.hidden, a, c.hidden, c.inner};
    memcpy(r->n, n, sizeof n);
    memcpy(r->k, k, sizeof k);
    return 0;
}

int main(int argc, char **argv)
{
    struct options *o = options_open(options, N_OPTIONS, NULL);
    struct roofline r = {0};
    struct err err = {0};
    enum precision precision;
    const char **rest = xcalloc((size_t)argc + 1, sizeof(char *));
    int n_rest = 0, status = 0;
    if (options_read_args(o, argc - 1, argv + 1, rest, &n_rest, &err) != 0 ||
        (!options_str(o, "model") && err_set(&err, ERR_USAGE, "model is not set")) ||
        precision_parse(options_str(o, "precision"), &precision, &err) != 0 ||
        read_shapes(options_str(o, "model"), &r, &err) != 0) {
        (void)fprintf(stderr, "bench_roofline: %s\n", err.msg);
        status = err_exit_status(&err);
    } else {
        int threads = (int)options_int(o, "threads");
        struct pool *pool = pool_open(threads);
        threads = pool_threads(pool);
        r.flops = xcalloc((size_t)threads, sizeof *r.flops);
        open_shapes(&r, transformer_product_type(&precision, NULL));
        double total = 0, best = 0;
        for (int round = 0; round < 2; round++) { /* the first warms up */
            int64_t begin = clock_ns();
            memset(r.flops, 0, (size_t)threads * sizeof *r.flops);
            r.until_ns = begin + (int64_t)(options_real(o, "seconds") * (round ? 1e9 : 2e8));
            pool_run(pool, threads, run, &r);
            total = 0;
            for (int i = 0; i < threads; i++)
                total += r.flops[i];
            best = total / ((double)(clock_ns() - begin) * 1e-9);
        }
        (void)printf("{\"flops_per_s\": %.6g, \"precision\": \"%s\", \"kernels\": \"%s\"}\n", best,
                     precision_name(precision), product_kernel_name(r.kernels[0]));
        pool_close(pool);
        for (int i = 0; i < r.layers * SHAPES; i++)
            product_weights_close(r.weights[i]);
        for (int i = 0; i < SHAPES; i++)
            product_kernel_close(r.kernels[i]);
        free(r.weights);
        free(r.flops);
    }
    options_close(o);
    free(rest);
    return status;
}
