#include "ops/projection.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "ops/int8.h"
#include "ops/rows.h"

enum { MAX_KERNELS = 32 };

struct projection_set {
    int max_m, n;
    struct shape {
        enum product_type type;
        int n, k;
        struct product_kernel *kernel;
    } shapes[MAX_KERNELS];
};

struct projection {
    enum product_type type;
    int n, k, kernel; /* which of the set's */
    int levels;       /* of a row's bytes */
    struct product_weights *weights;
    float *bias;    /* [N] */
    float *w_scale; /* [N], int8 only */
    int32_t *w_sum; /* [N] */
};

struct projection_lanes {
    int n;
    struct product_lane *lanes[MAX_KERNELS];
};

struct projection_set *projection_set_open(int max_m)
{
    struct projection_set *s = xcalloc(1, sizeof *s);
    s->max_m = max_m;
    return s;
}

void projection_set_close(struct projection_set *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->n; i++)
        product_kernel_close(s->shapes[i].kernel);
    free(s);
}

const char *projection_set_name(const struct projection_set *s, enum product_type type)
{
    for (int i = 0; i < s->n; i++)
        if (s->shapes[i].type == type)
            return product_kernel_name(s->shapes[i].kernel);
    return NULL;
}

static int kernel_of(struct projection_set *s, enum product_type type, int n, int k)
{
    int i = 0;
    while (i < s->n && (s->shapes[i].type != type || s->shapes[i].n != n || s->shapes[i].k != k))
        i++;
    if (i == s->n) {
        if (i == MAX_KERNELS)
            abort(); /* a model has ten shapes at most, each in three types */
        s->shapes[s->n++] = (struct shape){type, n, k, product_kernel_open(type, n, k, s->max_m)};
    }
    return i;
}

/* Per output: the step that takes its largest weight to 127. */
static int8_t *quantize_weights(struct projection *p, const float *w)
{
    int8_t *q = xmalloc((size_t)p->n * (size_t)p->k);
    p->w_scale = xmalloc((size_t)p->n * sizeof *p->w_scale);
    p->w_sum = xmalloc((size_t)p->n * sizeof *p->w_sum);
    for (int i = 0; i < p->n; i++) {
        const float *row = w + (size_t)i * (size_t)p->k;
        int8_t *to = q + (size_t)i * (size_t)p->k;
        int32_t sum = 0;
        p->w_scale[i] = int8_quantize(to, row, (size_t)p->k, 1);
        for (int j = 0; j < p->k; j++)
            sum += to[j];
        p->w_sum[i] = sum;
    }
    return q;
}

struct projection *projection_open(struct projection_set *s, enum product_type type, int n, int k,
                                   const float *w, const float *bias)
{
    struct projection *p = xcalloc(1, sizeof *p);
    p->type = type;
    p->n = n;
    p->k = k;
    p->levels = product_max_u8();
    p->kernel = kernel_of(s, type, n, k);
    p->bias = xcalloc((size_t)n, sizeof *p->bias);
    if (bias)
        memcpy(p->bias, bias, (size_t)n * sizeof *bias);
    int8_t *q = type == PRODUCT_INT8 ? quantize_weights(p, w) : NULL;
    p->weights = product_pack(s->shapes[p->kernel].kernel, q ? (const void *)q : w);
    free(q);
    return p;
}

void projection_close(struct projection *p)
{
    if (!p)
        return;
    product_weights_close(p->weights);
    free(p->bias);
    free(p->w_scale);
    free(p->w_sum);
    free(p);
}

size_t projection_bytes(const struct projection *p)
{
    size_t vectors = p->type == PRODUCT_INT8 ? 3 : 1;
    return product_weights_bytes(p->weights) + vectors * (size_t)p->n * sizeof(float);
}

enum product_type projection_type(const struct projection *p)
{
    return p->type;
}

int projection_width(const struct projection *p)
{
    return p->n;
}

struct projection_lanes *projection_lanes_open(const struct projection_set *s)
{
    struct projection_lanes *lanes = xcalloc(1, sizeof *lanes);
    for (lanes->n = 0; lanes->n < s->n; lanes->n++)
        lanes->lanes[lanes->n] = product_lane_open(s->shapes[lanes->n].kernel);
    return lanes;
}

void projection_lanes_close(struct projection_lanes *lanes)
{
    if (!lanes)
        return;
    for (int i = 0; i < lanes->n; i++)
        product_lane_close(lanes->lanes[i]);
    free(lanes);
}

void projection_put(const struct projection *p, const struct projection_rows *in, int row,
                    const float *x)
{
    size_t at = (size_t)row * (size_t)p->k;
    if (p->type == PRODUCT_INT8)
        rows()->quantize((uint8_t *)in->data + at, x, p->levels, &in->scale[row], &in->zero[row],
                         p->k);
    else if (p->type == PRODUCT_BF16)
        rows()->to_bf16((uint16_t *)in->data + at, x, (size_t)p->k);
    else if (x != (float *)in->data + at)
        memcpy((float *)in->data + at, x, (size_t)p->k * sizeof *x);
}

void projection_run(struct projection_lanes *lanes, const struct projection *p,
                    const struct projection_rows *in, int m, void *sum)
{
    product_run(lanes->lanes[p->kernel], p->weights, in->data, m, sum);
}

void projection_take(const struct projection *p, const struct projection_rows *in, const void *sum,
                     int row, float *y)
{
    size_t at = (size_t)row * (size_t)p->n;
    if (p->type == PRODUCT_INT8)
        rows()->dequantize(y, (const int32_t *)sum + at, in->scale[row], in->zero[row], p->w_scale,
                           p->w_sum, p->bias, p->n);
    else
        rows()->add(y, (const float *)sum + at, p->bias, p->n);
}
