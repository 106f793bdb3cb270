#include "models/tensors.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    return err_set(err, ERR_FORMAT, "tensor \"%s\": expected a floating type, found %s", t->name,
                   dtype_name(t->dtype));
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
    default:
        return not_floating(t, err);
    }
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
    default:
        return not_floating(t, err);
    }
    return at == n ? 0
                   : err_set(err, ERR_FORMAT,
                             "tensor \"%s\": element %zu of %zu is infinite or not a number",
                             t->name, at, n);
}
