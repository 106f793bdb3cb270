/* `fit --arch fasttext`: it learns with every loss, the same seed gives the same file whatever the threads, and what
 * is refused. */
#include "tests/trainer/run.h"

#define FIT                                                                                        \
    "--arch", "fasttext", "--data", TINY, "--bucket", "2000", "--dim", "16", "--epochs", "50"

static double accuracy(void)
{
    double x = -1;
    char *text = run_read("stdout", NULL), *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (strncmp(line, "P@1\t", 4) == 0)
            x = strtod(line + 4, NULL);
    free(text);
    return x;
}

static void learns(void **state)
{
    (void)state;
    static const char *const losses[] = {"softmax", "hs", "ova"};
    for (int i = 0; i < 3; i++) {
        char *out = file_path("%%/%s", losses[i]);
        assert_int_equal(run_verb(verb_fit, FIT, "--lr", i == 1 ? "0.5" : "1", "--loss", losses[i],
                                  "--minn", i == 1 ? "1" : "0", "--maxn", i == 1 ? "2" : "0",
                                  "--out", out),
                         0);
        assert_true(accuracy() > 0.5); /* by chance: 0.1 */
        run_expect_text("stdout", "Number of labels: 10");
        free(out);
    }
    assert_true(run_exists("softmax/model.bin"));
    assert_true(run_exists("softmax/lineage.json"));
    run_expect_text("softmax/config.json", "\"words\": \"characters\"");
}

static void same_seed_same_bytes(void **state)
{
    (void)state;
    static const char *const threads[] = {"1", "2", "3"};
    for (int i = 0; i < 3; i++) {
        char *out = file_path("%%/%d", i);
        assert_int_equal(
            run_verb(verb_fit, FIT, "--lr", "0.5", "--threads", threads[i], "--out", out), 0);
        free(out);
    }
    run_expect_same("0/model.bin", "1/model.bin");
    run_expect_same("0/model.bin", "2/model.bin");
    assert_int_equal(run_verb(verb_fit, FIT, "--lr", "0.5", "--seed", "2", "--out", "%/3"), 0);
    char *a = run_read("0/model.bin", NULL), *b = run_read("3/model.bin", NULL);
    assert_memory_not_equal(a, b, 100000);
    free(a);
    free(b);
}

/* Words from spaces, as people give them to the program. */
static void words(void **state)
{
    (void)state;
    char *dir = file_path("%s/data", run_dir);
    assert_int_equal(file_mkdirs(dir, NULL), 0);
    run_write("data/class.txt", "sports news\nfinance\n");
    run_write("data/train.txt",
              "主场 三球 完胜\t0\n央行 下调 准备金率\t1\n榜首 之争\t0\n股市 大涨\t1\n");
    run_write("data/dev.txt", "主场 完胜\t0\n央行 下调\t1\n");
    assert_int_equal(run_verb(verb_fit, "--arch", "fasttext", "--data", dir, "--bucket", "50",
                              "--dim", "8", "--epochs", "200", "--lr", "0.5", "--words", "spaces",
                              "--out", "%/m"),
                     0);
    run_expect_text("stdout", "Number of words:  11"); /* ten and </s> */
    run_expect_text("stdout", "P@1\t1.000");
    /* A class with a space goes by its number. */
    char *text, *path = file_path("%s/m/model.bin", run_dir);
    size_t n;
    assert_int_equal(file_read(path, 1 << 24, &text, &n, NULL), 0);
    assert_non_null(memmem(text, n, "__label__0", 11));
    assert_non_null(memmem(text, n, "__label__finance", 17));
    free(text);
    free(path);
    free(dir);
}

static void refuses(void **state)
{
    (void)state;
    assert_int_not_equal(
        run_verb(verb_fit, FIT, "--lr", "0.5", "--min-count", "100000", "--out", "%/a"), 0);
    run_expect_text("stderr", "no word is seen 100000 times (--min-count)");
    assert_int_not_equal(run_verb(verb_fit, FIT, "--minn", "3", "--maxn", "2", "--out", "%/a"), 0);
    run_expect_text("stderr", "--minn is 3, --maxn 2");
    assert_false(run_exists("a/model.bin"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, run_setup, run_teardown)
    const struct CMUnitTest tests[] = {TEST(learns), TEST(same_seed_same_bytes), TEST(words),
                                       TEST(refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
