/* `prepare` writes what fastText's users keep, and `fit` reads it back; `tune` leaves alone what the user set and prints
 * what it chose. */
#include "tests/trainer/run.h"

static void prepares(void **state)
{
    (void)state;
    char *data = file_path("%s/data", run_dir), *out = file_path("%s/out", run_dir),
         *stop = file_path("%s/stop.txt", run_dir);
    assert_int_equal(file_mkdirs(data, NULL), 0);
    run_write("data/class.txt", "sports news\nfinance\n");
    run_write("data/train.txt", "A股 大涨了\t1\n完胜\t0\n");
    run_write("data/dev.txt", "主场 三球 完胜\tsports news\n");
    run_write("stop.txt", "了\n");
    assert_int_equal(run_verb(verb_prepare, "--data", data, "--out", out), 0);
    char *text = run_read("out/train.txt", NULL);
    assert_string_equal(text, "__label__finance A 股 大 涨 了\n__label__0 完 胜\n");
    free(text);
    assert_int_equal(run_verb(verb_prepare, "--data", data, "--out", out, "--words", "spaces"), 0);
    run_expect_text("out/dev.txt", "__label__0 主场 三球 完胜\n");
    run_expect_text("out/class.txt", "sports news\nfinance\n");
    assert_int_equal(run_verb(verb_prepare, "--data", data, "--out", out, "--words", "jieba",
                              "--dictionary", "tests/golden/segment", "--stop-words", stop),
                     0);
    text = run_read("out/train.txt", NULL);
    assert_string_equal(text, "__label__finance A 股 大涨\n__label__0 完胜\n");
    free(text);
    run_write("data/train.txt", "A股 大涨了\t1\n了了\t0\n");
    assert_int_equal(run_verb(verb_prepare, "--data", data, "--out", out, "--stop-words", stop), 0);
    run_expect_text("stdout", "out/train.txt: 1 titles, 1 of nothing but stop words left out");
    run_write("data/train.txt", "A股 大涨了\t1\n完胜\t0\n");
    assert_int_equal(run_verb(verb_prepare, "--data", data, "--out", out, "--words", "jieba",
                              "--dictionary", "tests/golden/segment", "--stop-words", stop),
                     0);
    /* Back again, words joined. */
    char *again = file_path("%s/again", run_dir);
    assert_int_equal(run_verb(verb_prepare, "--data", out, "--out", again), 0);
    text = run_read("again/train.txt", NULL);
    assert_string_equal(text, "__label__finance A 股 大 涨\n__label__0 完 胜\n");
    free(text);
    assert_int_not_equal(run_verb(verb_prepare, "--data", data, "--out", data), 0);
    run_expect_text("stderr", "--out is --data");
    assert_int_not_equal(run_verb(verb_prepare, "--data", data, "--out", out, "--words", "jieba",
                                  "--dictionary", "no/where"),
                         0);
    run_expect_text("stderr", "no/where/dict.txt");
    /* The words of a file that has them spaced are learnt as they stand. */
    char *words = file_path("%s/words", run_dir), *clash = file_path("%s/clash", run_dir);
    assert_int_equal(file_mkdirs(words, NULL), 0);
    run_write("words/class.txt", "sports\nfinance\n");
    run_write("words/train.txt",
              "__label__sports 主场 三球 完胜\n__label__finance 股市 大涨 三 点\n");
    run_write("words/dev.txt", "__label__sports 主场 完胜\n");
    assert_int_equal(run_verb(verb_fit, "--arch", "fasttext", "--data", words, "--words", "spaces",
                              "--out", "%/spaced", "--bucket", "100", "--epochs", "200", "--lr",
                              "1"),
                     0);
    run_expect_text("stdout", "Number of words:  8\n"); /* the end of a line is one */
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/spaced", "--data", "%/words/train.txt"),
                     0);
    run_expect_text("stdout", "accuracy 100.00 %");
    assert_int_equal(run_verb(verb_prepare, "--data", words, "--out", again, "--words", "spaces"),
                     0);
    run_expect_text("again/train.txt", "__label__finance 股市 大涨 三 点\n");
    assert_int_equal(file_mkdirs(clash, NULL), 0);
    run_write("clash/class.txt", "sports news\n0\n");
    run_write("clash/train.txt", "完胜\tsports news\n大涨\t1\n");
    assert_int_not_equal(run_verb(verb_prepare, "--data", clash, "--out", "%/never"), 0);
    run_expect_text("stderr", "classes \"sports news\" and \"0\" are both __label__0");
    assert_false(run_exists("never/train.txt"));
    free(words);
    free(clash);
    free(data);
    free(out);
    free(again);
    free(stop);
}

static void tunes(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_tune, "--data", TINY, "--out", "%/m", "--seconds", "3",
                              "--bucket", "2000", "--dim", "20", "--threads", "1"),
                     0);
    run_expect_text("stdout", "trial   0 ");
    run_expect_text("stdout", "\n  --dim 20  (as given)\n");
    run_expect_text("stdout", "\n  --bucket 2000  (as given)\n");
    run_expect_text("stdout", "\n  --epochs ");
    run_expect_text("stdout", "on 20 titles held out");
    run_expect_text("m/lineage.json", "\"dim\": \"20\"");
    assert_true(run_exists("m/model.bin"));
    assert_int_not_equal(run_verb(verb_tune, "--arch", "linear", "--data", TINY, "--out", "%/n"),
                         0);
    run_expect_text("stderr", "--arch linear is not tuned; fasttext is");
    assert_int_not_equal(
        run_verb(verb_tune, "--data", TINY, "--out", "%/n", "--seconds", "1", "--epochs", "10000"),
        0);
    run_expect_text("stderr", "no trial came to its end");
    assert_false(run_exists("n/model.bin"));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, run_setup, run_teardown)
    const struct CMUnitTest tests[] = {TEST(prepares), TEST(tunes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
