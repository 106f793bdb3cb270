#include "tests/base/scratch.h"

#include <sys/stat.h>
#include <unistd.h>

static void reads_whole_with_a_bound(void **state)
{
    (void)state;
    struct err e;
    char *path = scratch_write("a", "hello\0x", 7), *data = NULL;
    size_t len = 0;
    assert_int_equal(file_read(path, 7, &data, &len, &e), 0);
    assert_int_equal(len, 7);
    assert_memory_equal(data, "hello\0x", 8);
    free(data);
    data = NULL;
    assert_int_equal(file_read(path, 6, &data, &len, &e), -1);
    assert_error(&e, ERR_FORMAT, "a: more than 6 bytes");
    assert_null(data);
    free(path);
    path = scratch_file("none");
    assert_int_equal(file_read(path, 6, &data, &len, &e), -1);
    assert_error(&e, ERR_MISSING, "none: open: No such file or directory");
    free(path);
    assert_int_equal(file_read(scratch_dir(), 6, &data, &len, &e), -1);
    assert_int_equal(e.code, ERR_IO);
}

static void reads_more_than_one_block(void **state)
{
    (void)state;
    size_t n = 300000, len;
    char *big = xmalloc(n), *data;
    for (size_t i = 0; i < n; i++)
        big[i] = (char)(i * 31);
    char *path = scratch_write("big", big, n);
    assert_int_equal(file_read(path, n, &data, &len, NULL), 0);
    assert_int_equal(len, n);
    assert_memory_equal(data, big, n);
    free(data);
    struct file_map m;
    assert_int_equal(file_map_open(&m, path, NULL), 0);
    assert_int_equal(m.len, n);
    assert_memory_equal(m.data, big, n);
    file_map_close(&m);
    char *copy = scratch_file("copy");
    assert_int_equal(file_copy(path, copy, NULL), 0);
    assert_int_equal(file_read(copy, n, &data, NULL, NULL), 0);
    assert_memory_equal(data, big, n);
    free(data);
    free(copy);
    free(path);
    free(big);
}

static void maps_only_plain_files(void **state)
{
    (void)state;
    struct err e;
    struct file_map m;
    char *path = scratch_write("empty", "", 0);
    assert_int_equal(file_map_open(&m, path, &e), 0);
    assert_null(m.data);
    assert_int_equal(m.len, 0);
    file_map_close(&m);
    free(path);
    assert_int_equal(file_map_open(&m, "/dev/null", &e), -1);
    assert_error(&e, ERR_FORMAT, "/dev/null: not a plain file");
    path = scratch_file("none");
    assert_int_equal(file_map_open(&m, path, &e), -1);
    assert_error(&e, ERR_MISSING, "none: open: No such file or directory");
    free(path);
}

static void replaces_whole_or_not_at_all(void **state)
{
    (void)state;
    struct err e;
    struct file_list list;
    char *dir = scratch_file("sub"), *path = file_path("%s/f", dir), *data;
    assert_int_equal(file_mkdirs(dir, &e), 0);
    assert_int_equal(file_replace(path, "old", 3, &e), 0);
    assert_int_equal(file_replace(path, "newer", 5, &e), 0);
    assert_int_equal(file_read(path, 100, &data, NULL, &e), 0);
    assert_string_equal(data, "newer");
    free(data);
    assert_int_equal(file_list(dir, &list, &e), 0);
    assert_int_equal(list.n, 1); /* no temporary file is left */
    assert_string_equal(list.names[0], "f");
    file_list_free(&list);
    /* A folder in the way: rename fails, the temporary file goes away. */
    char *blocked = file_path("%s/blocked", dir);
    assert_int_equal(file_mkdirs(blocked, &e), 0);
    assert_int_equal(file_replace(blocked, "x", 1, &e), -1);
    assert_error(&e, ERR_IO, "sub/blocked: rename: Is a directory");
    assert_int_equal(file_list(dir, &list, &e), 0);
    assert_int_equal(list.n, 2);
    file_list_free(&list);
    assert_int_equal(rmdir(blocked), 0);
    assert_int_equal(file_remove_dir(dir, &e), 0);
    assert_false(file_exists(dir));
    assert_int_equal(file_remove_dir(dir, &e), 0); /* missing is success */
    assert_int_equal(file_replace(path, "x", 1, &e), -1);
    assert_int_equal(e.code, ERR_MISSING);
    free(blocked);
    free(path);
    free(dir);
}

static void makes_folders(void **state)
{
    (void)state;
    struct err e;
    char *dir = scratch_file("x"), *deep = file_path("%s//y/z/", dir), *file;
    assert_int_equal(file_mkdirs(deep, &e), 0);
    assert_int_equal(file_mkdirs(deep, &e), 0);
    assert_true(file_exists(deep));
    file = scratch_write("plain", "", 0);
    assert_int_equal(file_mkdirs(file, &e), -1);
    assert_error(&e, ERR_IO, "plain: not a directory");
    assert_int_equal(file_mkdirs("", &e), -1);
    assert_error(&e, ERR_IO, "an empty path is no directory");
    free(file);
    file = file_path("%s/y/z", dir);
    assert_int_equal(rmdir(file), 0);
    free(file);
    file = file_path("%s/y", dir);
    assert_int_equal(rmdir(file), 0);
    assert_int_equal(rmdir(dir), 0);
    free(file);
    free(deep);
    free(dir);
}

static void lists_in_byte_order(void **state)
{
    (void)state;
    struct err e;
    struct file_list list;
    static const char *const names[] = {"b", "a", "B", "a0"}, *const sorted[] = {"B", "a", "a0",
                                                                                 "b"};
    char *dir = scratch_file("list");
    assert_int_equal(file_mkdirs(dir, &e), 0);
    assert_int_equal(file_list(dir, &list, &e), 0);
    assert_int_equal(list.n, 0);
    file_list_free(&list);
    for (int i = 0; i < 4; i++) {
        char *path = file_path("%s/%s", dir, names[i]);
        assert_int_equal(file_replace(path, "", 0, &e), 0);
        free(path);
    }
    assert_int_equal(file_list(dir, &list, &e), 0);
    assert_int_equal(list.n, 4);
    for (int i = 0; i < 4; i++)
        assert_string_equal(list.names[i], sorted[i]);
    file_list_free(&list);
    assert_int_equal(file_remove_dir(dir, &e), 0);
    assert_int_equal(file_list(dir, &list, &e), -1);
    assert_error(&e, ERR_MISSING, "list: open: No such file or directory");
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_whole_with_a_bound),
        cmocka_unit_test(reads_more_than_one_block),
        cmocka_unit_test(maps_only_plain_files),
        cmocka_unit_test(replaces_whole_or_not_at_all),
        cmocka_unit_test(makes_folders),
        cmocka_unit_test(lists_in_byte_order),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
