#include "tests/base/scratch.h"

#include "data/dataset.h"

static int read_text(const char *text, size_t n, struct classes *c, struct err *err)
{
    char *path = scratch_write("class.txt", text, n);
    int rc = classes_read(path, c, err);
    free(path);
    return rc;
}

static void refused(const char *text, size_t n, const char *expected)
{
    struct err e;
    struct classes c = {.n = 77};
    assert_int_equal(read_text(text, n, &c, &e), -1);
    assert_error(&e, ERR_FORMAT, expected);
    assert_int_equal(c.n, 77);
}
#define REFUSED(text, expected) refused(text, sizeof text - 1, expected)

static void bad_files(void **state)
{
    (void)state;
    REFUSED("", "class.txt: no class name in it");
    REFUSED("\r\n\n", "class.txt: no class name in it");
    REFUSED("a\n\nb\n", "class.txt:2: an empty class name");
    REFUSED("a\n  \t\nb\n", "class.txt:2: an empty class name");
    REFUSED("a\nb\na\n", "class.txt:3: class \"a\" again, it is on line 1 already");
    REFUSED("a\nb \xff\n", "class.txt:2: invalid UTF-8 (byte 3)");
    REFUSED("a\nb\0\n", "class.txt:2: a NUL (byte 2)");
    REFUSED("a\x1b[1m\n", "class.txt:1: a control character in a class name (byte 2)");
    REFUSED("a\tb\n", "class.txt:1: a control character in a class name (byte 2)");
    char big[12000];
    memset(big, 'x', 201);
    refused(big, 201, "class.txt:1: a class name of 201 bytes, at most 200 are allowed");
    size_t n = 0;
    for (int i = 0; i <= DATASET_MAX_CLASSES; i++)
        n += (size_t)snprintf(big + n, sizeof big - n, "n%d\n", i);
    refused(big, n, "class.txt:1001: more than 1000 classes");
    struct err e;
    struct classes c;
    char *path = scratch_file("none");
    assert_int_equal(classes_read(path, &c, &e), -1);
    assert_error(&e, ERR_MISSING, "none: open: No such file or directory");
    free(path);
}

static void accepted_forms(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "finance\n\xe4\xbd\x93\xe8\x82\xb2 a\n7\n", "finance\n\xe4\xbd\x93\xe8\x82\xb2 a\n7",
        ("\xef\xbb\xbf"
         "finance \r\n\xe4\xbd\x93\xe8\x82\xb2 a\t\r\n7\r\n\r\n\n")};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct err e;
        struct classes c;
        assert_int_equal(read_text(forms[i], strlen(forms[i]), &c, &e), 0);
        assert_int_equal(c.n, 3);
        assert_string_equal(c.names[0], "finance");
        assert_string_equal(c.names[1], "\xe4\xbd\x93\xe8\x82\xb2 a");
        assert_string_equal(c.names[2], "7");
        classes_done(&c);
        classes_done(&c);
    }
}

static int32_t find(const struct classes *c, const char *s)
{
    return classes_find(c, s, strlen(s));
}

static void finds_by_name_then_by_index(void **state)
{
    (void)state;
    char *names[] = {"b", "a", "0", "sports"};
    struct classes c = {names, 4};
    assert_int_equal(find(&c, "b"), 0);
    assert_int_equal(find(&c, "sports"), 3);
    assert_int_equal(find(&c, "0"), 2); /* a name wins over an index */
    assert_int_equal(find(&c, "1"), 1);
    assert_int_equal(find(&c, "03"), 3);
    static const char *const none[] = {"4",      "-1", "+1",    " 1",      "1 ",
                                       "",       "1x", "sport", "sportss", "99999999999999999999",
                                       "0000001"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(find(&c, none[i]), -1);
    assert_int_equal(classes_find(&c, "b\0", 2), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files),
        cmocka_unit_test(accepted_forms),
        cmocka_unit_test(finds_by_name_then_by_index),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
