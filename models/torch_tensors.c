#include "models/torch_tensors.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHOWN = 100 }; /* bytes of a stranger's key in a message */

/* One reading. */
struct reader {
    const char *file;
    size_t file_len;
    const struct pickle *p;
    const struct torch_storage *storages;
    size_t n_storages;
    struct torch_tensors *out;
    struct err *err;
};

/* How a tensor lies in its storage, in elements. */
struct layout {
    int64_t strides[TENSOR_MAX_DIMS];
    bool in_order;
    int64_t count, last; /* elements; the farthest from the first */
};

int torch_storage_order(const void *a, const void *b)
{
    const struct torch_storage *s = a, *t = b;
    int order = memcmp(s->key, t->key, s->key_len < t->key_len ? s->key_len : t->key_len);
    return order ? order : (s->key_len > t->key_len) - (s->key_len < t->key_len);
}

/* The storage's bytes, which are as many as the pickle says. */
static int find_storage(const struct reader *r, const struct pickle_node *node, const char *tensor,
                        const char **data)
{
    const struct torch_storage key = {node->text, node->len, NULL, 0}, *s = NULL;
    int shown = (int)(node->len < MAX_SHOWN ? node->len : MAX_SHOWN);
    size_t size = dtype_size(node->dtype);
    if (r->n_storages)
        s = bsearch(&key, r->storages, r->n_storages, sizeof *s, torch_storage_order);
    if (!s)
        return err_set(r->err, ERR_MISSING,
                       "%s: tensor \"%.300s\": its storage \"%.*s\" is not in the file", r->file,
                       tensor, shown, node->text);
    if (s->len % size || (uint64_t)node->integer != s->len / size)
        return err_set(r->err, (uint64_t)node->integer > s->len / size ? ERR_TRUNCATED : ERR_FORMAT,
                       "%s: tensor \"%.300s\": its storage \"%.*s\" has %zu bytes, expected %lld "
                       "elements of %zu",
                       r->file, tensor, shown, node->text, s->len, (long long)node->integer, size);
    *data = s->data;
    return 0;
}

static int read_layout(const struct reader *r, const struct pickle_node *node, struct tensor *t,
                       struct layout *l)
{
    const struct pickle_node *sizes = pickle_at(r->p, node->items[2]),
                             *steps = pickle_at(r->p, node->items[3]);
    if (sizes->n > TENSOR_MAX_DIMS || sizes->n != steps->n)
        return err_set(r->err, ERR_FORMAT,
                       "%s: tensor \"%.300s\": %u sizes and %u strides, expected as many of both, "
                       "at most %d",
                       r->file, t->name, (unsigned)sizes->n, (unsigned)steps->n, TENSOR_MAX_DIMS);
    t->n_dims = (int)sizes->n;
    *l = (struct layout){.in_order = true, .count = 1};
    for (int i = t->n_dims - 1; i >= 0; i--) {
        const struct pickle_node *size = pickle_at(r->p, sizes->items[i]),
                                 *step = pickle_at(r->p, steps->items[i]);
        int64_t last = 0;
        if (size->kind != PICKLE_INT || step->kind != PICKLE_INT || size->integer < 0 ||
            step->integer < 0)
            return err_set(r->err, ERR_FORMAT,
                           "%s: tensor \"%.300s\": size or stride %d is no number from 0 on",
                           r->file, t->name, i);
        t->dims[i] = size->integer;
        l->strides[i] = step->integer;
        l->in_order = l->in_order && (size->integer == 1 || step->integer == l->count);
        if (__builtin_mul_overflow(l->count, size->integer, &l->count) ||
            (size->integer > 0 &&
             (__builtin_mul_overflow(size->integer - 1, step->integer, &last) ||
              __builtin_add_overflow(l->last, last, &l->last))))
            return err_set(r->err, ERR_FORMAT, "%s: tensor \"%.300s\": its shape overflows",
                           r->file, t->name);
    }
    return 0;
}

/* The tensor lies within the elements of its storage. One without elements lies nowhere: slices that
 * are empty are saved with offsets behind the end. */
static int check_reach(const struct reader *r, const struct tensor *t, const struct layout *l,
                       int64_t offset, int64_t elements)
{
    if (offset < 0 || (l->count > 0 && l->last >= elements - offset))
        return err_set(r->err, ERR_FORMAT,
                       "%s: tensor \"%.300s\": from element %lld on it reaches %lld further, its "
                       "storage has %lld",
                       r->file, t->name, (long long)offset, (long long)l->last,
                       (long long)elements);
    if (l->count > elements)
        return err_set(r->err, ERR_FORMAT,
                       "%s: tensor \"%.300s\": %lld elements expanded from a storage of %lld; save "
                       "a copy, tensor.contiguous()",
                       r->file, t->name, (long long)l->count, (long long)elements);
    return 0;
}

/* Elements in order, wherever they lie: from[sum of index times stride]. */
static void gather(const struct tensor *t, const struct layout *l, const char *from, char *to)
{
    size_t size = dtype_size(t->dtype);
    int64_t index[TENSOR_MAX_DIMS] = {0}, at = 0;
    for (int64_t i = 0; i < l->count; i++) {
        memcpy(to + (size_t)i * size, from + (size_t)at * size, size);
        for (int d = t->n_dims - 1; d >= 0; d--) {
            at += l->strides[d];
            if (++index[d] < t->dims[d])
                break;
            at -= l->strides[d] * t->dims[d];
            index[d] = 0;
        }
    }
}

static int copy_in_order(struct reader *r, struct tensor *t, const struct layout *l, void **copy)
{
    struct torch_tensors *out = r->out;
    if (t->bytes > TORCH_MAX_COPIES * r->file_len - out->copied)
        return err_set(r->err, ERR_FORMAT,
                       "%s: tensor \"%.300s\": copies of tensors that do not lie in order would "
                       "take over %d times the file's %zu bytes",
                       r->file, t->name, TORCH_MAX_COPIES, r->file_len);
    out->copied += t->bytes;
    *copy = xmalloc(t->bytes);
    gather(t, l, t->data, *copy);
    t->data = *copy;
    return 0;
}

static int add_tensor(struct reader *r, const struct pickle_node *key,
                      const struct pickle_node *node)
{
    struct torch_tensors *out = r->out;
    const struct pickle_node *storage = pickle_at(r->p, node->items[0]),
                             *offset = pickle_at(r->p, node->items[1]);
    struct tensor *t = &out->list[out->n];
    struct layout l = {0};
    const char *data = NULL;
    size_t at = out->n++;
    out->names[at] = xmalloc(key->len + 1);
    memcpy(out->names[at], key->text, key->len);
    out->names[at][key->len] = '\0';
    *t = (struct tensor){.name = out->names[at], .dtype = storage->dtype};
    if (strlen(t->name) != key->len)
        return err_set(r->err, ERR_FORMAT, "%s: tensor \"%.300s\": a NUL in its name", r->file,
                       t->name);
    if (read_layout(r, node, t, &l) != 0 || find_storage(r, storage, t->name, &data) != 0 ||
        check_reach(r, t, &l, offset->integer, storage->integer) != 0)
        return -1;
    t->data = l.count ? data + (size_t)offset->integer * dtype_size(t->dtype) : data;
    t->bytes = (size_t)l.count * dtype_size(t->dtype);
    return l.in_order || !l.count ? 0 : copy_in_order(r, t, &l, &out->copies[at]);
}

static bool is_tensor(const struct pickle *p, const struct pickle_node *dict, uint32_t i)
{
    return pickle_at(p, dict->items[i])->kind == PICKLE_STRING &&
           pickle_at(p, dict->items[i + 1])->kind == PICKLE_TENSOR;
}

static uint32_t count_tensors(const struct pickle *p, const struct pickle_node *dict)
{
    uint32_t n = 0;
    for (uint32_t i = 0; dict->kind == PICKLE_DICT && i + 1 < dict->n; i += 2)
        n += is_tensor(p, dict, i);
    return n;
}

/* The dictionary that holds the weights.  One within the outermost goes first: a training checkpoint
 * may keep its loss as a tensor, a state dictionary keeps no dictionaries. */
static const struct pickle_node *find_state(const struct pickle *p)
{
    static const char *const usual[] = {"state_dict", "model_state_dict", "model", "net"};
    const struct pickle_node *root = pickle_at(p, p->root);
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        const struct pickle_node *d = pickle_get(p, root, usual[i]);
        if (d && count_tensors(p, d) > 0)
            return d;
    }
    return count_tensors(p, root) > 0 ? root : NULL;
}

int torch_tensors_read(const char *file, size_t file_len, const struct pickle *p,
                       const struct torch_storage *storages, size_t n_storages,
                       struct torch_tensors *out, struct err *err)
{
    struct reader r = {file, file_len, p, storages, n_storages, out, err};
    const struct pickle_node *state = find_state(p);
    if (!state)
        return err_set(err, ERR_FORMAT,
                       "%s: no state dictionary in it: neither the outermost value nor its "
                       "\"state_dict\", \"model_state_dict\", \"model\" or \"net\" is a dictionary "
                       "of tensors",
                       file);
    uint32_t n = count_tensors(p, state);
    out->list = xcalloc(n, sizeof *out->list);
    out->names = xcalloc(n, sizeof *out->names);
    out->copies = xcalloc(n, sizeof *out->copies);
    out->skipped = state->n / 2 - n;
    for (uint32_t i = 0; i + 1 < state->n; i += 2)
        if (is_tensor(p, state, i) &&
            add_tensor(&r, pickle_at(p, state->items[i]), pickle_at(p, state->items[i + 1])) != 0)
            return -1;
    return 0;
}

void torch_tensors_done(struct torch_tensors *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->names[i]);
        free(t->copies[i]);
    }
    free(t->list);
    free(t->names);
    free(t->copies);
    *t = (struct torch_tensors){0};
}
