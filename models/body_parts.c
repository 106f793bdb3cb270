#include "models/body_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ops/int8.h"
#include "ops/rows.h"

enum { LINE = 64 };

static int64_t elements(const struct tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dims; i++)
        n *= t->dims[i];
    return n;
}

float *parts_floats(const struct params *p, enum stack stack, enum param which, int32_t layer)
{
    const struct tensor *t = params_of(p, stack, which, layer);
    if (!t)
        return NULL;
    float *x = xmalloc(((size_t)elements(t) + ROWS_PAD) * sizeof *x);
    int rc = tensor_to_f32(t, x, NULL);
    assert(rc == 0); /* params_find took floating types only */
    (void)rc;
    return x;
}

/* "encoder.layer.9.output.dense" keeps "bert.encoder.layer.9.output.dense.weight". */
bool parts_keeps(const char *kept, const char *name)
{
    size_t n = strlen(name), m = strlen(kept);
    for (size_t at = 0; m && at + m <= n; at++)
        if ((at == 0 || name[at - 1] == '.') && strncmp(name + at, kept, m) == 0 &&
            (name[at + m] == '.' || name[at + m] == '\0'))
            return true;
    return false;
}

enum product_type parts_type(const json_t *keep, const char *name, enum product_type type)
{
    for (size_t i = 0; type == PRODUCT_INT8 && i < json_array_size(keep); i++)
        if (parts_keeps(json_string_value(json_array_get(keep, i)), name))
            type = product_has(PRODUCT_BF16) ? PRODUCT_BF16 : PRODUCT_FP32;
    return type;
}

static bool is_product(enum param which)
{
    switch (which) {
    case P_Q_W:
    case P_K_W:
    case P_V_W:
    case P_O_W:
    case P_INNER_W:
    case P_GATE_W:
    case P_OUTER_W:
    case P_CROSS_Q_W:
    case P_CROSS_K_W:
    case P_CROSS_V_W:
    case P_CROSS_O_W:
        return true;
    default:
        return false;
    }
}

bool parts_may_be_bytes(enum param which)
{
    return is_product(which) || which == P_WORD || which == P_POSITION;
}

int parts_check_keep(const json_t *keep, const struct tensor_set *weights, const struct params *p,
                     struct err *err)
{
    if (keep && !json_is_array(keep))
        return err_set(err, ERR_FORMAT, "\"int8_keep\" is no list of names");
    for (size_t i = 0; i < json_array_size(keep); i++) {
        const char *kept = json_string_value(json_array_get(keep, i));
        size_t at = 0;
        if (!kept)
            return err_set(err, ERR_FORMAT, "\"int8_keep\": entry %zu is no name", i);
        while (at < weights->n &&
               !(parts_may_be_bytes(p->role[at]) && parts_keeps(kept, weights->tensors[at].name)))
            at++;
        if (at == weights->n)
            return err_set(err, ERR_CONFIG,
                           "\"int8_keep\": no product of this model is called \"%.200s\"", kept);
    }
    return 0;
}

const char *parts_runs_in(enum param which, enum product_type type, const json_t *keep,
                          const char *name)
{
    static const char *const names[] = {"fp32", "bf16", "int8"};
    switch (which) {
    case PARAMS:
        return "unused";
    case P_WORD:
        return names[parts_type(keep, name, type) == PRODUCT_INT8 ? PRODUCT_INT8 : PRODUCT_FP32];
    case P_EMB_PROJ_W:
        return names[type == PRODUCT_BF16 ? PRODUCT_BF16 : PRODUCT_FP32];
    default:
        return names[is_product(which) ? parts_type(keep, name, type) : PRODUCT_FP32];
    }
}

struct projection *parts_projection(const struct body_source *src, enum product_type type,
                                    enum stack stack, int32_t layer, const enum param *w,
                                    const enum param *b, int n_parts)
{
    int64_t n = 0, k = 0, at = 0;
    for (int i = 0; i < n_parts; i++) {
        const struct tensor *t = params_of(src->params, stack, w[i], layer);
        n += t->dims[0];
        k = t->dims[1];
        type = parts_type(src->keep, t->name, type);
    }
    float *all = xmalloc((size_t)(n * k) * sizeof *all), *bias = NULL;
    if (b && b[0] != PARAMS)
        bias = xmalloc((size_t)n * sizeof *bias);
    for (int i = 0; i < n_parts; i++) {
        const struct tensor *t = params_of(src->params, stack, w[i], layer);
        (void)tensor_to_f32(t, all + at * k, NULL);
        if (bias)
            (void)tensor_to_f32(params_of(src->params, stack, b[i], layer), bias + at, NULL);
        at += t->dims[0];
    }
    struct projection *p = projection_open(src->set, type, (int)n, (int)k, all, bias);
    free(all);
    free(bias);
    return p;
}

void parts_activate(enum activation act, float *y, const float *x, int n)
{
    const struct rows *r = rows();
    void (*const of[ACTIVATIONS])(float *, const float *, int) = {r->gelu, r->gelu_tanh, r->relu,
                                                                  r->tanh};
    of[act](y, x, n);
}

void parts_word_table(struct word_table *t, const struct body_source *src)
{
    const struct tensor *words = params_of(src->params, STACK_ENCODER, P_WORD, 0);
    bool int8 = parts_type(src->keep, words->name, src->type) == PRODUCT_INT8;
    *t = (struct word_table){.v = (int32_t)words->dims[0], .e = (int32_t)words->dims[1]};
    size_t n = (size_t)elements(words), e = (size_t)t->e;
    float *f = xmalloc(n * sizeof *f);
    (void)tensor_to_f32(words, f, NULL);
    if (!int8) {
        t->f = f;
        return;
    }
    t->q = xmalloc(n);
    t->scale = xmalloc((size_t)t->v * sizeof *t->scale);
    for (size_t i = 0; i < (size_t)t->v; i++)
        t->scale[i] = int8_quantize(t->q + i * e, f + i * e, e, 1);
    free(f);
}

void parts_word_row(const struct word_table *t, int32_t id, float *x)
{
    size_t at = (size_t)id * (size_t)t->e;
    if (t->f)
        memcpy(x, t->f + at, (size_t)t->e * sizeof *x);
    else
        rows()->widen_int8(x, t->q + at, t->scale[id], t->e);
}

int64_t parts_word_bytes(const struct word_table *t)
{
    int64_t n = (int64_t)t->v * t->e;
    return t->f ? n * (int64_t)sizeof *t->f : n + t->v * (int64_t)sizeof *t->scale;
}

void parts_word_done(struct word_table *t)
{
    free(t->f);
    free(t->q);
    free(t->scale);
    *t = (struct word_table){0};
}

/* Zeroed: rows that pad a block to its step must hold numbers, or they would be slow. */
static void *room(size_t rows, size_t columns, size_t size)
{
    size_t bytes = (rows * columns * size + LINE) / LINE * LINE;
    void *p = aligned_alloc(LINE, bytes);
    if (!p)
        return xcalloc(1, bytes); /* which reports and ends the program */
    memset(p, 0, bytes);
    return p;
}

static void rows_open(struct projection_rows *in, int k)
{
    in->data = room(BODY_BLOCK, (size_t)k, sizeof(float));
    in->scale = xcalloc(BODY_BLOCK, sizeof *in->scale);
    in->zero = xcalloc(BODY_BLOCK, sizeof *in->zero);
}

static void rows_done(struct projection_rows *in)
{
    free(in->data);
    free(in->scale);
    free(in->zero);
}

void parts_block_open(struct block *blk, int k_a, int n_a, int k_b, int n_b)
{
    rows_open(&blk->a, k_a);
    rows_open(&blk->b, k_b);
    blk->sum_a = room(BODY_BLOCK, (size_t)n_a, sizeof(float));
    blk->sum_b = room(BODY_BLOCK, (size_t)n_b, sizeof(float));
}

void parts_block_done(struct block *blk)
{
    rows_done(&blk->a);
    rows_done(&blk->b);
    free(blk->sum_a);
    free(blk->sum_b);
    *blk = (struct block){0};
}

void parts_rows(struct projection_lanes *lanes, const struct projection *p, struct block *blk,
                enum profile_op op, const float *x, int ldx, int n, float *y, int ldy)
{
    struct profile *prof = blk->profile;
    int64_t t = profile_start(prof);
    for (int i = 0; i < n; i += BODY_BLOCK) {
        int m = n - i < BODY_BLOCK ? n - i : BODY_BLOCK;
        for (int r = 0; r < m; r++)
            projection_put(p, &blk->a, r, x + (size_t)(i + r) * (size_t)ldx);
        t = profile_add(prof, op + 1, t);
        projection_run(lanes, p, &blk->a, m, blk->sum_a);
        t = profile_add(prof, op, t);
        for (int r = 0; r < m; r++)
            projection_take(p, &blk->a, blk->sum_a, r, y + (size_t)(i + r) * (size_t)ldy);
        t = profile_add(prof, op + 1, t);
    }
}

const struct projection_rows *
parts_feed_forward(struct projection_lanes *lanes, const struct projection *inner,
                   const struct projection *gate, const struct projection *outer,
                   enum activation act, struct block *blk, const float *x, int ldx, int m)
{
    int f = projection_width(inner);
    struct projection_rows mid = blk->b;
    /* Floats need no copy: what the first product wrote is what the second reads. */
    if (projection_type(outer) == PRODUCT_FP32)
        mid.data = blk->sum_a;
    int64_t t = profile_start(blk->profile);
    for (int i = 0; i < m; i++)
        projection_put(inner, &blk->a, i, x + (size_t)i * (size_t)ldx);
    t = profile_add(blk->profile, PROFILE_INNER_ROWS, t);
    projection_run(lanes, inner, &blk->a, m, blk->sum_a);
    if (gate)
        projection_run(lanes, gate, &blk->a, m, blk->sum_b);
    t = profile_add(blk->profile, PROFILE_INNER, t);
    for (int i = 0; i < m; i++) {
        float *row = (float *)blk->sum_a + (size_t)i * (size_t)f;
        projection_take(inner, &blk->a, blk->sum_a, i, row);
        parts_activate(act, row, row, f);
        if (gate) {
            float *other = (float *)blk->sum_b + (size_t)i * (size_t)f;
            projection_take(gate, &blk->a, blk->sum_b, i, other);
            rows()->mul(row, row, other, f);
        }
        projection_put(outer, &mid, i, row);
    }
    blk->last = mid;
    t = profile_add(blk->profile, PROFILE_INNER_ROWS, t);
    projection_run(lanes, outer, &mid, m, blk->sum_b);
    (void)profile_add(blk->profile, PROFILE_OUTER, t);
    return &blk->last;
}
