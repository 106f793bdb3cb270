#include "ops/product_backends.h"

#ifdef RUBRIC_HAVE_ONEDNN

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "ops/gemm_backends.h"
#include "ops/onednn.h"

enum { LINE = 64, ARGS = 4 };

struct step {
    dnnl_primitive_t primitive;
    dnnl_primitive_desc_t pd;
};

struct onednn_kernel {
    enum product_type type;
    int n, k, n_steps;
    dnnl_engine_t engine;
    struct step *steps; /* [n_steps], for (i + 1) * PRODUCT_STEP rows */
    char name[40];
};

struct onednn_weights {
    dnnl_memory_t memory;
    void *data;
    size_t bytes;
};

struct onednn_lane {
    const struct onednn_kernel *kernel;
    dnnl_stream_t stream;
    void *scratch;
    dnnl_memory_t *x, *y, *s; /* [n_steps] */
};

static dnnl_data_type_t type_x(enum product_type t)
{
    return t == PRODUCT_FP32 ? dnnl_f32 : t == PRODUCT_BF16 ? dnnl_bf16 : dnnl_u8;
}

static dnnl_data_type_t type_w(enum product_type t)
{
    return t == PRODUCT_INT8 ? dnnl_s8 : type_x(t);
}

static dnnl_data_type_t type_y(enum product_type t)
{
    return t == PRODUCT_INT8 ? dnnl_s32 : dnnl_f32;
}

static desc_view view(const dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

static void *aligned(size_t bytes)
{
    void *p = aligned_alloc(LINE, (bytes + LINE) / LINE * LINE);
    return p ? p : xmalloc(bytes + LINE); /* which reports and ends the program */
}

static int make_step(struct onednn_kernel *pk, int i)
{
    dnnl_dims_t dx = {(i + 1) * PRODUCT_STEP, pk->k}, dw = {pk->k, pk->n},
                dy = {(i + 1) * PRODUCT_STEP, pk->n};
    struct step *s = &pk->steps[i];
    dnnl_primitive_attr_t attr;
    desc x, w, y;
    must(dnnl_primitive_attr_create(&attr), "attributes");
    must(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user), "scratchpad");
    must(desc_make(&x, dx, type_x(pk->type), dnnl_ab), "descriptor");
    must(desc_make(&w, dw, type_w(pk->type), dnnl_format_tag_any), "descriptor");
    must(desc_make(&y, dy, type_y(pk->type), dnnl_ab), "descriptor");
    dnnl_status_t status = matmul_make(&s->pd, &x, &w, &y, attr, pk->engine);
    desc_done(&x);
    desc_done(&w);
    desc_done(&y);
    (void)dnnl_primitive_attr_destroy(attr);
    if (status != dnnl_success)
        return -1;
    const char *name = "";
    (void)dnnl_primitive_desc_query(s->pd, dnnl_query_impl_info_str, 0, &name);
    /* One packing serves every M; a reference implementation is a thousand times too slow. */
    if (strncmp(name, "ref", 3) == 0 ||
        !dnnl_memory_desc_equal(view(s->pd, dnnl_query_weights_md),
                                view(pk->steps[0].pd, dnnl_query_weights_md)))
        return -1;
    (void)snprintf(pk->name, sizeof pk->name, "%s", name);
    must(dnnl_primitive_create(&s->primitive, s->pd), "primitive");
    return 0;
}

struct onednn_kernel *onednn_kernel_open(enum product_type type, int n, int k, int max_m)
{
    struct onednn_kernel *pk = xcalloc(1, sizeof *pk);
    onednn_limit_isa();
    onednn_one_thread();
    pk->type = type;
    pk->n = n;
    pk->k = k;
    pk->n_steps = product_rows(max_m) / PRODUCT_STEP;
    pk->steps = xcalloc((size_t)pk->n_steps, sizeof *pk->steps);
    must(dnnl_engine_create(&pk->engine, dnnl_cpu, 0), "engine");
    for (int i = 0; i < pk->n_steps; i++)
        if (make_step(pk, i) != 0) {
            onednn_kernel_close(pk);
            return NULL;
        }
    return pk;
}

void onednn_kernel_close(struct onednn_kernel *pk)
{
    if (!pk)
        return;
    for (int i = 0; i < pk->n_steps; i++) {
        if (pk->steps[i].primitive)
            (void)dnnl_primitive_destroy(pk->steps[i].primitive);
        if (pk->steps[i].pd)
            (void)dnnl_primitive_desc_destroy(pk->steps[i].pd);
    }
    (void)dnnl_engine_destroy(pk->engine);
    free(pk->steps);
    free(pk);
}

const char *onednn_kernel_name(const struct onednn_kernel *pk)
{
    return pk->name;
}

static dnnl_memory_t memory_of(const struct onednn_kernel *pk, desc_view d, void *data)
{
    dnnl_memory_t m;
    must(dnnl_memory_create(&m, d, pk->engine, data), "memory");
    return m;
}

struct onednn_weights *onednn_pack(const struct onednn_kernel *pk, const void *w)
{
    struct onednn_weights *pw = xcalloc(1, sizeof *pw);
    dnnl_dims_t dims = {pk->k, pk->n};
    desc plain;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t reorder;
    dnnl_stream_t stream;
    desc_view packed = view(pk->steps[0].pd, dnnl_query_weights_md);
    onednn_one_thread();
    pw->bytes = dnnl_memory_desc_get_size(packed);
    pw->data = aligned(pw->bytes);
    pw->memory = memory_of(pk, packed, pw->data);
    /* [N][K] as it stands is the transpose of oneDNN's [K][N]. */
    must(desc_make(&plain, dims, type_w(pk->type), dnnl_ba), "descriptor");
    dnnl_memory_t from = memory_of(pk, view_of(&plain), (void *)(uintptr_t)w);
    must(dnnl_reorder_primitive_desc_create(&pd, view_of(&plain), pk->engine, packed, pk->engine,
                                            NULL),
         "reorder");
    must(dnnl_primitive_create(&reorder, pd), "reorder");
    must(dnnl_stream_create(&stream, pk->engine, dnnl_stream_default_flags), "stream");
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, pw->memory}};
    must(dnnl_primitive_execute(reorder, stream, 2, args), "reorder");
    must(dnnl_stream_wait(stream), "reorder");
    (void)dnnl_stream_destroy(stream);
    (void)dnnl_primitive_destroy(reorder);
    (void)dnnl_primitive_desc_destroy(pd);
    (void)dnnl_memory_destroy(from);
    desc_done(&plain);
    return pw;
}

void onednn_weights_close(struct onednn_weights *pw)
{
    if (!pw)
        return;
    (void)dnnl_memory_destroy(pw->memory);
    free(pw->data);
    free(pw);
}

size_t onednn_weights_bytes(const struct onednn_weights *pw)
{
    return pw->bytes;
}

struct onednn_lane *onednn_lane_open(const struct onednn_kernel *pk)
{
    struct onednn_lane *lane = xcalloc(1, sizeof *lane);
    size_t n = (size_t)pk->n_steps, scratch = 0;
    lane->kernel = pk;
    lane->x = xcalloc(n, sizeof *lane->x);
    lane->y = xcalloc(n, sizeof *lane->y);
    lane->s = xcalloc(n, sizeof *lane->s);
    must(dnnl_stream_create(&lane->stream, pk->engine, dnnl_stream_default_flags), "stream");
    for (size_t i = 0; i < n; i++) {
        size_t need = dnnl_memory_desc_get_size(view(pk->steps[i].pd, dnnl_query_scratchpad_md));
        scratch = need > scratch ? need : scratch;
    }
    lane->scratch = aligned(scratch);
    for (size_t i = 0; i < n; i++) {
        dnnl_primitive_desc_t pd = pk->steps[i].pd;
        lane->x[i] = memory_of(pk, view(pd, dnnl_query_src_md), NULL);
        lane->y[i] = memory_of(pk, view(pd, dnnl_query_dst_md), NULL);
        lane->s[i] = memory_of(pk, view(pd, dnnl_query_scratchpad_md), lane->scratch);
    }
    return lane;
}

void onednn_lane_close(struct onednn_lane *lane)
{
    if (!lane)
        return;
    for (int i = 0; i < lane->kernel->n_steps; i++) {
        (void)dnnl_memory_destroy(lane->x[i]);
        (void)dnnl_memory_destroy(lane->y[i]);
        (void)dnnl_memory_destroy(lane->s[i]);
    }
    (void)dnnl_stream_destroy(lane->stream);
    free(lane->scratch);
    free(lane->x);
    free(lane->y);
    free(lane->s);
    free(lane);
}

void onednn_run(struct onednn_lane *lane, const struct onednn_weights *pw, const void *x, int m,
                void *y)
{
    int i = product_rows(m) / PRODUCT_STEP - 1;
    onednn_one_thread();
    must(dnnl_memory_set_data_handle(lane->x[i], (void *)(uintptr_t)x), "memory");
    must(dnnl_memory_set_data_handle(lane->y[i], y), "memory");
    dnnl_exec_arg_t args[ARGS] = {{DNNL_ARG_SRC, lane->x[i]},
                                  {DNNL_ARG_WEIGHTS, pw->memory},
                                  {DNNL_ARG_DST, lane->y[i]},
                                  {DNNL_ARG_SCRATCHPAD, lane->s[i]}};
    must(dnnl_primitive_execute(lane->kernel->steps[i].primitive, lane->stream, ARGS, args),
         "product");
}

#else

struct onednn_kernel *onednn_kernel_open(enum product_type type, int n, int k, int max_m)
{
    (void)type;
    (void)n;
    (void)k;
    (void)max_m;
    return NULL;
}

void onednn_kernel_close(struct onednn_kernel *pk)
{
    (void)pk;
}

const char *onednn_kernel_name(const struct onednn_kernel *pk)
{
    (void)pk;
    return "";
}

struct onednn_weights *onednn_pack(const struct onednn_kernel *pk, const void *w)
{
    (void)pk;
    (void)w;
    return NULL;
}

void onednn_weights_close(struct onednn_weights *pw)
{
    (void)pw;
}

size_t onednn_weights_bytes(const struct onednn_weights *pw)
{
    (void)pw;
    return 0;
}

struct onednn_lane *onednn_lane_open(const struct onednn_kernel *pk)
{
    (void)pk;
    return NULL;
}

void onednn_lane_close(struct onednn_lane *lane)
{
    (void)lane;
}

void onednn_run(struct onednn_lane *lane, const struct onednn_weights *pw, const void *x, int m,
                void *y)
{
    (void)lane;
    (void)pw;
    (void)x;
    (void)m;
    (void)y;
}

#endif
