#include "models/zip_stored.h"

#include "base/buf.h"
#include "tests/base/scratch.h"

/* An entry as it is written; what differs from a sound one is what a test is about. */
struct made {
    const char *name, *data;
    const char *local_name; /* NULL: name */
    unsigned flags, method;
    uint32_t size_off; /* added to both sizes in the directory */
    uint32_t packed_off;
    bool wide;                    /* sizes and place in a zip64 field */
    unsigned wide_len, wide_said; /* bytes of that field, and how many it says; 0: 24 */
    const uint32_t *at;           /* where it says that it begins; NULL: where it does */
};

/* And the archive around them. */
struct around {
    bool wide;        /* a zip64 end record */
    int more_entries; /* that the end record claims */
    int directory_off, size_off;
    uint64_t locator_off;
    const char *before_end; /* between directory and end record, part of the directory */
    const char *after;
};

static void put_number(struct buf *b, uint64_t n, int bytes)
{
    for (int i = 0; i < bytes; i++)
        buf_put(b, &(char){(char)(i < 8 ? n >> (8 * i) : 0)}, 1);
}

static void put_local(struct buf *b, const struct made *e)
{
    const char *name = e->local_name ? e->local_name : e->name;
    buf_put(b, "PK\3\4", 4);
    for (int i = 0; i < 22; i++)
        buf_put(b, "", 1);
    put_number(b, strlen(name), 2);
    put_number(b, 3, 2); /* padding, as torch.save() aligns its storages */
    buf_puts(b, name);
    buf_put(b, "\0\0\0", 3);
    buf_puts(b, e->data);
}

static void put_entry(struct buf *b, const struct made *e, uint32_t at)
{
    uint32_t size = (uint32_t)strlen(e->data) + e->size_off;
    unsigned wide_len = !e->wide ? 0 : 4 + (e->wide_len ? e->wide_len : 24);
    at = e->at ? *e->at : at;
    buf_put(b, "PK\1\2", 4);
    put_number(b, 0, 4);
    put_number(b, e->flags, 2);
    put_number(b, e->method, 2);
    put_number(b, 0, 8);
    put_number(b, e->wide ? UINT32_MAX : size + e->packed_off, 4);
    put_number(b, e->wide ? UINT32_MAX : size, 4);
    put_number(b, strlen(e->name), 2);
    put_number(b, wide_len + 5, 2);
    put_number(b, 0, 10);
    put_number(b, e->wide ? UINT32_MAX : at, 4);
    buf_puts(b, e->name);
    put_number(b, 0x7777, 2); /* a field that nobody knows */
    put_number(b, 1, 2);
    buf_puts(b, "x");
    if (!e->wide)
        return;
    struct buf field;
    buf_init(&field, 100);
    put_number(&field, size, 8);
    put_number(&field, size, 8);
    put_number(&field, at, 8);
    put_number(b, 1, 2);
    put_number(b, e->wide_said ? e->wide_said : wide_len - 4, 2);
    buf_put(b, field.data, wide_len - 4);
    buf_done(&field);
}

static void put_end(struct buf *b, const struct around *a, size_t n, size_t directory)
{
    size_t size = b->len - directory + (size_t)a->size_off, end64 = b->len;
    if (a->wide) {
        buf_put(b, "PK\6\6", 4);
        put_number(b, 44, 8);
        put_number(b, 0, 12);
        put_number(b, n, 8);
        put_number(b, n + (size_t)a->more_entries, 8);
        put_number(b, size, 8);
        put_number(b, directory + (size_t)a->directory_off, 8);
        buf_put(b, "PK\6\7", 4);
        put_number(b, 0, 4);
        put_number(b, end64 + a->locator_off, 8);
        put_number(b, 1, 4);
    }
    buf_put(b, "PK\5\6", 4);
    put_number(b, 0, 4);
    put_number(b, a->wide ? 0xffff : n, 2);
    put_number(b, a->wide ? 0xffff : n + (size_t)a->more_entries, 2);
    put_number(b, a->wide ? UINT32_MAX : size, 4);
    put_number(b, a->wide ? UINT32_MAX : directory + (size_t)a->directory_off, 4);
    put_number(b, 0, 2);
    buf_puts(b, a->after ? a->after : "");
}

static void make(struct buf *b, const struct around *a, const struct made *list, size_t n)
{
    uint32_t at[8];
    buf_init(b, 1 << 16);
    for (size_t i = 0; i < n; i++) {
        at[i] = (uint32_t)b->len;
        put_local(b, &list[i]);
    }
    size_t directory = b->len;
    for (size_t i = 0; i < n; i++)
        put_entry(b, &list[i], at[i]);
    buf_puts(b, a->before_end ? a->before_end : "");
    put_end(b, a, n, directory);
}

static int open_own(const char *data, size_t len, struct err *err)
{
    struct zip_stored z = {.n = 77};
    char *own = xmalloc(len + !len); /* exactly so long: a sanitizer sees more */
    if (len)
        memcpy(own, data, len);
    int rc = zip_stored_open("z", own, len, &z, err);
    if (rc == 0)
        zip_stored_done(&z);
    else
        assert_int_equal(z.n, 77);
    free(own);
    return rc;
}

static void refused(const struct around *a, const struct made *list, size_t n, const char *expected)
{
    struct buf b;
    struct err err;
    make(&b, a, list, n);
    if (open_own(b.data, b.len, &err) == 0)
        fail_msg("no \"%s\"", expected);
    if (strncmp(err.msg, "z: zip", 6) != 0 || strcmp(err.msg + 6, expected) != 0)
        fail_msg("\"%s\" is not \"z: zip%s\"", err.msg, expected);
    buf_done(&b);
}

static void check(const struct around *a, bool wide)
{
    static const char *const names[] = {"c", "a", "bb", "", "b"}, *const texts[] = {
                                                                      "three", "", "two", "no name",
                                                                      "one"};
    struct made list[5];
    struct buf b;
    struct err err;
    struct zip_stored z;
    for (int i = 0; i < 5; i++)
        list[i] = (struct made){.name = names[i], .data = texts[i], .wide = wide};
    make(&b, a, list, 5);
    if (zip_stored_open("z", b.data, b.len, &z, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(z.n, 5);
    for (int i = 0; i < 5; i++) {
        const struct zip_entry *e = zip_stored_find(&z, names[i], strlen(names[i]));
        assert_non_null(e);
        assert_int_equal(e->len, strlen(texts[i]));
        assert_true(e->data > b.data && e->data < b.data + b.len); /* nothing is copied */
        assert_memory_equal(e->data, texts[i], e->len);
    }
    assert_null(zip_stored_find(&z, "d", 1));
    assert_null(zip_stored_find(&z, "aa", 2));
    assert_memory_equal(z.entries[3].name, "bb", 2); /* "", a, b, bb, c */
    zip_stored_done(&z);
    zip_stored_done(&z);
    for (size_t n = 0; n < b.len; n++)
        if (open_own(b.data, n, &err) == 0)
            fail_msg("%zu of %zu bytes pass", n, b.len);
    buf_done(&b);
}

static void test_sound(void **state)
{
    (void)state;
    check(&(struct around){0}, false);
    check(&(struct around){.wide = true}, false);
    check(&(struct around){0}, true);
    check(&(struct around){.wide = true}, true);
    struct err err;
    static const char nothing[22] = "PK\5\6"; /* no entries at all */
    assert_int_equal(open_own(nothing, 22, &err), 0);
}

static void test_end(void **state)
{
    (void)state;
    const struct made e = {.name = "a", .data = "1234"};
#define AROUND(...) &(struct around){__VA_ARGS__}, &e, 1
    refused(
        AROUND(.after = "!"),
        ": no end record at the end of its 113 bytes: the file is cut short, or bytes follow it");
    refused(AROUND(.directory_off = 1),
            ", byte 90: the directory does not lie before the end record");
    refused(AROUND(.size_off = 1), ", byte 90: the directory does not lie before the end record");
    refused(AROUND(.more_entries = 1), ", byte 90: more entries than the directory has room for");
    refused(AROUND(.more_entries = -1), ", byte 38: bytes in the directory behind its last entry");
    refused(AROUND(.before_end = "!"), ", byte 90: bytes in the directory behind its last entry");
    refused(AROUND(.directory_off = -1), ", byte 37: no directory entry where one is expected");
    refused(AROUND(.size_off = -6), ", byte 38: a directory entry that is cut short");
    refused(AROUND(.wide = true, .locator_off = 1),
            ", byte 91: no zip64 end record where the locator points");
    refused(AROUND(.wide = true, .locator_off = UINT64_MAX - 1000),
            ", byte 18446744073709550705: no zip64 end record where the locator points");
    refused(AROUND(.wide = true, .more_entries = 1 << 30),
            ", byte 166: more entries than the directory has room for");
    refused(AROUND(.wide = true, .directory_off = 100),
            ", byte 166: the directory does not lie before the end record");
}

static void test_entries(void **state)
{
    (void)state;
#define ENTRY(...) &(struct around){0}, &(struct made){.name = "a", .data = "1234", __VA_ARGS__}, 1
    static const uint32_t far = 1 << 20, inside = 1;
    refused(ENTRY(.flags = 1), ", byte 38: an encrypted entry");
    refused(ENTRY(.method = 8), ", byte 38: a compressed entry; torch.save() stores them");
    refused(ENTRY(.packed_off = 1), ", byte 38: a stored entry of two sizes");
    refused(ENTRY(.at = &far), ", byte 38: an entry that points to no local header");
    refused(ENTRY(.at = &inside), ", byte 38: an entry that points to no local header");
    refused(ENTRY(.local_name = "b"),
            ", byte 0: a local header of another name than the directory's");
    refused(ENTRY(.local_name = "ab"),
            ", byte 0: a local header of another name than the directory's");
    refused(ENTRY(.size_off = 1), ", byte 38: an entry shares bytes with the directory");
    refused(ENTRY(.size_off = 1 << 20), ": entry \"a\" has 1048580 bytes from 34 on, the file ends "
                                        "at 112");
    refused(ENTRY(.wide = true, .wide_len = 16), ", byte 38: a zip64 field that is cut short");
    refused(ENTRY(.wide = true, .wide_said = 25), ", byte 38: an extra field that is cut short");
    refused(ENTRY(.size_off = UINT32_MAX - 4), ", byte 38: sizes of zip64 without its field");
}

static void test_shared(void **state)
{
    (void)state;
    static const uint32_t first = 0;
    struct made two[] = {{.name = "a", .data = "1234"}, {.name = "b", .data = "5678"}};
    two[0].size_off = 1; /* into the header of the next */
    refused(&(struct around){0}, two, 2, ", byte 38: two entries share bytes");
    two[0].size_off = 0;
    two[1] = two[0];
    refused(&(struct around){0}, two, 2, ": entry \"a\" is there twice");
    two[1].at = &first;
    refused(&(struct around){0}, two, 2, ", byte 0: two entries share bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
