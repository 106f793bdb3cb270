#include "models/tensors.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[DT_COUNT] = {
    [DT_F32] = {"F32", 4}, [DT_F16] = {"F16", 2}, [DT_BF16] = {"BF16", 2},
    [DT_F64] = {"F64", 8}, [DT_I8] = {"I8", 1},   [DT_U8] = {"U8", 1},
    [DT_I32] = {"I32", 4}, [DT_I64] = {"I64", 8}, [DT_BOOL] = {"BOOL", 1},
};

const char *dtype_name(enum dtype t)
{
    return dtypes[t].name;
}

size_t dtype_size(enum dtype t)
{
    return dtypes[t].size;
}

const char *tensor_shape_text(int n_dims, const int64_t *dims, char text[TENSOR_SHAPE_TEXT])
{
    char *p = text, *end = text + TENSOR_SHAPE_TEXT;
    p += snprintf(p, (size_t)(end - p), "[");
    for (int i = 0; i < n_dims && i < TENSOR_MAX_DIMS; i++)
        p += snprintf(p, (size_t)(end - p), "%s%lld", i ? ", " : "", (long long)dims[i]);
    (void)snprintf(p, (size_t)(end - p), "]");
    return text;
}

static int by_name(const void *a, const void *b)
{
    const struct tensor *const *s = a, *const *t = b;
    return strcmp((*s)->name, (*t)->name);
}

static bool is_scale_of(const struct tensor *s, struct tensor *t)
{
    bool leads = s->n_dims == 1 && t->n_dims >= 1 && s->dims[0] == t->dims[0];
    bool trails = t->n_dims >= 3 && s->n_dims == t->n_dims - 1;
    for (int i = 0; i < s->n_dims; i++)
        trails = trails && s->dims[i] == t->dims[i + 1];
    if (s->dtype != DT_F32 || !(leads || trails))
        return false;
    t->scale = s->data;
    t->scale_trails = trails;
    return true;
}

size_t tensors_pair(struct tensor *tensors, size_t n)
{
    size_t kept = 0, bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += tensors[i].dtype == DT_I8;
    if (!bytes)
        return n;
    const struct tensor **sorted = xcalloc(n, sizeof *sorted);
    bool *scales = xcalloc(n, sizeof *scales);
    for (size_t i = 0; i < n; i++)
        sorted[i] = &tensors[i];
    qsort(sorted, n, sizeof *sorted, by_name);
    const struct tensor_set set = {"", n, tensors, sorted};
    for (size_t i = 0; i < n; i++) {
        if (tensors[i].dtype != DT_I8)
            continue;
        char *name = file_path("%s" TENSOR_SCALE, tensors[i].name);
        const struct tensor *s = tensor_set_find(&set, name);
        if (s && is_scale_of(s, &tensors[i]))
            scales[s - tensors] = true;
        free(name);
    }
    for (size_t i = 0; i < n; i++)
        if (!scales[i])
            tensors[kept++] = tensors[i];
    free(sorted);
    free(scales);
    return kept;
}

int tensor_set_init(struct tensor_set *set, const char *name, const struct tensor *tensors,
                    size_t n, struct err *err)
{
    const struct tensor **sorted = xcalloc(n, sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        sorted[i] = &tensors[i];
    if (n)
        qsort(sorted, n, sizeof *sorted, by_name);
    for (size_t i = 1; i < n; i++)
        if (by_name(&sorted[i - 1], &sorted[i]) == 0) {
            (void)err_set(err, ERR_FORMAT, "%s: tensor \"%.300s\" is there twice", name,
                          sorted[i]->name);
            free(sorted);
            return -1;
        }
    *set = (struct tensor_set){name, n, tensors, sorted};
    return 0;
}

void tensor_set_done(struct tensor_set *set)
{
    free((void *)(uintptr_t)set->by_name);
    *set = (struct tensor_set){0};
}

const struct tensor *tensor_set_find(const struct tensor_set *set, const char *name)
{
    size_t low = 0, high = set->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, set->by_name[middle]->name);
        if (order == 0)
            return set->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

int tensor_set_need(const struct tensor_set *set, const char *name, int n_dims, const int64_t *dims,
                    const struct tensor **out, struct err *err)
{
    const struct tensor *t = tensor_set_find(set, name);
    if (!t)
        return err_set(err, ERR_MISSING, "%s: tensor \"%s\" is not among its %zu tensors",
                       set->name, name, set->n);
    bool same = t->n_dims == n_dims;
    for (int i = 0; same && i < n_dims; i++)
        same = t->dims[i] == dims[i];
    char expected[TENSOR_SHAPE_TEXT], found[TENSOR_SHAPE_TEXT];
    if (!same)
        return err_set(err, ERR_FORMAT, "%s: tensor \"%s\": expected shape %s, found %s", set->name,
                       name, tensor_shape_text(n_dims, dims, expected),
                       tensor_shape_text(t->n_dims, t->dims, found));
    *out = t;
    return 0;
}

static int not_floating(const struct tensor *t, struct err *err)
{
    return err_set(err, ERR_FORMAT, "tensor \"%s\": expected a floating type, found %s%s", t->name,
                   dtype_name(t->dtype), t->dtype == DT_I8 ? " without its scale" : "");
}

static size_t n_scales(const struct tensor *t)
{
    size_t first = t->dims[0] ? (size_t)t->dims[0] : 1;
    return t->scale_trails ? t->bytes / first : (size_t)t->dims[0];
}

static void scale_bytes(const struct tensor *t, float *out)
{
    const int8_t *q = t->data;
    size_t n = n_scales(t), each = t->scale_trails ? 1 : n ? t->bytes / n : 0;
    float *scale = xmalloc(n * sizeof *scale + 1);
    memcpy(scale, t->scale, n * sizeof *scale);
    for (size_t i = 0; i < t->bytes; i++)
        out[i] = (float)q[i] * scale[t->scale_trails ? i % n : i / each];
    free(scale);
}

int tensor_to_f32(const struct tensor *t, float *out, struct err *err)
{
    const unsigned char *p = t->data;
    size_t n = t->bytes / dtype_size(t->dtype);
    uint16_t half;
    double wide;
    switch (t->dtype) {
    case DT_F32:
        if (n)
            memcpy(out, p, t->bytes);
        return 0;
    case DT_F16:
    case DT_BF16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, p + 2 * i, sizeof half);
            out[i] = t->dtype == DT_F16 ? f16_to_f32(half) : bf16_to_f32(half);
        }
        return 0;
    case DT_F64:
        for (size_t i = 0; i < n; i++) {
            memcpy(&wide, p + 8 * i, sizeof wide);
            out[i] = (float)wide;
        }
        return 0;
    case DT_I8:
        if (t->scale) {
            scale_bytes(t, out);
            return 0;
        }
        return not_floating(t, err);
    default:
        return not_floating(t, err);
    }
}

/* A number of its own where all products with bytes are numbers, else the first that is not. */
static int check_scales(const struct tensor *t, struct err *err)
{
    const unsigned char *p = t->scale;
    for (size_t i = 0, n = n_scales(t); i < n; i++) {
        float x;
        memcpy(&x, p + i * sizeof x, sizeof x);
        if (!(fabsf(x) <= FLT_MAX / 128))
            return err_set(err, ERR_FORMAT, "tensor \"%s%s\": element %zu of %zu is %g", t->name,
                           TENSOR_SCALE, i, n, (double)x);
    }
    return 0;
}

/* The index of the first element whose exponent is all ones, or n. */
static size_t first_not_finite(const unsigned char *p, size_t n, size_t size, uint64_t exponent)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t x = 0;
        memcpy(&x, p + i * size, size); /* little endian, as the files are */
        if ((x & exponent) == exponent)
            return i;
    }
    return n;
}

int tensor_check_weights(const struct tensor *t, struct err *err)
{
    size_t size = dtype_size(t->dtype), n = t->bytes / size, at = n;
    switch (t->dtype) {
    case DT_F32:
        at = first_not_finite(t->data, n, size, 0x7f800000);
        break;
    case DT_F16:
        at = first_not_finite(t->data, n, size, 0x7c00);
        break;
    case DT_BF16:
        at = first_not_finite(t->data, n, size, 0x7f80);
        break;
    case DT_F64: /* narrowed to float, and finite there */
        for (at = 0; at < n; at++) {
            double x;
            memcpy(&x, (const unsigned char *)t->data + at * size, size);
            if (!isfinite((float)x))
                break;
        }
        break;
    case DT_I8:
        return t->scale ? check_scales(t, err) : not_floating(t, err);
    default:
        return not_floating(t, err);
    }
    return at == n ? 0
                   : err_set(err, ERR_FORMAT,
                             "tensor \"%s\": element %zu of %zu is infinite or not a number",
                             t->name, at, n);
}
