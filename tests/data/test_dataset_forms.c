#include "tests/data/parsing.h"

#include "data/dataset_forms.h"

#define ZHONG "\xe4\xb8\xad"
#define WEN "\xe6\x96\x87"

static void csv_accepted(void **state)
{
    (void)state;
    ACCEPTED("t.csv", "title,label\na,0\nb,sports\n", "0:a|1:b|");
    ACCEPTED("T.CSV", "\xef\xbb\xbftitle,label\r\na,0\r\nb,1", "0:a|1:b|");
    ACCEPTED("t.csv", "id,label,date,title\n7,game,x," ZHONG "\n\n", "2:" ZHONG "|");
    ACCEPTED("t.csv", "\"Label\", TITLE \n\"0\",a\n", "0:a|");
    ACCEPTED("t.csv", "title,label\n\"a,b\",0\n\"\"\"a\"\" b\"\"\",1\n", "0:a,b|1:\"a\" b\"|");
    ACCEPTED("t.csv", "title,label\n\"a\nb\r\n\"\"c\",0\nd,1\n", "0:a\nb\r\n\"c|1:d|");
    ACCEPTED("t.csv", "title,label\n\"a\nb\",0", "0:a\nb|"); /* spans lines, no last newline */
    ACCEPTED("t.csv", "title,label\n\"a\",\"0\"\r", "0:a|");
    ACCEPTED("t.csv", "title,label,more\na,0,\nb,1,\"\"\n", "0:a|1:b|");
    ACCEPTED("t.csv", "title,label\n__label__1 a,0\n", "0:__label__1 a|");
    ACCEPTED("t.csv", "title,label", "");
    ACCEPTED("t.csv", "", "");
}

static void csv_refused(void **state)
{
    (void)state;
    REFUSED("t.csv", "a,0\n", "t.csv:1: no column \"title\" in the header");
    REFUSED("t.csv", "title\tlabel\n", "t.csv:1: no column \"title\" in the header");
    REFUSED("t.csv", "title,class\na,0\n", "t.csv:1: no column \"label\" in the header");
    REFUSED("t.csv", "title,label,Title\n", "t.csv:1: two columns \"title\" in the header");
    REFUSED("t.csv", "title,label\xff\n", "t.csv:1: invalid UTF-8 (byte 12)");
    REFUSED("t.csv", "title,\"label\n", "t.csv:1: a quote that is not closed within 65536 bytes");
    REFUSED("t.csv", "title,label\na,0\nb,1,2\n", "t.csv:3: 3 columns, the header has 2");
    REFUSED("t.csv", "title,label\na\n", "t.csv:2: 1 columns, the header has 2");
    REFUSED("t.csv", "title,label\n\na,0\n", "t.csv:2: 1 columns, the header has 2");
    REFUSED("t.csv", "title,label\n\"a,0\nb,1\n",
            "t.csv:2: a quote that is not closed within 65536 bytes");
    REFUSED("t.csv", "title,label\n\"a\" ,0\n", "t.csv:2: text after a closing quote (byte 4)");
    REFUSED("t.csv", "title,label\na \"b\",0\n",
            "t.csv:2: a quote inside a field that has none around it (byte 3)");
    REFUSED("t.csv", "title,label\n\"a\nb\",0\nc,x\n", "t.csv:4: unknown label \"x\"");
    REFUSED("t.csv", "title,label\n\"\",0\n", "t.csv:2: the title is empty");
    REFUSED("t.csv", "title,label\n\"a\n\xff\",0\n", "t.csv:2: invalid UTF-8 (byte 4)");
    REFUSED("t.csv", "title,label\na\0,0\n", "t.csv:2: a NUL (byte 2)");
    char many[400] = "title,label";
    memset(many + 11, ',', 100);
    parsing_refused("t.csv", many, 111, "t.csv:1: more than 100 columns");
}

static void csv_goes_on_behind_a_bad_record(void **state)
{
    (void)state;
    /* An open quote costs its own line, not the rest of the file. */
    static const char text[] = "title,label\n\"a,0\nb,1\n\"c\nd\",0\ne,2\n";
    struct err e;
    struct dataset d;
    struct dataset_options opt = {.skip_bad = 10};
    assert_int_equal(parsing_run("t.csv", text, sizeof text - 1, &opt, &d, &e), 0);
    assert_int_equal(d.skipped, 1);
    assert_int_equal(d.n, 3);
    assert_memory_equal(d.text, "bc\nde", 5);
    dataset_done(&d);
    /* A record over the bound: only its first line goes. */
    size_t n = 12 + 3 + DATASET_MAX_LINE + 6;
    char *big = xmalloc(n);
    memcpy(big, "title,label\n\"a\n", 15);
    memset(big + 15, 'x', n - 15);
    for (size_t i = 1015; i < n - 6; i += 1000)
        big[i] = '\n';
    memcpy(big + n - 7, "\",0\nz,2", 7);
    opt.skip_bad = 1000;
    assert_int_equal(parsing_run("t.csv", big, n, &opt, &d, &e), 0);
    assert_int_equal(d.n, 1);
    assert_memory_equal(d.text, "z", 1);
    assert_int_equal(d.labels[0], 2);
    dataset_done(&d);
    parsing_refused("t.csv", big, n, "t.csv:2: a quote that is not closed within 65536 bytes");
    free(big);
}

static void csv_bound_on_a_record(void **state)
{
    (void)state;
    size_t n = 12 + DATASET_MAX_LINE + 2;
    char *big = xmalloc(n);
    memset(big, 'x', n);
    memcpy(big, "title,label\n", 12);
    memcpy(big + n - 4, ",0\r\n", 4);
    struct err e;
    struct dataset d;
    assert_int_equal(parsing_run("t.csv", big, n, NULL, &d, &e), 0);
    assert_int_equal(d.offset[1], DATASET_MAX_LINE - 2);
    dataset_done(&d);
    memcpy(big + n - 4, "x,0\n", 4);
    parsing_refused("t.csv", big, n, "t.csv:2: a line of more than 65536 bytes");
    free(big);
}

static void fasttext_accepted(void **state)
{
    (void)state;
    ACCEPTED("t.txt", "__label__sports " ZHONG WEN "\n__label__0 a\n", "1:" ZHONG WEN "|0:a|");
    ACCEPTED("train", "\xef\xbb\xbf__label__1 " ZHONG "\r\n\r\n", "1:" ZHONG "|");
    ACCEPTED("t.txt", "__label__1\t" ZHONG " " WEN "\n", "1:" ZHONG WEN "|");
    /* Characters spaced. */
    ACCEPTED("t.txt", "__label__1 " ZHONG " " WEN " 2 0 0 8 N B A\n", "1:" ZHONG WEN "2008NBA|");
    ACCEPTED("t.txt", "__label__1 a   b\n", "1:a b|"); /* a blank that was a character itself */
    /* Words spaced. */
    ACCEPTED("t.txt", "__label__1 iPhone 4 " ZHONG WEN " Mac OS X " ZHONG "\n",
             "1:iPhone 4" ZHONG WEN "Mac OS X" ZHONG "|");
    ACCEPTED("t.txt", "__label__1 a bc d\n", "1:a bc d|");
    ACCEPTED("t.txt", "__label__1 50 % , up\n", "1:50%,up|");
    ACCEPTED("t.txt", "__label__1   a  \n", "1:a|");
    ACCEPTED("t.txt", "__label__2008 a\n", "3:a|");
}

static void fasttext_refused(void **state)
{
    (void)state;
    REFUSED("t.txt", "__label__1 a\nb\t1\n", "t.txt:2: does not begin with __label__");
    REFUSED("t.txt", "__label__1 a\n\n__label__1 b\n", "t.txt:2: does not begin with __label__");
    REFUSED("t.txt", "__label__x a\n", "t.txt:1: unknown label \"x\"");
    REFUSED("t.txt", "__label__ a\n", "t.txt:1: unknown label \"\"");
    REFUSED("t.txt", "__label__1 \n", "t.txt:1: the title is empty");
    REFUSED("t.txt", "__label__1\n", "t.txt:1: the title is empty");
    REFUSED("t.txt", "__label__1 __label__2 a\n", "t.txt:1: more than one label");
    REFUSED("t.txt", "__label__1 \xff\n", "t.txt:1: invalid UTF-8 (byte 12)");
    REFUSED("t.txt", "__label__1 a\0b\n", "t.txt:1: a NUL (byte 13)");
}

static void records_end_outside_quotes(void **state)
{
    (void)state;
    size_t n;
    assert_true(dataset_csv_record("a\nb", 3, &n));
    assert_int_equal(n, 1);
    assert_true(dataset_csv_record("\"a\n\"\"b\"\nc", 9, &n));
    assert_int_equal(n, 7);
    assert_true(dataset_csv_record("ab", 2, &n));
    assert_int_equal(n, 2);
    assert_false(dataset_csv_record("\"ab\n", 4, &n));
    assert_int_equal(n, 4);
    assert_true(dataset_csv_record("", 0, &n));
    assert_int_equal(n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_accepted),
        cmocka_unit_test(csv_refused),
        cmocka_unit_test(csv_goes_on_behind_a_bad_record),
        cmocka_unit_test(csv_bound_on_a_record),
        cmocka_unit_test(fasttext_accepted),
        cmocka_unit_test(fasttext_refused),
        cmocka_unit_test(records_end_outside_quotes),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
