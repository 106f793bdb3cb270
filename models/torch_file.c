#include "models/torch_file.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "models/pickle.h"
#include "models/zip_stored.h"

enum { MAX_KEY = 200, LEGACY_PICKLES = 5, LEGACY_VERSION = 1001, MAX_TENSORS = 1000000 };

/* What the first pickle of the older layout holds: 0x1950a86a20f9469cfc6c. */
static const char legacy_magic[] = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/* A storage of the older layout. */
struct raw {
    const char *key;
    size_t key_len;
    const char *data;
    size_t len;
};

struct torch_file {
    char *name;
    struct file_map map;    /* empty when the bytes are the caller's */
    struct tensor *tensors; /* [n] */
    char **names;           /* [n] */
    void **copies;          /* [n], of tensors that do not lie in order; else NULL */
    size_t n;
    struct tensor_set set;
};

/* One reading of a file. */
struct reader {
    struct torch_file *f;
    const char *data;
    size_t len;
    struct pickle p;
    struct zip_stored zip;
    char folder[MAX_KEY]; /* of the archive's files, "archive/" */
    struct raw *raws;
    size_t n_raws;
    struct err *err;
};

static int fault(const struct reader *r, const char *what)
{
    return err_set(r->err, ERR_FORMAT, "%s: %s", r->f->name, what);
}

/* The bytes of a storage; len 0 elements may have no place. */
static int find_storage(const struct reader *r, const struct pickle_node *s, const char *tensor,
                        const char **data, size_t *len)
{
    char name[2 * MAX_KEY];
    if (s->len >= MAX_KEY)
        return fault(r, "a storage's key is too long");
    if (r->raws || !r->zip.entries) {
        for (size_t i = 0; i < r->n_raws; i++)
            if (r->raws[i].key_len == s->len && memcmp(r->raws[i].key, s->text, s->len) == 0) {
                *data = r->raws[i].data;
                *len = r->raws[i].len;
                return 0;
            }
    } else {
        int n = snprintf(name, sizeof name, "%sdata/%.*s", r->folder, (int)s->len, s->text);
        const struct zip_entry *e = zip_stored_find(&r->zip, name, (size_t)n);
        if (e) {
            *data = e->data;
            *len = e->len;
            return 0;
        }
    }
    return err_set(r->err, ERR_MISSING,
                   "%s: tensor \"%s\": its storage \"%.*s\" is not in the file", r->f->name, tensor,
                   (int)s->len, s->text);
}

/* sizes and strides into t and strides; whether the elements lie in order; how far they reach. */
static int read_shape(const struct reader *r, const struct pickle_node *node, struct tensor *t,
                      int64_t strides[TENSOR_MAX_DIMS], bool *in_order, int64_t *count,
                      int64_t *reach)
{
    const struct pickle_node *sizes = pickle_at(&r->p, node->items[2]),
                             *steps = pickle_at(&r->p, node->items[3]);
    int64_t expected = 1;
    if (sizes->n > TENSOR_MAX_DIMS || sizes->n != steps->n)
        return err_set(r->err, ERR_FORMAT, "%s: tensor \"%s\": %u sizes, %u strides", r->f->name,
                       t->name, (unsigned)sizes->n, (unsigned)steps->n);
    t->n_dims = (int)sizes->n;
    *in_order = true;
    *count = 1;
    *reach = 0;
    for (int i = t->n_dims - 1; i >= 0; i--) {
        const struct pickle_node *size = pickle_at(&r->p, sizes->items[i]),
                                 *stride = pickle_at(&r->p, steps->items[i]);
        int64_t last;
        if (size->kind != PICKLE_INT || stride->kind != PICKLE_INT || size->integer < 0 ||
            stride->integer < 0)
            return err_set(r->err, ERR_FORMAT, "%s: tensor \"%s\": a size or stride below 0",
                           r->f->name, t->name);
        t->dims[i] = size->integer;
        strides[i] = stride->integer;
        *in_order = *in_order && (size->integer == 1 || stride->integer == expected);
        if (__builtin_mul_overflow(expected, size->integer, &expected) ||
            (size->integer > 0 &&
             (__builtin_mul_overflow(size->integer - 1, stride->integer, &last) ||
              __builtin_add_overflow(*reach, last, reach))))
            return err_set(r->err, ERR_FORMAT, "%s: tensor \"%s\": its shape overflows", r->f->name,
                           t->name);
    }
    *count = expected;
    return 0;
}

/* Elements in order, wherever they lie: from[sum of index times stride]. */
static void *gather(const struct tensor *t, const char *from, const int64_t *strides, int64_t count)
{
    size_t size = dtype_size(t->dtype);
    char *out = xmalloc((size_t)count * size);
    int64_t index[TENSOR_MAX_DIMS] = {0}, at = 0;
    for (int64_t i = 0; i < count; i++) {
        memcpy(out + (size_t)i * size, from + (size_t)at * size, size);
        for (int d = t->n_dims - 1; d >= 0; d--) {
            at += strides[d];
            if (++index[d] < t->dims[d])
                break;
            at -= strides[d] * t->dims[d];
            index[d] = 0;
        }
    }
    return out;
}

static int add_tensor(struct reader *r, const struct pickle_node *key,
                      const struct pickle_node *node)
{
    struct torch_file *f = r->f;
    const struct pickle_node *storage = pickle_at(&r->p, node->items[0]),
                             *offset = pickle_at(&r->p, node->items[1]);
    int64_t strides[TENSOR_MAX_DIMS], count, reach;
    bool in_order;
    const char *data = NULL;
    size_t len = 0, at = f->n, size = dtype_size(storage->dtype);
    struct tensor *t = &f->tensors[at];
    f->names[at] = xmalloc(key->len + 1);
    memcpy(f->names[at], key->text, key->len);
    f->names[at][key->len] = '\0';
    f->n++;
    *t = (struct tensor){.name = f->names[at], .dtype = storage->dtype};
    if (strlen(t->name) != key->len)
        return fault(r, "a tensor's name holds a NUL");
    if (read_shape(r, node, t, strides, &in_order, &count, &reach) != 0 ||
        find_storage(r, storage, t->name, &data, &len) != 0)
        return -1;
    if ((uint64_t)storage->integer > len / size)
        return err_set(
            r->err, ERR_TRUNCATED,
            "%s: tensor \"%s\": its storage has %zu bytes, expected %lld elements of %zu", f->name,
            t->name, len, (long long)storage->integer, size);
    if (offset->integer < 0 || offset->integer > storage->integer ||
        (count > 0 && reach >= storage->integer - offset->integer) || count > storage->integer)
        return err_set(r->err, ERR_FORMAT,
                       "%s: tensor \"%s\" reaches beyond the %lld elements of its storage", f->name,
                       t->name, (long long)storage->integer);
    data += (size_t)offset->integer * size;
    t->bytes = (size_t)count * size;
    t->data = data;
    if (!in_order && count > 0)
        t->data = f->copies[at] = gather(t, data, strides, count);
    return 0;
}

static uint32_t count_tensors(const struct reader *r, const struct pickle_node *dict)
{
    uint32_t n = 0;
    for (uint32_t i = 0; dict->kind == PICKLE_DICT && i + 1 < dict->n; i += 2)
        n += pickle_at(&r->p, dict->items[i])->kind == PICKLE_STRING &&
             pickle_at(&r->p, dict->items[i + 1])->kind == PICKLE_TENSOR;
    return n;
}

/* The dictionary that holds the weights. */
static const struct pickle_node *find_state(const struct reader *r)
{
    static const char *const usual[] = {"state_dict", "model_state_dict", "model", "net"};
    const struct pickle_node *root = pickle_at(&r->p, r->p.root), *state = NULL;
    if (count_tensors(r, root) > 0)
        return root;
    for (size_t i = 0; i < sizeof usual / sizeof *usual && !state; i++) {
        const struct pickle_node *d = pickle_get(&r->p, root, usual[i]);
        state = d && count_tensors(r, d) > 0 ? d : NULL;
    }
    return state;
}

static int read_tensors(struct reader *r)
{
    struct torch_file *f = r->f;
    const struct pickle_node *state = find_state(r);
    uint32_t n = state ? count_tensors(r, state) : 0;
    if (!n || n > MAX_TENSORS)
        return fault(r, "no dictionary of tensors (a state dictionary) in it");
    f->tensors = xcalloc(n, sizeof *f->tensors);
    f->names = xcalloc(n, sizeof *f->names);
    f->copies = xcalloc(n, sizeof *f->copies);
    for (uint32_t i = 0; i + 1 < state->n; i += 2) {
        const struct pickle_node *key = pickle_at(&r->p, state->items[i]),
                                 *value = pickle_at(&r->p, state->items[i + 1]);
        if (key->kind == PICKLE_STRING && value->kind == PICKLE_TENSOR &&
            add_tensor(r, key, value) != 0)
            return -1;
    }
    return tensor_set_init(&f->set, f->name, f->tensors, f->n, r->err);
}

/* The folder of the archive is what stands before data.pkl. */
static int find_folder(struct reader *r, const struct zip_entry **pickle)
{
    static const char end[] = "/data.pkl";
    size_t m = sizeof end - 1;
    *pickle = NULL;
    for (size_t i = 0; i < r->zip.n; i++) {
        const struct zip_entry *e = &r->zip.entries[i];
        if (e->name_len < m || memcmp(e->name + e->name_len - m, end, m) != 0)
            continue;
        if (*pickle)
            return fault(r, "two files called data.pkl in it");
        if (e->name_len - m + 2 > sizeof r->folder)
            return fault(r, "its folder's name is too long");
        *pickle = e;
        memcpy(r->folder, e->name, e->name_len - m + 1);
        r->folder[e->name_len - m + 1] = '\0';
    }
    return *pickle ? 0 : fault(r, "a zip archive without data.pkl: not what torch.save() writes");
}

static int read_archive(struct reader *r)
{
    const struct zip_entry *pickle, *order;
    char name[2 * MAX_KEY];
    if (zip_stored_open(r->f->name, r->data, r->len, &r->zip, r->err) != 0 ||
        find_folder(r, &pickle) != 0)
        return -1;
    int n = snprintf(name, sizeof name, "%sbyteorder", r->folder);
    order = zip_stored_find(&r->zip, name, (size_t)n);
    if (order && (order->len < 6 || memcmp(order->data, "little", 6) != 0))
        return fault(r, "its byte order is not little-endian");
    if (pickle_parse(r->f->name, pickle->data, pickle->len, &r->p, NULL, r->err) != 0)
        return -1;
    return read_tensors(r);
}

/* The type of a storage in the older layout is told where it is used. */
static int element_of(const struct reader *r, const struct pickle_node *key, size_t *size)
{
    for (uint32_t i = 0; i < r->p.n; i++) {
        const struct pickle_node *s = pickle_at(&r->p, i);
        if (s->kind == PICKLE_STORAGE && s->len == key->len &&
            memcmp(s->text, key->text, key->len) == 0) {
            *size = dtype_size(s->dtype);
            return 0;
        }
    }
    return fault(r, "a storage that no tensor uses");
}

static int read_storages(struct reader *r, const struct pickle *keys, size_t at)
{
    const struct pickle_node *list = pickle_at(keys, keys->root);
    if (list->kind != PICKLE_LIST)
        return fault(r, "no list of storages where one is expected");
    r->raws = xcalloc((size_t)list->n + 1, sizeof *r->raws);
    for (uint32_t i = 0; i < list->n; i++) {
        const struct pickle_node *key = pickle_at(keys, list->items[i]);
        int64_t n;
        size_t size = 1;
        if (key->kind != PICKLE_STRING)
            return fault(r, "a storage without a key");
        if (element_of(r, key, &size) != 0)
            return -1;
        if (r->len - at < sizeof n)
            return err_set(r->err, ERR_TRUNCATED, "%s: it ends before storage \"%.*s\"", r->f->name,
                           (int)(key->len < 60 ? key->len : 60), key->text);
        memcpy(&n, r->data + at, sizeof n);
        at += sizeof n;
        if (n < 0 || (uint64_t)n > (r->len - at) / size)
            return err_set(
                r->err, ERR_TRUNCATED,
                "%s: storage \"%.*s\" has %lld elements of %zu bytes, %zu bytes are left",
                r->f->name, (int)(key->len < 60 ? key->len : 60), key->text, (long long)n, size,
                r->len - at);
        r->raws[r->n_raws++] = (struct raw){key->text, key->len, r->data + at, (size_t)n * size};
        at += (size_t)n * size;
    }
    return at == r->len ? 0 : fault(r, "bytes behind the last storage");
}

static bool little_endian(const struct pickle *info)
{
    const struct pickle_node *order =
        pickle_get(info, pickle_at(info, info->root), "little_endian");
    return order && order->kind == PICKLE_BOOL && order->integer;
}

/* Magic, version, machine, object, keys: five pickles, then the storages in the keys' order. */
static int read_legacy(struct reader *r)
{
    struct pickle parts[LEGACY_PICKLES] = {{0}};
    size_t at = 0, used;
    int rc = 0, n = 0;
    for (; n < LEGACY_PICKLES && rc == 0; n++) {
        rc = pickle_parse(r->f->name, r->data + at, r->len - at, &parts[n], &used, r->err);
        at += rc == 0 ? used : 0;
        const struct pickle_node *root = rc == 0 ? pickle_at(&parts[n], parts[n].root) : NULL;
        if (rc == 0 && n == 0 &&
            (root->kind != PICKLE_BIG || root->len != sizeof legacy_magic - 1 ||
             memcmp(root->text, legacy_magic, root->len) != 0))
            rc = fault(r, "neither a zip archive nor PyTorch's older layout");
        if (rc == 0 && n == 1 && (root->kind != PICKLE_INT || root->integer != LEGACY_VERSION))
            rc = fault(r, "an unknown version of PyTorch's older layout");
        if (rc == 0 && n == 2 && !little_endian(&parts[n]))
            rc = fault(r, "its byte order is not little-endian");
    }
    if (rc == 0) {
        r->p = parts[3];
        parts[3] = (struct pickle){0};
        rc = read_storages(r, &parts[4], at);
    }
    if (rc == 0)
        rc = read_tensors(r);
    for (int i = 0; i < LEGACY_PICKLES; i++)
        pickle_done(&parts[i]);
    return rc;
}

int torch_file_parse(const char *name, const void *data, size_t len, struct torch_file **out,
                     struct err *err)
{
    struct torch_file *f = xcalloc(1, sizeof *f);
    struct reader r = {.f = f, .data = data, .len = len, .err = err};
    f->name = xstrdup(name);
    int rc = len >= 4 && memcmp(data, "PK\3\4", 4) == 0 ? read_archive(&r) : read_legacy(&r);
    pickle_done(&r.p);
    zip_stored_done(&r.zip);
    free(r.raws);
    if (rc != 0) {
        torch_file_close(f);
        return -1;
    }
    *out = f;
    return 0;
}

int torch_file_open(const char *path, struct torch_file **out, struct err *err)
{
    struct file_map map;
    struct torch_file *f;
    if (file_map_open(&map, path, err) != 0)
        return -1;
    if (torch_file_parse(path, map.data ? (const void *)map.data : "", map.len, &f, err) != 0) {
        file_map_close(&map);
        return -1;
    }
    f->map = map;
    *out = f;
    return 0;
}

void torch_file_close(struct torch_file *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->n; i++) {
        free(f->names[i]);
        free(f->copies[i]);
    }
    tensor_set_done(&f->set);
    free(f->tensors);
    free(f->names);
    free(f->copies);
    file_map_close(&f->map);
    free(f->name);
    free(f);
}

const struct tensor_set *torch_file_tensors(const struct torch_file *f)
{
    return &f->set;
}
