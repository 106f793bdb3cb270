#include "models/safetensors.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"

enum { LENGTH_BYTES = 8, ALIGNMENT = 8, MAX_HEADER = 100 * 1000 * 1000 };

/* "key" as JSON; false when it is not UTF-8 (the JSON library is the judge, as it will be of the
 * reader). */
static bool put_string(struct buf *b, const char *s)
{
    json_t *judged = json_string(s);
    if (!judged)
        return false;
    json_decref(judged);
    buf_puts(b, "\"");
    buf_put_json(b, s, strlen(s));
    buf_puts(b, "\"");
    return true;
}

static int put_meta(struct buf *b, const char *const *meta, struct err *err)
{
    buf_puts(b, "\"__metadata__\":{");
    for (size_t i = 0; meta[i]; i += 2) {
        if (i)
            buf_puts(b, ",");
        for (size_t j = 0; j < i; j += 2)
            if (strcmp(meta[i], meta[j]) == 0)
                return err_set(err, ERR_FORMAT, "__metadata__: \"%s\" stands twice", meta[i]);
        bool good = put_string(b, meta[i]);
        buf_puts(b, ":");
        if (!good || !put_string(b, meta[i + 1]))
            return err_set(err, ERR_FORMAT, "__metadata__: pair %zu is not UTF-8", i / 2);
    }
    buf_puts(b, "}");
    return 0;
}

/* What the reader would refuse is not written. */
static int check(const struct tensor *t, struct err *err)
{
    if ((unsigned)t->dtype >= DT_COUNT)
        return err_set(err, ERR_FORMAT, "dtype %d is unknown", (int)t->dtype);
    if (t->n_dims < 0 || t->n_dims > TENSOR_MAX_DIMS)
        return err_set(err, ERR_FORMAT, "%d dimensions, at most %d", t->n_dims, TENSOR_MAX_DIMS);
    size_t bytes = dtype_size(t->dtype);
    for (int i = 0; i < t->n_dims; i++)
        if (t->dims[i] < 0 || __builtin_mul_overflow(bytes, (size_t)t->dims[i], &bytes))
            return err_set(err, ERR_FORMAT, "dimension %d is %lld", i, (long long)t->dims[i]);
    if (bytes != t->bytes)
        return err_set(err, ERR_FORMAT, "%zu bytes given, but %s of its shape takes %zu", t->bytes,
                       dtype_name(t->dtype), bytes);
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct tensor *const *)a)->name,
                  (*(const struct tensor *const *)b)->name);
}

static int check_names(const struct tensor *tensors, size_t n, struct err *err)
{
    const struct tensor **sorted = xcalloc(n, sizeof *sorted);
    for (size_t i = 0; i < n; i++)
        sorted[i] = &tensors[i];
    if (n)
        qsort(sorted, n, sizeof *sorted, by_name);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        if (strcmp(sorted[i]->name, "__metadata__") == 0)
            rc = err_set(err, ERR_FORMAT, "no tensor can be named __metadata__");
        else if (i && strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            rc = err_set(err, ERR_FORMAT, "tensor \"%s\" stands twice", sorted[i]->name);
    free(sorted);
    return rc;
}

static int put_header(struct buf *b, const struct tensor *tensors, size_t n,
                      const char *const *meta, size_t *data_len, struct err *err)
{
    size_t at = 0;
    buf_puts(b, "{");
    if (meta && meta[0] && put_meta(b, meta, err) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const struct tensor *t = &tensors[i];
        if (check(t, err) != 0)
            return err_prefix(err, "tensor \"%s\"", t->name);
        if (b->len > 1)
            buf_puts(b, ",");
        if (!put_string(b, t->name))
            return err_set(err, ERR_FORMAT, "the name of tensor %zu is not UTF-8", i);
        buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(t->dtype));
        for (int d = 0; d < t->n_dims; d++)
            buf_printf(b, "%s%lld", d ? "," : "", (long long)t->dims[d]);
        if (t->bytes > (size_t)INT64_MAX - at)
            return err_set(err, ERR_FORMAT, "tensor \"%s\": the file would be too long", t->name);
        buf_printf(b, "],\"data_offsets\":[%zu,%zu]}", at, at + t->bytes);
        at += t->bytes;
    }
    buf_puts(b, "}");
    while (b->len % ALIGNMENT && !b->full)
        buf_puts(b, " ");
    if (b->full)
        return err_set(err, ERR_FORMAT, "the header would pass %d bytes", MAX_HEADER);
    *data_len = at;
    return 0;
}

int safetensors_write(const char *path, const struct tensor *tensors, size_t n,
                      const char *const *meta, struct err *err)
{
    struct buf header;
    size_t data_len = 0;
    buf_init(&header, MAX_HEADER);
    if (check_names(tensors, n, err) != 0 ||
        put_header(&header, tensors, n, meta, &data_len, err) != 0) {
        buf_done(&header);
        return err_prefix(err, "%s", path);
    }
    size_t len = LENGTH_BYTES + header.len + data_len;
    char *file = xmalloc(len), *p = file;
    uint64_t header_len = header.len;
    memcpy(p, &header_len, LENGTH_BYTES);
    p += LENGTH_BYTES;
    memcpy(p, header.data, header.len);
    p += header.len;
    for (size_t i = 0; i < n; i++) {
        if (tensors[i].bytes)
            memcpy(p, tensors[i].data, tensors[i].bytes);
        p += tensors[i].bytes;
    }
    buf_done(&header);
    int rc = file_replace(path, file, len, err);
    free(file);
    return rc;
}
