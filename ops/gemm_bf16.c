#include "ops/gemm_bf16.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "ops/gemm.h"
#include "ops/gemm_backends.h"

static float widen(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void plain(const struct gemm_bf16 *g)
{
    for (int i = 0; i < g->m; i++)
        for (int j = 0; j < g->n; j++) {
            float sum = 0.0f;
            for (int p = 0; p < g->k; p++) {
                size_t a = g->ta ? (size_t)p * (size_t)g->lda + (size_t)i
                                 : (size_t)i * (size_t)g->lda + (size_t)p;
                size_t b = g->tb ? (size_t)j * (size_t)g->ldb + (size_t)p
                                 : (size_t)p * (size_t)g->ldb + (size_t)j;
                sum += widen(g->a[a]) * widen(g->b[b]);
            }
            float *c = g->c + (size_t)i * (size_t)g->ldc + (size_t)j;
            *c = g->add ? *c + sum : sum;
        }
}

#ifdef RUBRIC_HAVE_ONEDNN

#include "ops/onednn.h"

enum { BUCKETS = 1024, LINE = 64 };

/* All that a primitive depends on. */
struct shape {
    int m, n, k, lda, ldb, ldc, form;
};

struct entry {
    struct shape shape;
    dnnl_primitive_t primitive; /* NULL: oneDNN has none but its reference */
    dnnl_primitive_desc_t pd;
    desc a, b, c;
    size_t scratch;
    struct entry *next;
};

struct lane {
    dnnl_stream_t stream;
    void *scratch;
    size_t size;
};

struct gemm_bf16_set {
    pthread_rwlock_t lock;
    dnnl_engine_t engine;
    struct entry *buckets[BUCKETS];
    int n, threads;
    struct lane *lanes;
};

struct gemm_bf16_set *gemm_bf16_open(int threads)
{
    struct gemm_bf16_set *set = xcalloc(1, sizeof *set);
    onednn_limit_isa();
    onednn_one_thread();
    (void)pthread_rwlock_init(&set->lock, NULL);
    must(dnnl_engine_create(&set->engine, dnnl_cpu, 0), "engine");
    set->threads = threads;
    set->lanes = xcalloc((size_t)threads, sizeof *set->lanes);
    for (int i = 0; i < threads; i++)
        must(dnnl_stream_create(&set->lanes[i].stream, set->engine, dnnl_stream_default_flags),
             "stream");
    return set;
}

static void forget(struct gemm_bf16_set *set)
{
    for (int i = 0; i < BUCKETS; i++)
        for (struct entry *e = set->buckets[i], *next; e; e = next) {
            next = e->next;
            if (e->primitive)
                (void)dnnl_primitive_destroy(e->primitive);
            if (e->pd)
                (void)dnnl_primitive_desc_destroy(e->pd);
            desc_done(&e->a);
            desc_done(&e->b);
            desc_done(&e->c);
            free(e);
        }
    memset(set->buckets, 0, sizeof set->buckets);
    set->n = 0;
}

void gemm_bf16_close(struct gemm_bf16_set *set)
{
    if (!set)
        return;
    forget(set);
    for (int i = 0; i < set->threads; i++) {
        (void)dnnl_stream_destroy(set->lanes[i].stream);
        free(set->lanes[i].scratch);
    }
    (void)dnnl_engine_destroy(set->engine);
    (void)pthread_rwlock_destroy(&set->lock);
    free(set->lanes);
    free(set);
}

static unsigned hash(const struct shape *s)
{
    const int parts[] = {s->m, s->n, s->k, s->lda, s->ldb, s->ldc, s->form};
    unsigned h = 2166136261u;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        h = (h ^ (unsigned)parts[i]) * 16777619u;
    return (h ^ h >> 15) % BUCKETS;
}

static bool same(const struct shape *a, const struct shape *b)
{
    return a->m == b->m && a->n == b->n && a->k == b->k && a->lda == b->lda && a->ldb == b->ldb &&
           a->ldc == b->ldc && a->form == b->form;
}

static void strided(desc *d, int rows, int columns, int ld, bool transposed, dnnl_data_type_t type)
{
    dnnl_dims_t dims = {rows, columns}, strides = {ld, 1};
    if (transposed) {
        strides[0] = 1;
        strides[1] = ld;
    }
    must(desc_make_strided(d, dims, type, strides), "descriptor");
}

static struct entry *make(struct gemm_bf16_set *set, const struct shape *s,
                          const struct gemm_bf16 *g)
{
    struct entry *e = xcalloc(1, sizeof *e);
    dnnl_primitive_attr_t attr;
    e->shape = *s;
    strided(&e->a, g->m, g->k, g->lda, g->ta, dnnl_bf16);
    strided(&e->b, g->k, g->n, g->ldb, g->tb, dnnl_bf16);
    strided(&e->c, g->m, g->n, g->ldc, false, dnnl_f32);
    must(dnnl_primitive_attr_create(&attr), "attributes");
    must(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user), "scratchpad");
    if (g->add) {
        dnnl_post_ops_t ops;
        must(dnnl_post_ops_create(&ops), "post-ops");
#if DNNL_VERSION_MAJOR >= 3
        must(dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef), "sum");
#else
        must(dnnl_post_ops_append_sum(ops, 1.0f), "sum");
#endif
        must(dnnl_primitive_attr_set_post_ops(attr, ops), "post-ops");
        (void)dnnl_post_ops_destroy(ops);
    }
    const char *name = "ref";
    if (matmul_make(&e->pd, &e->a, &e->b, &e->c, attr, set->engine) == dnnl_success)
        (void)dnnl_primitive_desc_query(e->pd, dnnl_query_impl_info_str, 0, &name);
    (void)dnnl_primitive_attr_destroy(attr);
    if (strncmp(name, "ref", 3) != 0) {
        must(dnnl_primitive_create(&e->primitive, e->pd), "primitive");
        e->scratch = dnnl_memory_desc_get_size(
            dnnl_primitive_desc_query_md(e->pd, dnnl_query_scratchpad_md, 0));
    }
    return e;
}

static struct entry *lookup(const struct gemm_bf16_set *set, const struct shape *s, unsigned at)
{
    struct entry *e = set->buckets[at];
    while (e && !same(&e->shape, s))
        e = e->next;
    return e;
}

/* Returns with the lock held for reading. */
static struct entry *find(struct gemm_bf16_set *set, const struct gemm_bf16 *g)
{
    struct shape s = {g->m,
                      g->n,
                      g->k,
                      g->lda,
                      g->ldb,
                      g->ldc,
                      (g->ta ? 1 : 0) | (g->tb ? 2 : 0) | (g->add ? 4 : 0)};
    unsigned at = hash(&s);
    for (;;) {
        (void)pthread_rwlock_rdlock(&set->lock);
        struct entry *e = lookup(set, &s, at);
        if (e)
            return e;
        (void)pthread_rwlock_unlock(&set->lock);
        (void)pthread_rwlock_wrlock(&set->lock);
        if (!lookup(set, &s, at)) {
            if (set->n >= GEMM_BF16_MAX)
                forget(set);
            e = make(set, &s, g);
            e->next = set->buckets[at];
            set->buckets[at] = e;
            set->n++;
        }
        (void)pthread_rwlock_unlock(&set->lock);
    }
}

static void run(struct gemm_bf16_set *set, struct lane *lane, const struct entry *e,
                const struct gemm_bf16 *g)
{
    dnnl_memory_t a, b, c, s;
    if (e->scratch > lane->size) {
        free(lane->scratch);
        lane->size = (e->scratch + LINE - 1) / LINE * LINE;
        lane->scratch = aligned_alloc(LINE, lane->size);
        if (!lane->scratch)
            lane->scratch = xmalloc(lane->size); /* which reports and ends the program */
    }
    must(dnnl_memory_create(&a, view_of(&e->a), set->engine, (void *)(uintptr_t)g->a), "memory");
    must(dnnl_memory_create(&b, view_of(&e->b), set->engine, (void *)(uintptr_t)g->b), "memory");
    must(dnnl_memory_create(&c, view_of(&e->c), set->engine, g->c), "memory");
    must(dnnl_memory_create(&s, dnnl_primitive_desc_query_md(e->pd, dnnl_query_scratchpad_md, 0),
                            set->engine, lane->scratch),
         "memory");
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}, {DNNL_ARG_SCRATCHPAD, s}};
    must(dnnl_primitive_execute(e->primitive, lane->stream, 4, args), "product");
    must(dnnl_stream_wait(lane->stream), "product");
    (void)dnnl_memory_destroy(a);
    (void)dnnl_memory_destroy(b);
    (void)dnnl_memory_destroy(c);
    (void)dnnl_memory_destroy(s);
}

void gemm_bf16(struct gemm_bf16_set *set, int thread, const struct gemm_bf16 *g)
{
    if (g->m == 0 || g->n == 0)
        return;
    /* oneDNN 3.7 takes a vector's numbers for neighbours, whatever its stride. */
    bool vector = g->m == 1 || g->n == 1;
    if (gemm_backend() != GEMM_ONEDNN || vector) {
        plain(g);
        return;
    }
    onednn_one_thread();
    const struct entry *e = find(set, g);
    if (e->primitive)
        run(set, &set->lanes[thread], e, g);
    else
        plain(g);
    (void)pthread_rwlock_unlock(&set->lock);
}

#else

struct gemm_bf16_set {
    int threads;
};

struct gemm_bf16_set *gemm_bf16_open(int threads)
{
    struct gemm_bf16_set *set = xcalloc(1, sizeof *set);
    set->threads = threads;
    return set;
}

void gemm_bf16_close(struct gemm_bf16_set *set)
{
    free(set);
}

void gemm_bf16(struct gemm_bf16_set *set, int thread, const struct gemm_bf16 *g)
{
    (void)set;
    (void)thread;
    plain(g);
}

#endif
