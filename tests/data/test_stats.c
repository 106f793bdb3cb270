/* A hand case, and the figures that are published with the THUCNews headline set when it is at
 * hand. */
#include "tests/data/parsing.h"

#include "data/stats.h"

static struct dataset parsed(const char *text)
{
    struct dataset d;
    struct err e;
    if (parsing_run("t.txt", text, strlen(text), NULL, &d, &e) != 0)
        fail_msg("%s", e.msg);
    return d;
}

static const char train_text[] = "aa\t0\nb\t1\naa\t0\naa\t1\nb\t1\n\xe4\xb8\xad\xe6\x96\x87"
                                 "a\t2\nab\t1\n";
static const char dev_text[] = "aa\t1\naa\t2\nc\t0\nab\t1\na\t0\n";

static void by_hand(void **state)
{
    (void)state;
    struct dataset train = parsed(train_text), dev = parsed(dev_text);
    struct stats s;
    stats_init(&s, &train, &parsing_classes);
    assert_int_equal(s.titles, 7);
    assert_int_equal(s.classes, 4);
    static const int64_t per_class[] = {2, 4, 1, 0};
    assert_memory_equal(s.per_class, per_class, sizeof per_class);
    assert_int_equal(s.distinct, 4);
    assert_int_equal(s.two_labels, 1);
    assert_int_equal(s.characters, 4);
    /* lengths 1 1 2 2 2 2 3 */
    assert_true(s.length_mean == 13.0 / 7.0);
    assert_int_equal(s.length_p50, 2);
    assert_int_equal(s.length_p90, 3);
    assert_int_equal(s.length_p99, 3);
    assert_int_equal(s.length_max, 3);
    stats_done(&s);
    struct stats_overlap o = stats_overlap(&train, &dev);
    assert_int_equal(o.lines, 3);
    assert_int_equal(o.titles, 2);
    assert_int_equal(o.same_label, 2);
    o = stats_overlap(&dev, &train);
    assert_int_equal(o.lines, 4);
    assert_int_equal(o.titles, 2);
    assert_int_equal(o.same_label, 2);
    dataset_done(&train);
    dataset_done(&dev);
}

static void of_nothing(void **state)
{
    (void)state;
    struct dataset none = parsed("");
    struct stats s;
    stats_init(&s, &none, &parsing_classes);
    assert_int_equal(s.titles, 0);
    assert_int_equal(s.distinct, 0);
    assert_int_equal(s.length_max, 0);
    stats_done(&s);
    struct stats_overlap o = stats_overlap(&none, &none);
    assert_int_equal(o.lines, 0);
    FILE *f = fopen("/dev/null", "w");
    assert_int_equal(stats_print(f, &parsing_classes, &none, &none, &none), 0);
    assert_int_equal(fclose(f), 0);
    dataset_done(&none);
}

static void prints(void **state)
{
    (void)state;
    struct dataset train = parsed(train_text), dev = parsed(dev_text);
    char *text;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    assert_int_equal(stats_print(f, &parsing_classes, &train, &dev, NULL), 0);
    assert_int_equal(fclose(f), 0);
    assert_string_equal(
        text,
        "titles\n"
        "  train  7\n"
        "  dev    5\n"
        "classes (4)\n"
        "  index               train                 dev  name\n"
        "      0           2   28.57%           2   40.00%  finance\n"
        "      1           4   57.14%           2   40.00%  sports\n"
        "      2           1   14.29%           1   20.00%  game\n"
        "      3           0    0.00%           0    0.00%  2008\n"
        "balance (largest class / smallest)\n"
        "  train  4 / 0: a class without titles\n"
        "  dev    2 / 0: a class without titles\n"
        "length in characters\n"
        "  train  mean 1.9, p50 2, p90 3, p99 3, max 3; 4 distinct characters\n"
        "  dev    mean 1.6, p50 2, p90 2, p99 2, max 2; 3 distinct characters\n"
        "duplicates\n"
        "  train  4 distinct titles, 3 repeated lines, 1 titles with two labels\n"
        "  dev    4 distinct titles, 1 repeated lines, 1 titles with two labels\n"
        "overlap\n"
        "  train and dev: 3 lines of dev (2 titles) are in train too, 2 with the same label\n");
    free(text);
    f = fopen("/dev/full", "w");
    assert_non_null(f);
    (void)setvbuf(f, NULL, _IONBF, 0);
    assert_int_equal(stats_print(f, &parsing_classes, &train, NULL, NULL), -1);
    (void)fclose(f);
    dataset_done(&train);
    dataset_done(&dev);
}

static void of_the_headline_set(void **state)
{
    (void)state;
    static const char dir[] = "../shared/data/thucnews";
    struct err e;
    struct classes c;
    struct dataset sets[2];
    if (classes_read("../shared/data/thucnews/class.txt", &c, &e) != 0) {
        print_message("SKIPPED: %s is not there\n", dir);
        skip();
    }
    static const char *const names[] = {"train", "dev"};
    for (int i = 0; i < 2; i++) {
        char *path = dataset_find(dir, names[i]);
        assert_non_null(path);
        if (dataset_read(path, &c, NULL, &sets[i], &e) != 0)
            fail_msg("%s", e.msg);
        free(path);
    }
    struct stats s;
    stats_init(&s, &sets[0], &c);
    assert_int_equal(s.titles, 180000);
    for (int32_t i = 0; i < 10; i++)
        assert_int_equal(s.per_class[i], 18000);
    assert_int_equal(s.distinct, 178954);
    assert_int_equal(s.two_labels, 46);
    assert_int_equal(s.characters, 4760);
    assert_true(s.length_mean > 19.15 && s.length_mean < 19.25);
    assert_int_equal(s.length_max, 38);
    stats_done(&s);
    struct stats_overlap o = stats_overlap(&sets[0], &sets[1]);
    assert_int_equal(o.lines, 96);
    assert_int_equal(o.titles, 91);
    dataset_done(&sets[0]);
    dataset_done(&sets[1]);
    classes_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(of_nothing),
        cmocka_unit_test(prints),
        cmocka_unit_test(of_the_headline_set),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
