#include "models/safetensors.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

/* The file is little-endian and is used as it lies in memory. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "big-endian machines must swap bytes");

enum {
    LENGTH_BYTES = 8,
    MAX_HEADER = 100 * 1000 * 1000, /* the reference implementation's bound */
    MAX_HEADER_COST = 1 << 29,      /* bytes by json_cost: some 300,000 tensors */
};

struct safetensors {
    char *name;
    struct file_map map; /* empty when the bytes are the caller's */
    json_t *header; /* owns names and metadata; only read after opening, so threads may share it */
    const json_t *meta;
    struct tensor *tensors; /* [n], the set's */
    size_t n;
    struct tensor_set set;
};

static int read_dtype(const json_t *entry, struct tensor *t, struct err *err)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    if (!name)
        return err_set(err, ERR_FORMAT, "dtype is not a string");
    for (int i = 0; i < DT_COUNT; i++)
        if (strcmp(name, dtype_name((enum dtype)i)) == 0) {
            t->dtype = (enum dtype)i;
            return 0;
        }
    return err_set(err, ERR_FORMAT, "unknown dtype \"%.20s\"", name);
}

static int read_shape(const json_t *entry, struct tensor *t, struct err *err)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape))
        return err_set(err, ERR_FORMAT, "shape is not an array");
    size_t n = json_array_size(shape);
    if (n > TENSOR_MAX_DIMS)
        return err_set(err, ERR_FORMAT, "shape of %zu dimensions, at most %d", n, TENSOR_MAX_DIMS);
    t->n_dims = (int)n;
    t->bytes = dtype_size(t->dtype);
    bool overflow = false;
    for (size_t i = 0; i < n; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return err_set(err, ERR_FORMAT, "shape[%zu] is not a non-negative integer", i);
        t->dims[i] = json_integer_value(dim);
        overflow |= __builtin_mul_overflow(t->bytes, (size_t)t->dims[i], &t->bytes);
    }
    char text[TENSOR_SHAPE_TEXT];
    if (overflow)
        return err_set(err, ERR_FORMAT, "shape %s overflows",
                       tensor_shape_text(t->n_dims, t->dims, text));
    return 0;
}

static int read_offsets(const json_t *entry, struct tensor *t, const unsigned char *data,
                        size_t len, struct err *err)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(from) || !json_is_integer(to) ||
        json_integer_value(from) < 0 || json_integer_value(to) < 0)
        return err_set(err, ERR_FORMAT, "data_offsets is not a pair of non-negative integers");
    uint64_t begin = (uint64_t)json_integer_value(from), end = (uint64_t)json_integer_value(to);
    if (begin > end)
        return err_set(err, ERR_FORMAT, "data_offsets [%llu, %llu] run backwards",
                       (unsigned long long)begin, (unsigned long long)end);
    if (end > len)
        return err_set(err, ERR_FORMAT, "data_offsets [%llu, %llu] pass the end of the data, %zu",
                       (unsigned long long)begin, (unsigned long long)end, len);
    char text[TENSOR_SHAPE_TEXT];
    if (end - begin != t->bytes)
        return err_set(err, ERR_FORMAT, "%llu bytes of data, but %s of shape %s takes %zu",
                       (unsigned long long)(end - begin), dtype_name(t->dtype),
                       tensor_shape_text(t->n_dims, t->dims, text), t->bytes);
    t->data = data + begin;
    return 0;
}

static int read_tensor(const char *name, const json_t *entry, struct tensor *t,
                       const unsigned char *data, size_t len, struct err *err)
{
    *t = (struct tensor){.name = name};
    int rc = json_is_object(entry) ? 0 : err_set(err, ERR_FORMAT, "not an object");
    if (rc == 0)
        rc = read_dtype(entry, t, err);
    if (rc == 0)
        rc = read_shape(entry, t, err);
    if (rc == 0)
        rc = read_offsets(entry, t, data, len, err);
    return rc == 0 ? 0 : err_prefix(err, "tensor \"%.300s\"", name);
}

static int read_meta(struct safetensors *st, json_t *meta, struct err *err)
{
    if (!json_is_object(meta))
        return err_set(err, ERR_FORMAT, "__metadata__ is not an object");
    for (void *at = json_object_iter(meta); at; at = json_object_iter_next(meta, at))
        if (!json_is_string(json_object_iter_value(at)))
            return err_set(err, ERR_FORMAT, "__metadata__: \"%.300s\" is not a string",
                           json_object_iter_key(at));
    st->meta = meta;
    return 0;
}

/* Data order; an empty tensor stands before the one that begins at the same place. */
static int by_place(const void *a, const void *b)
{
    const struct tensor *s = a, *t = b;
    const char *s_end = (const char *)s->data + s->bytes, *t_end = (const char *)t->data + t->bytes;
    if (s->data != t->data)
        return (const char *)s->data < (const char *)t->data ? -1 : 1;
    if (s_end != t_end)
        return s_end < t_end ? -1 : 1;
    return strcmp(s->name, t->name);
}

/* Every byte of the data belongs to exactly one tensor. */
static int check_cover(const struct safetensors *st, const unsigned char *data, size_t len,
                       struct err *err)
{
    size_t at = 0;
    for (size_t i = 0; i < st->n; i++) {
        const struct tensor *t = &st->tensors[i];
        size_t begin = (size_t)((const unsigned char *)t->data - data);
        if (begin != at)
            return err_set(err, ERR_FORMAT,
                           "tensor \"%.300s\": data begins at %zu, but the data before it ends at "
                           "%zu: %s",
                           t->name, begin, at, begin > at ? "a gap" : "an overlap");
        at += t->bytes;
    }
    if (at != len)
        return err_set(err, ERR_FORMAT, "%zu bytes after the last tensor's data", len - at);
    return 0;
}

static int read_entries(struct safetensors *st, const unsigned char *data, size_t len,
                        struct err *err)
{
    st->tensors = xcalloc(json_object_size(st->header), sizeof *st->tensors);
    for (void *at = json_object_iter(st->header); at; at = json_object_iter_next(st->header, at)) {
        const char *key = json_object_iter_key(at);
        json_t *entry = json_object_iter_value(at);
        int rc = strcmp(key, "__metadata__") == 0
                     ? read_meta(st, entry, err)
                     : read_tensor(key, entry, &st->tensors[st->n++], data, len, err);
        if (rc != 0)
            return -1;
    }
    if (st->n)
        qsort(st->tensors, st->n, sizeof *st->tensors, by_place);
    if (check_cover(st, data, len, err) != 0)
        return -1;
    st->n = tensors_pair(st->tensors, st->n);
    return 0;
}

static int parse(struct safetensors *st, const unsigned char *bytes, size_t len, struct err *err)
{
    uint64_t header = 0;
    if (len < LENGTH_BYTES)
        return err_set(err, ERR_FORMAT, "%zu bytes are too few for a safetensors file", len);
    memcpy(&header, bytes, LENGTH_BYTES);
    if (header > MAX_HEADER)
        return err_set(err, ERR_FORMAT, "header of %llu bytes, at most %d",
                       (unsigned long long)header, MAX_HEADER);
    const unsigned char *text = bytes + LENGTH_BYTES;
    size_t rest = len - LENGTH_BYTES, n = (size_t)header;
    if (n > rest)
        return err_set(err, ERR_FORMAT, "header of %zu bytes, but only %zu follow its length", n,
                       rest);
    if (n == 0 || text[0] != '{')
        return err_set(err, ERR_FORMAT, "header does not begin with '{'");
    size_t cost = json_cost((const char *)text, n);
    if (cost > MAX_HEADER_COST)
        return err_set(err, ERR_FORMAT, "reading the header could take %zu bytes, at most %d", cost,
                       MAX_HEADER_COST);
    /* Names once: the parser refuses a second one and says which. */
    st->header = json_parse("header", (const char *)text, n, err);
    if (!st->header)
        return -1;
    return read_entries(st, text + n, rest - n, err);
}

int safetensors_parse(const char *name, const void *data, size_t len, struct safetensors **out,
                      struct err *err)
{
    struct safetensors *st = xcalloc(1, sizeof *st);
    st->name = xstrdup(name);
    if (parse(st, data, len, err) != 0) {
        safetensors_close(st);
        return err_prefix(err, "%s", name);
    }
    if (tensor_set_init(&st->set, st->name, st->tensors, st->n, err) != 0) {
        safetensors_close(st);
        return -1;
    }
    *out = st;
    return 0;
}

int safetensors_open(const char *path, struct safetensors **out, struct err *err)
{
    struct file_map map;
    if (file_map_open(&map, path, err) != 0)
        return -1;
    struct safetensors *st;
    if (safetensors_parse(path, map.data, map.len, &st, err) != 0) {
        file_map_close(&map);
        return -1;
    }
    st->map = map;
    *out = st;
    return 0;
}

void safetensors_close(struct safetensors *st)
{
    if (!st)
        return;
    json_decref(st->header);
    file_map_close(&st->map);
    tensor_set_done(&st->set);
    free(st->tensors);
    free(st->name);
    free(st);
}

const struct tensor_set *safetensors_tensors(const struct safetensors *st)
{
    return &st->set;
}

const char *safetensors_meta(const struct safetensors *st, const char *key)
{
    return json_string_value(json_object_get(st->meta, key));
}
