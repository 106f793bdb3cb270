#include "models/torch_file.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "models/pickle.h"
#include "models/torch_tensors.h"
#include "models/zip_stored.h"

enum { MAX_FOLDER = 200, LEGACY_PICKLES = 5, LEGACY_VERSION = 1001, MAX_SHOWN = 60 };

/* How the older layout begins: protocol 2, and the number 0x1950a86a20f9469cfc6c, which is all of the
 * first pickle. */
static const char legacy_begin[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

struct torch_file {
    char *name;
    struct file_map map; /* empty when the bytes are the caller's */
    struct torch_tensors tensors;
    struct tensor_set set;
};

/* One reading of a file. */
struct reader {
    struct torch_file *f;
    const char *data;
    size_t len;
    struct pickle p;
    struct zip_stored zip;
    char folder[MAX_FOLDER]; /* of the archive's files, "archive/" */
    struct torch_storage *storages;
    size_t n_storages;
    struct err *err;
};

static int fault(const struct reader *r, const char *what)
{
    return err_set(r->err, ERR_FORMAT, "%s: %s", r->f->name, what);
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

/* The files FOLDERdata/KEY are the storages; by the order of names they stand together. */
static void list_storages(struct reader *r)
{
    char begin[MAX_FOLDER + 8];
    size_t m = (size_t)snprintf(begin, sizeof begin, "%sdata/", r->folder);
    r->storages = xcalloc(r->zip.n, sizeof *r->storages);
    for (size_t i = 0; i < r->zip.n; i++) {
        const struct zip_entry *e = &r->zip.entries[i];
        if (e->name_len > m && memcmp(e->name, begin, m) == 0)
            r->storages[r->n_storages++] =
                (struct torch_storage){e->name + m, e->name_len - m, e->data, e->len};
    }
}

static int read_archive(struct reader *r)
{
    const struct zip_entry *pickle, *order;
    char name[MAX_FOLDER + 16];
    if (zip_stored_open(r->f->name, r->data, r->len, &r->zip, r->err) != 0 ||
        find_folder(r, &pickle) != 0)
        return -1;
    int n = snprintf(name, sizeof name, "%sbyteorder", r->folder);
    order = zip_stored_find(&r->zip, name, (size_t)n); /* absent before PyTorch 2.1 */
    if (order && (order->len != 6 || memcmp(order->data, "little", 6) != 0))
        return err_set(r->err, ERR_FORMAT, "%s: its byte order is \"%.*s\", expected \"little\"",
                       r->f->name, (int)(order->len < 20 ? order->len : 20), order->data);
    list_storages(r);
    return pickle_parse(r->f->name, pickle->data, pickle->len, &r->p, NULL, r->err);
}

/* The storages that the object speaks of, sorted by key; len: bytes of an element, as their type is
 * told where they are used. */
static int list_types(const struct reader *r, struct torch_storage **types, size_t *n)
{
    struct torch_storage *list;
    size_t m = 0;
    for (uint32_t i = 0; i < r->p.n; i++)
        m += pickle_at(&r->p, i)->kind == PICKLE_STORAGE;
    *types = list = xcalloc(m, sizeof *list);
    m = 0;
    for (uint32_t i = 0; i < r->p.n; i++) {
        const struct pickle_node *s = pickle_at(&r->p, i);
        if (s->kind == PICKLE_STORAGE)
            list[m++] = (struct torch_storage){s->text, s->len, NULL, dtype_size(s->dtype)};
    }
    if (m)
        qsort(list, m, sizeof *list, torch_storage_order);
    *n = m;
    for (size_t i = 1; i < m; i++)
        if (torch_storage_order(&list[i - 1], &list[i]) == 0 && list[i - 1].len != list[i].len)
            return err_set(
                r->err, ERR_FORMAT, "%s: storage \"%.*s\" is used as of two types", r->f->name,
                (int)(list[i].key_len < MAX_SHOWN ? list[i].key_len : MAX_SHOWN), list[i].key);
    return 0;
}

/* The storage of this key at *at: the number of its elements, and these; *at is moved behind it. */
static int read_storage(struct reader *r, struct torch_storage *s, size_t size, size_t *at)
{
    int shown = (int)(s->key_len < MAX_SHOWN ? s->key_len : MAX_SHOWN);
    int64_t n;
    if (r->len - *at < sizeof n)
        return err_set(r->err, ERR_TRUNCATED,
                       "%s: it ends after %zu bytes, before storage \"%.*s\"", r->f->name, r->len,
                       shown, s->key);
    memcpy(&n, r->data + *at, sizeof n);
    *at += sizeof n;
    if (n < 0 || (uint64_t)n > (r->len - *at) / size)
        return err_set(r->err, ERR_TRUNCATED,
                       "%s: storage \"%.*s\" at byte %zu has %lld elements of %zu bytes, but %zu "
                       "bytes are left",
                       r->f->name, shown, s->key, *at, (long long)n, size, r->len - *at);
    s->data = r->data + *at;
    s->len = (size_t)n * size;
    *at += s->len;
    return 0;
}

static int read_storages(struct reader *r, const struct pickle *keys, size_t at)
{
    const struct pickle_node *list = pickle_at(keys, keys->root);
    struct torch_storage *types = NULL;
    size_t n_types = 0;
    if (list->kind != PICKLE_LIST)
        return fault(r, "no list of storages where one is expected");
    int rc = list_types(r, &types, &n_types);
    r->storages = xcalloc(list->n, sizeof *r->storages);
    for (uint32_t i = 0; i < list->n && rc == 0; i++) {
        const struct pickle_node *key = pickle_at(keys, list->items[i]);
        struct torch_storage *s = &r->storages[r->n_storages++];
        *s = (struct torch_storage){key->text, key->len, NULL, 0};
        const struct torch_storage *type =
            key->kind == PICKLE_STRING && n_types
                ? bsearch(s, types, n_types, sizeof *types, torch_storage_order)
                : NULL;
        rc = type ? read_storage(r, s, type->len, &at)
                  : fault(r, "its list of storages names one that no tensor uses");
    }
    free(types);
    if (rc == 0 && at != r->len)
        rc = err_set(r->err, ERR_FORMAT, "%s: %zu bytes behind the last storage", r->f->name,
                     r->len - at);
    if (rc == 0 && r->n_storages)
        qsort(r->storages, r->n_storages, sizeof *r->storages, torch_storage_order);
    for (size_t i = 1; i < r->n_storages && rc == 0; i++)
        if (torch_storage_order(&r->storages[i - 1], &r->storages[i]) == 0)
            rc = fault(r, "its list of storages names one twice");
    return rc;
}

static bool little_endian(const struct pickle *info)
{
    const struct pickle_node *order =
        pickle_get(info, pickle_at(info, info->root), "little_endian");
    return order && order->kind == PICKLE_BOOL && order->integer;
}

static bool known_version(const struct pickle *version)
{
    const struct pickle_node *n = pickle_at(version, version->root);
    return n->kind == PICKLE_INT && n->integer == LEGACY_VERSION;
}

/* Magic, version, machine, object, keys: five pickles, then the storages in the keys' order. */
static int read_legacy(struct reader *r)
{
    struct pickle parts[LEGACY_PICKLES] = {{0}};
    size_t at = 0, used;
    int rc = 0;
    for (int n = 0; n < LEGACY_PICKLES && rc == 0; n++) {
        rc = pickle_parse(r->f->name, r->data + at, r->len - at, &parts[n], &used, r->err);
        if (rc != 0)
            break;
        at += used;
        if (n == 1 && !known_version(&parts[n]))
            rc = fault(r, "a version of PyTorch's older layout that is not 1001");
        if (n == 2 && !little_endian(&parts[n]))
            rc = fault(r, "its byte order is not little-endian");
    }
    if (rc == 0) {
        r->p = parts[3];
        parts[3] = (struct pickle){0};
        rc = read_storages(r, &parts[4], at);
    }
    for (int i = 0; i < LEGACY_PICKLES; i++)
        pickle_done(&parts[i]);
    return rc;
}

/* By the first bytes, whatever the file is called. */
static int read_file(struct reader *r)
{
    struct torch_file *f = r->f;
    int rc;
    if (r->len >= 4 && memcmp(r->data, "PK\3\4", 4) == 0)
        rc = read_archive(r);
    else if (r->len >= sizeof legacy_begin - 1 &&
             memcmp(r->data, legacy_begin, sizeof legacy_begin - 1) == 0)
        rc = read_legacy(r);
    else
        rc = err_set(r->err, ERR_FORMAT,
                     "%s: %zu bytes that begin neither as a zip archive nor as PyTorch's older "
                     "layout: not what torch.save() writes",
                     f->name, r->len);
    if (rc == 0)
        rc = torch_tensors_read(f->name, r->len, &r->p, r->storages, r->n_storages, &f->tensors,
                                r->err);
    return rc == 0 ? tensor_set_init(&f->set, f->name, f->tensors.list, f->tensors.n, r->err) : -1;
}

int torch_file_parse(const char *name, const void *data, size_t len, struct torch_file **out,
                     struct err *err)
{
    struct torch_file *f = xcalloc(1, sizeof *f);
    struct reader r = {.f = f, .data = data, .len = len, .err = err};
    f->name = xstrdup(name);
    int rc = read_file(&r);
    pickle_done(&r.p);
    zip_stored_done(&r.zip);
    free(r.storages);
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
    tensor_set_done(&f->set);
    torch_tensors_done(&f->tensors);
    file_map_close(&f->map);
    free(f->name);
    free(f);
}

const struct tensor_set *torch_file_tensors(const struct torch_file *f)
{
    return &f->set;
}

size_t torch_file_skipped(const struct torch_file *f)
{
    return f->tensors.skipped;
}
