#include "models/zip_stored.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOCAL = 30,   /* bytes of a local header before its name */
    CENTRAL = 46, /* of an entry of the central directory */
    END = 22,     /* of the end record */
    LOCATOR = 20, /* zip64's, before the end record */
    END64 = 56,   /* zip64's end record */
    COMMENT = 65535,
    MAX_ENTRIES = 1000000,
    ZIP64 = 1 /* id of the extra field */
};

/* Bytes of the archive, those of an entry's local header among them. */
struct span {
    uint64_t begin, end;
};

struct archive {
    const char *name;
    const unsigned char *data;
    size_t len;
    struct err *err;
};

static uint64_t number(const unsigned char *p, int bytes)
{
    uint64_t n = 0;
    for (int i = 0; i < bytes; i++)
        n |= (uint64_t)p[i] << (8 * i);
    return n;
}

static int fault(const struct archive *a, uint64_t at, const char *what)
{
    return err_set(a->err, ERR_FORMAT, "%s: zip, byte %llu: %s", a->name, (unsigned long long)at,
                   what);
}

/* Where the end record begins: the last place that looks like it, whose comment ends the file. */
static int find_end(const struct archive *a, size_t *at)
{
    size_t least = a->len > END + COMMENT ? a->len - END - COMMENT : 0;
    for (size_t i = a->len < END ? 0 : a->len - END + 1; i > least; i--)
        if (memcmp(a->data + i - 1, "PK\5\6", 4) == 0 &&
            number(a->data + i - 1 + 20, 2) == a->len - END - (i - 1)) {
            *at = i - 1;
            return 0;
        }
    return err_set(a->err, ERR_TRUNCATED,
                   "%s: zip: no end record at the end of its %zu bytes: the file is cut short, or "
                   "bytes follow it",
                   a->name, a->len);
}

/* The directory's offset, size and number of entries. */
static int read_end(const struct archive *a, uint64_t *at, uint64_t *size, uint64_t *n)
{
    size_t end = 0;
    if (find_end(a, &end) != 0)
        return -1;
    *n = number(a->data + end + 10, 2);
    *size = number(a->data + end + 12, 4);
    *at = number(a->data + end + 16, 4);
    uint64_t limit = end;
    if (end >= LOCATOR && memcmp(a->data + end - LOCATOR, "PK\6\7", 4) == 0) {
        uint64_t end64 = number(a->data + end - LOCATOR + 8, 8);
        if (a->len < END64 || end64 > a->len - END64 || memcmp(a->data + end64, "PK\6\6", 4) != 0)
            return fault(a, end64, "no zip64 end record where the locator points");
        *n = number(a->data + end64 + 32, 8);
        *size = number(a->data + end64 + 40, 8);
        *at = number(a->data + end64 + 48, 8);
        limit = end64;
    }
    if (*at > limit || *size > limit - *at)
        return fault(a, end, "the directory does not lie before the end record");
    return *n <= MAX_ENTRIES && *n * CENTRAL <= *size
               ? 0
               : fault(a, end, "more entries than the directory has room for");
}

/* Sizes and offset of an entry, from zip64's extra field where the header has no room. */
static int read_sizes(const struct archive *a, uint64_t at, const unsigned char *extra,
                      size_t extra_len, uint64_t *packed, uint64_t *size, uint64_t *offset)
{
    uint64_t *const wide[] = {size, packed, offset};
    bool needed = false;
    for (int i = 0; i < 3; i++)
        needed = needed || *wide[i] == UINT32_MAX;
    for (size_t i = 0; needed && i + 4 <= extra_len;) {
        size_t id = (size_t)number(extra + i, 2), len = (size_t)number(extra + i + 2, 2);
        if (len > extra_len - i - 4)
            return fault(a, at, "an extra field that is cut short");
        const unsigned char *p = extra + i + 4, *end = p + len;
        for (int k = 0; id == ZIP64 && k < 3; k++) {
            if (*wide[k] != UINT32_MAX)
                continue;
            if (end - p < 8)
                return fault(a, at, "a zip64 field that is cut short");
            *wide[k] = number(p, 8);
            p += 8;
        }
        if (id == ZIP64)
            return 0;
        i += 4 + len;
    }
    return needed ? fault(a, at, "sizes of zip64 without its field") : 0;
}

/* The directory's entry at `at`; *next is the one behind it. */
static int read_entry(const struct archive *a, uint64_t at, uint64_t end, struct zip_entry *e,
                      struct span *span, uint64_t *next)
{
    const unsigned char *p = a->data + at;
    if (end - at < CENTRAL || memcmp(p, "PK\1\2", 4) != 0)
        return fault(a, at, "no directory entry where one is expected");
    uint64_t packed = number(p + 20, 4), size = number(p + 24, 4), offset = number(p + 42, 4);
    size_t name = (size_t)number(p + 28, 2), extra = (size_t)number(p + 30, 2),
           comment = (size_t)number(p + 32, 2);
    if (name + extra + comment > end - at - CENTRAL)
        return fault(a, at, "a directory entry that is cut short");
    if (number(p + 8, 2) & 1)
        return fault(a, at, "an encrypted entry");
    if (number(p + 10, 2) != 0)
        return fault(a, at, "a compressed entry; torch.save() stores them");
    if (read_sizes(a, at, p + CENTRAL + name, extra, &packed, &size, &offset) != 0)
        return -1;
    if (packed != size)
        return fault(a, at, "a stored entry of two sizes");
    if (a->len < LOCAL || offset > a->len - LOCAL || memcmp(a->data + offset, "PK\3\4", 4) != 0)
        return fault(a, at, "an entry that points to no local header");
    uint64_t begin =
        offset + LOCAL + number(a->data + offset + 26, 2) + number(a->data + offset + 28, 2);
    if (begin > a->len || size > a->len - begin)
        return err_set(a->err, ERR_TRUNCATED,
                       "%s: zip: entry \"%.*s\" has %llu bytes from %llu on, the file ends at %zu",
                       a->name, (int)(name < 100 ? name : 100), (const char *)p + CENTRAL,
                       (unsigned long long)size, (unsigned long long)begin, a->len);
    if (number(a->data + offset + 26, 2) != name ||
        memcmp(a->data + offset + LOCAL, p + CENTRAL, name) != 0)
        return fault(a, offset, "a local header of another name than the directory's");
    *e = (struct zip_entry){(const char *)p + CENTRAL, name, (const char *)a->data + begin,
                            (size_t)size};
    *span = (struct span){offset, begin + size};
    *next = at + CENTRAL + name + extra + comment;
    return 0;
}

static int by_place(const void *x, const void *y)
{
    const struct span *a = x, *b = y;
    return (a->begin > b->begin) - (a->begin < b->begin);
}

static int compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order ? order : (a_len > b_len) - (a_len < b_len);
}

static int by_name(const void *x, const void *y)
{
    const struct zip_entry *a = x, *b = y;
    return compare(a->name, a->name_len, b->name, b->name_len);
}

/* Nothing is in two places, and the directory is in none of them. */
static int check_spans(const struct archive *a, struct span *spans, size_t n, uint64_t directory)
{
    if (n)
        qsort(spans, n, sizeof *spans, by_place);
    for (size_t i = 1; i < n; i++)
        if (spans[i - 1].end > spans[i].begin)
            return fault(a, spans[i].begin, "two entries share bytes");
    return n && spans[n - 1].end > directory
               ? fault(a, directory, "an entry shares bytes with the directory")
               : 0;
}

static int check_names(const struct archive *a, const struct zip_stored *z)
{
    for (size_t i = 1; i < z->n; i++)
        if (by_name(&z->entries[i - 1], &z->entries[i]) == 0)
            return err_set(a->err, ERR_FORMAT, "%s: zip: entry \"%.*s\" is there twice", a->name,
                           (int)(z->entries[i].name_len < 100 ? z->entries[i].name_len : 100),
                           z->entries[i].name);
    return 0;
}

int zip_stored_open(const char *name, const char *data, size_t len, struct zip_stored *out,
                    struct err *err)
{
    struct archive a = {name, (const unsigned char *)data, len, err};
    struct zip_stored z = {0};
    uint64_t directory, size, n;
    if (read_end(&a, &directory, &size, &n) != 0)
        return -1;
    uint64_t at = directory, end = directory + size;
    z.entries = xcalloc((size_t)n, sizeof *z.entries);
    struct span *spans = xcalloc((size_t)n, sizeof *spans);
    int rc = 0;
    for (; z.n < n && rc == 0; z.n += rc == 0)
        rc = read_entry(&a, at, end, &z.entries[z.n], &spans[z.n], &at);
    if (rc == 0 && at != end)
        rc = fault(&a, at, "bytes in the directory behind its last entry");
    if (rc == 0)
        rc = check_spans(&a, spans, z.n, directory);
    if (rc == 0 && z.n)
        qsort(z.entries, z.n, sizeof *z.entries, by_name);
    if (rc == 0)
        rc = check_names(&a, &z);
    free(spans);
    if (rc != 0) {
        zip_stored_done(&z);
        return -1;
    }
    *out = z;
    return 0;
}

void zip_stored_done(struct zip_stored *z)
{
    free(z->entries);
    *z = (struct zip_stored){0};
}

const struct zip_entry *zip_stored_find(const struct zip_stored *z, const char *name, size_t len)
{
    size_t low = 0, high = z->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct zip_entry *e = &z->entries[middle];
        int order = compare(name, len, e->name, e->name_len);
        if (order == 0)
            return e;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
