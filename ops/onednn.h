/* Inside of ops/: oneDNN's C interface changed between 2.x and 3.x: descriptors became pointers and
 * operations lost theirs.  These few lines are all that differs.  For the files that own the
 * library. */
#ifndef OPS_ONEDNN_H
#define OPS_ONEDNN_H

#include <stdio.h>
#include <stdlib.h>

#include <dnnl.h>

#include "base/cpu.h"

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t desc;
typedef const_dnnl_memory_desc_t desc_view;
static inline dnnl_status_t desc_make(desc *d, dnnl_dims_t dims, dnnl_data_type_t t,
                                      dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(d, 2, dims, t, tag);
}
static inline dnnl_status_t desc_make_strided(desc *d, dnnl_dims_t dims, dnnl_data_type_t t,
                                              dnnl_dims_t strides)
{
    return dnnl_memory_desc_create_with_strides(d, 2, dims, t, strides);
}
static inline void desc_done(desc *d)
{
    (void)dnnl_memory_desc_destroy(*d);
}
static inline dnnl_status_t matmul_make(dnnl_primitive_desc_t *pd, const desc *x, const desc *w,
                                        const desc *y, dnnl_primitive_attr_t attr,
                                        dnnl_engine_t engine)
{
    return dnnl_matmul_primitive_desc_create(pd, engine, *x, *w, NULL, *y, attr);
}
static inline desc_view view_of(const desc *d)
{
    return *d;
}
#else
typedef dnnl_memory_desc_t desc;
typedef const dnnl_memory_desc_t *desc_view;
static inline dnnl_status_t desc_make(desc *d, dnnl_dims_t dims, dnnl_data_type_t t,
                                      dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(d, 2, dims, t, tag);
}
static inline dnnl_status_t desc_make_strided(desc *d, dnnl_dims_t dims, dnnl_data_type_t t,
                                              dnnl_dims_t strides)
{
    return dnnl_memory_desc_init_by_strides(d, 2, dims, t, strides);
}
static inline void desc_done(desc *d)
{
    (void)d;
}
static inline dnnl_status_t matmul_make(dnnl_primitive_desc_t *pd, const desc *x, const desc *w,
                                        const desc *y, dnnl_primitive_attr_t attr,
                                        dnnl_engine_t engine)
{
    dnnl_matmul_desc_t op;
    dnnl_status_t s = dnnl_matmul_desc_init(&op, x, w, NULL, y);
    return s == dnnl_success ? dnnl_primitive_desc_create(pd, &op, attr, engine, NULL) : s;
}
static inline desc_view view_of(const desc *d)
{
    return d;
}
#endif

/* Wrong arguments or out of memory: neither has a way on. */
static inline void must(dnnl_status_t s, const char *what)
{
    if (s == dnnl_success)
        return;
    (void)fprintf(stderr, "oneDNN: %s failed with status %d\n", what, (int)s);
    abort();
}

/* RUBRIC_ISA holds for oneDNN too.  Only the first call in a process counts. */
static inline void onednn_limit_isa(void)
{
    switch (cpu_isa()) {
    case CPU_BASE:
        (void)dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41);
        break;
    case CPU_AVX2:
        (void)dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2);
        break;
    case CPU_AVX512:
        if (!cpu_has_vnni())
            (void)dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core);
        break;
    }
}

#endif
