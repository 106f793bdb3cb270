#include "tests/data/parsing.h"

#include <unistd.h>

#define ZHONG "\xe4\xb8\xad"

static void accepted_forms(void **state)
{
    (void)state;
    ACCEPTED("t.txt", "a\t0\nb\t1\n", "0:a|1:b|");
    ACCEPTED("t.txt", "a\t0\nb\t1", "0:a|1:b|");
    ACCEPTED("t.txt", "a\t0\r\nb\t1\r\n", "0:a|1:b|");
    ACCEPTED("t.txt", "a\t0\r\nb\t1\r", "0:a|1:b|");
    ACCEPTED("t.txt", "\xef\xbb\xbf" ZHONG "\t0\nb\t1\n\n", "0:" ZHONG "|1:b|");
    ACCEPTED("t.txt", "a\t0\n\r\n\n", "0:a|");
    ACCEPTED("t.tsv", "a b  c\tsports\n", "1:a b  c|");
    ACCEPTED("t.txt", "a\tb\t2\n", "2:a\tb|"); /* the last tab splits */
    ACCEPTED("t.txt", " a \t 2 \n", "2:a|");
    ACCEPTED("t.txt", "a\t2008\nb\t3\nc\t003\n",
             "3:a|3:b|3:c|"); /* a name that looks like a number */
    ACCEPTED("t", "a\t0\n", "0:a|");
    ACCEPTED("a.csv.txt", "a,b\t0\n", "0:a,b|");
    ACCEPTED("t.txt", "\"a\"\t0\n", "0:\"a\"|"); /* no quoting in this form */
    ACCEPTED("t.txt", "a\rb\t0\n", "0:a\rb|");
    ACCEPTED("t.txt", "a\t0\n__label__x\t1\n",
             "0:a|1:__label__x|"); /* only the first line decides */
    ACCEPTED("t.txt", "", "");
    ACCEPTED("t.txt", "\xef\xbb\xbf", "");
    ACCEPTED("t.txt", "\n\r\n", "");
}

static void bad_lines(void **state)
{
    (void)state;
    REFUSED("t.txt", "a\t0\nb 1\n", "t.txt:2: no tab between title and label");
    REFUSED("t.txt", "a\t0\n\nb\t1\n", "t.txt:2: no tab between title and label");
    REFUSED("t.txt", "a\t0\n \n", "t.txt:2: no tab between title and label");
    REFUSED("t.txt", "a\tfinances\n", "t.txt:1: unknown label \"finances\"");
    REFUSED("t.txt", "a\tFinance\n", "t.txt:1: unknown label \"Finance\"");
    REFUSED("t.txt", "a\t4\n", "t.txt:1: unknown label \"4\"");
    REFUSED("t.txt", "a\t-1\n", "t.txt:1: unknown label \"-1\"");
    REFUSED("t.txt", "a\t\n", "t.txt:1: unknown label \"\"");
    REFUSED("t.txt", "a\t\x1b[2J\x7f\n", "t.txt:1: unknown label \"?[2J?\"");
    REFUSED("t.txt", "a\t01234567890123456789012345678901234567890123456789" ZHONG ZHONG ZHONG "\n",
            "t.txt:1: unknown label \"01234567890123456789012345678901234567890123456789" ZHONG
            "\" (shortened)");
    REFUSED("t.txt", "\t0\n", "t.txt:1: the title is empty");
    REFUSED("t.txt", " \xe3\x80\x80 \t0\n", "t.txt:1: the title is empty");
    REFUSED("t.txt", "a\t0\nb\0\t1\n", "t.txt:2: a NUL (byte 2)");
    REFUSED("t.txt", "a\t0\nb\t1\0\n", "t.txt:2: a NUL (byte 4)");
    REFUSED("t.txt", "\xb0\xa2\t0\n", "t.txt:1: invalid UTF-8 (byte 1)"); /* GBK */
    REFUSED("t.txt", "ab" ZHONG "\xe4\xb8\t0\n", "t.txt:1: invalid UTF-8 (byte 6)");
    REFUSED("t.txt", "a\t\xff\n", "t.txt:1: invalid UTF-8 (byte 3)");
    REFUSED("t.txt",
            "\xff\xfe"
            "a\0\t\0",
            "t.txt:1: invalid UTF-8 (byte 1)"); /* UTF-16 */
    REFUSED("t.txt", "\r\r\nx\n", "t.txt:1: no tab between title and label");
}

static void the_bound_on_a_line(void **state)
{
    (void)state;
    size_t n = DATASET_MAX_LINE + 6;
    char *text = xmalloc(n);
    memset(text, 'x', n);
    memcpy(text, "a\t0\n", 4);
    memcpy(text + 4 + DATASET_MAX_LINE - 2, "\t1\r\n", 4);
    struct err e;
    struct dataset d;
    assert_int_equal(parsing_run("t.txt", text, n, NULL, &d, &e), 0);
    assert_int_equal(d.n, 2);
    assert_int_equal(d.offset[2] - d.offset[1], DATASET_MAX_LINE - 2);
    dataset_done(&d);
    memcpy(text + 4 + DATASET_MAX_LINE - 2, "x\t1\n", 4);
    parsing_refused("t.txt", text, n, "t.txt:2: a line of more than 65536 bytes");
    free(text);
}

struct told {
    char text[2000];
    size_t calls, last, all;
};

static void hear(void *arg, const char *message)
{
    struct told *t = arg;
    (void)strncat(t->text, message, sizeof t->text - strlen(t->text) - 1);
    (void)strncat(t->text, "|", sizeof t->text - strlen(t->text) - 1);
}

static void skips_at_most_so_many(void **state)
{
    (void)state;
    static const char text[] = "a\t0\nbad\nb\t9\nc\t1\n\xff\t1\nd\t2\n";
    struct err e;
    struct dataset d = {.n = 77};
    struct told told = {0};
    struct dataset_options opt = {.skip_bad = 3, .bad = hear, .progress_arg = &told};
    assert_int_equal(parsing_run("t.txt", text, sizeof text - 1, &opt, &d, &e), 0);
    assert_int_equal(d.n, 3);
    assert_int_equal(d.skipped, 3);
    assert_memory_equal(d.text, "acd", 3);
    assert_string_equal(told.text,
                        "t.txt:2: no tab between title and label|t.txt:3: unknown label \"9\"|"
                        "t.txt:5: invalid UTF-8 (byte 1)|");
    dataset_done(&d);
    opt = (struct dataset_options){.skip_bad = 2};
    d.n = 77;
    assert_int_equal(parsing_run("t.txt", text, sizeof text - 1, &opt, &d, &e), -1);
    assert_error(
        &e, ERR_FORMAT,
        "t.txt:5: invalid UTF-8 (byte 1) (one bad line more than the 2 that may be skipped)");
    assert_int_equal(d.n, 77);
    opt.skip_bad = -1; /* no different from 0 */
    assert_int_equal(parsing_run("t.txt", text, sizeof text - 1, &opt, &d, &e), -1);
    assert_error(&e, ERR_FORMAT, "t.txt:2: no tab between title and label");
}

static void watch(void *arg, size_t done, size_t all)
{
    struct told *t = arg;
    assert_true(done >= t->last && done <= all);
    t->last = done;
    t->all = all;
    t->calls++;
}

static void reads_files_and_tells_progress(void **state)
{
    (void)state;
    enum { LINES = 50000, WIDTH = 22 };
    char *text = xmalloc((size_t)LINES * WIDTH + 1);
    for (int i = 0; i < LINES; i++)
        (void)snprintf(text + (size_t)i * WIDTH, WIDTH + 1, "a title, no. %06u\t%u\n",
                       (unsigned)i % 1000000u, (unsigned)i % 4u);
    char *path = scratch_write("train.txt", text, (size_t)LINES * WIDTH);
    struct err e;
    struct dataset d;
    struct told told = {0};
    struct dataset_options opt = {.progress = watch, .progress_arg = &told};
    assert_int_equal(dataset_read(path, &parsing_classes, &opt, &d, &e), 0);
    assert_int_equal(d.n, LINES);
    for (size_t i = 0; i < LINES; i++) {
        assert_int_equal(d.labels[i], i % 4);
        assert_int_equal(d.offset[i + 1] - d.offset[i], WIDTH - 3);
        assert_memory_equal(d.text + d.offset[i], text + i * WIDTH, WIDTH - 3);
    }
    assert_int_equal(told.last, (size_t)LINES * WIDTH);
    assert_int_equal(told.all, (size_t)LINES * WIDTH);
    assert_in_range(told.calls, 3, 20);
    dataset_done(&d);
    free(path);
    free(text);
    path = scratch_write("train.txt", "", 0);
    assert_int_equal(dataset_read(path, &parsing_classes, NULL, &d, &e), 0);
    assert_int_equal(d.n, 0);
    dataset_done(&d);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(dataset_read(path, &parsing_classes, NULL, &d, &e), -1);
    assert_error(&e, ERR_MISSING, "train.txt: open: No such file or directory");
    free(path);
}

static void finds_the_file_of_a_set(void **state)
{
    (void)state;
    const char *dir = scratch_dir();
    assert_null(dataset_find(dir, "dev"));
    static const char *const order[] = {"dev.csv", "dev.tsv", "dev.txt"};
    for (int i = 0; i < 3; i++) {
        char *path = scratch_write(order[i], "", 0), *found = dataset_find(dir, "dev");
        assert_string_equal(found, path);
        free(found);
        free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_forms),
        cmocka_unit_test(bad_lines),
        cmocka_unit_test(the_bound_on_a_line),
        cmocka_unit_test(skips_at_most_so_many),
        cmocka_unit_test(reads_files_and_tells_progress),
        cmocka_unit_test(finds_the_file_of_a_set),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
