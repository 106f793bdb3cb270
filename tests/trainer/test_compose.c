/* `data hold-out`, `calibrate`, `ensemble`, `cascade`: from one set of titles to a model of models. */
#include "tests/trainer/run.h"

static double number_behind(const char *file, const char *begin)
{
    double x = -1;
    char *text = run_read(file, NULL), *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (strncmp(line, begin, strlen(begin)) == 0)
            x = strtod(line + strlen(begin), NULL);
    free(text);
    return x;
}

static void everything(void **state)
{
    (void)state;
    char *dir = file_path("%s/d", run_dir), *held = file_path("%s/d/held.txt", run_dir),
         *words = file_path("%s/words", run_dir), *linear = file_path("%s/linear", run_dir),
         *both = file_path("%s,%s", words, linear);
    assert_int_equal(
        run_verb(verb_data, "hold-out", "--data", TINY, "--out", dir, "--titles", "60"), 0);
    run_expect_text("stdout", "d/held.txt: 60 titles");
    run_expect_text("stdout", "d/train.txt: 140 titles");
    assert_int_not_equal(run_verb(verb_data, "hold-out", "--data", dir, "--out", dir), 0);
    run_expect_text("stderr", "--out is --data");
    assert_int_equal(run_verb(verb_fit, "--arch", "fasttext", "--data", dir, "--out", words,
                              "--bucket", "1000", "--dim", "16", "--epochs", "60", "--lr", "1"),
                     0);
    assert_int_equal(
        run_verb(verb_fit, "--arch", "linear", "--data", dir, "--out", linear, "--min-df", "1"), 0);
    assert_int_equal(run_verb(verb_calibrate, "--model", words, "--titles", held), 0);
    double t = number_behind("stdout", "temperature ");
    assert_true(t > 0.1 && t < 20);
    run_expect_text("words/config.json", "\"rubric_temperature\": ");
    /* What is calibrated needs no more of it. */
    assert_int_equal(run_verb(verb_calibrate, "--model", words, "--titles", held), 0);
    double again = number_behind("stdout", "temperature ");
    assert_true(again > 0.99 * t && again < 1.01 * t);
    assert_int_equal(run_verb(verb_ensemble, "--members", both, "--titles", held, "--out", "%/e"),
                     0);
    run_expect_text("stdout", "0-fasttext");
    run_expect_text("stdout", "1-linear");
    run_expect_text("e/config.json", "\"members\"");
    assert_true(run_exists("e/1-linear/model.safetensors"));
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/e", "--data", held), 0);
    assert_int_not_equal(
        run_verb(verb_ensemble, "--members", both, "--titles", held, "--out", "%/e"), 0);
    run_expect_text("stderr", "--overwrite replaces it");
    assert_int_equal(run_verb(verb_ensemble, "--members", both, "--weights", "3,1", "--out", "%/w"),
                     0);
    run_expect_text("w/config.json", "0.75"); /* shares of a mean */
    run_expect_text("w/config.json", "0.25");
    assert_int_not_equal(
        run_verb(verb_ensemble, "--members", both, "--weights", "1,2,3", "--out", "%/v"), 0);
    run_expect_text("stderr", "--weights names 3 for 2 members");
    assert_int_not_equal(
        run_verb(verb_ensemble, "--members", both, "--weights", "1,-2", "--out", "%/v"), 0);
    run_expect_text("stderr", "--weights: \"-2\" is no weight above 0");
    assert_int_not_equal(
        run_verb(verb_ensemble, "--members", both, "--titles", held, "--out", "%/d", "--overwrite"),
        0);
    run_expect_text("stderr", "is no ensemble and no cascade");
    char *three = file_path("%s,%s/e", both, run_dir);
    assert_int_equal(run_verb(verb_cascade, "--stages", three, "--titles", held, "--out", "%/c",
                              "--max-drop", "2", "--data", held, "--svg", "%/curve.svg"),
                     0);
    run_expect_text("curve.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"");
    run_expect_text("curve.svg", "last stage alone");
    run_expect_text("stdout", "  *\n");
    run_expect_text("stdout", "2-ensemble");
    run_expect_text("stdout", "\nchosen                     answered\n0-fasttext ");
    run_expect_text("c/config.json", "\"threshold\": ");
    assert_true(run_exists("c/2-ensemble/0-fasttext/model.bin"));
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/c", "--data", held, "--json"), 0);
    assert_int_not_equal(
        run_verb(verb_cascade, "--stages", words, "--titles", held, "--out", "%/x"), 0);
    run_expect_text("stderr", "--stages names 1 models, expected 2 to 5");
    /* A cascade with an ensemble in it travels through a registry. */
    char *place = file_path("dir:%s/registry", run_dir);
    assert_int_equal(run_verb(verb_push, "--model", "%/c", "--registry", place, "--name", "n",
                              "--alias", "production"),
                     0);
    assert_int_equal(run_verb(verb_models, "verify", "--registry", place, "--name", "n", "--json"),
                     0);
    assert_int_equal(run_verb(verb_evaluate, "--registry", place, "--name", "n", "--alias",
                              "production", "--data", held, "--json"),
                     0);
    run_expect_text("stdout", "\"titles\":60,");
    /* Bare files of fastText's are parts, and travel, too. */
    char *bare = file_path("%s/words/model.bin,%s/words/model.bin", run_dir, run_dir);
    assert_int_equal(
        run_verb(verb_ensemble, "--members", bare, "--weights", "1,1", "--out", "%/bare"), 0);
    assert_true(run_exists("bare/1-fasttext.bin"));
    assert_int_equal(run_verb(verb_push, "--model", "%/bare", "--registry", place, "--name", "n"),
                     0);
    free(bare);
    /* What lies beside a model is not taken along, and links are not followed when an old one goes. */
    char *alien = file_path("%s/words/sub", run_dir), *link = file_path("%s/c/link", run_dir),
         *keep = file_path("%s/keep", run_dir);
    assert_int_equal(file_mkdirs(alien, NULL), 0);
    assert_int_equal(file_mkdirs(keep, NULL), 0);
    run_write("keep/file", "x");
    assert_int_equal(symlink(keep, link), 0);
    assert_int_equal(
        run_verb(verb_cascade, "--stages", three, "--titles", held, "--out", "%/c", "--overwrite"),
        0);
    assert_true(run_exists("keep/file"));
    assert_false(run_exists("c/link"));
    assert_false(run_exists("c/0-fasttext/sub"));
    /* Within one of its own stages. */
    assert_int_equal(
        run_verb(verb_cascade, "--stages", three, "--titles", held, "--out", "%/words/c"), 0);
    assert_true(run_exists("words/c/0-fasttext/model.bin"));
    free(place);
    free(alien);
    free(link);
    free(keep);
    free(three);
    free(dir);
    free(held);
    free(words);
    free(linear);
    free(both);
}

static void other_labels(void **state)
{
    (void)state;
    char *dir = file_path("%s/d", run_dir), *both = file_path("%s/m,%s/n", run_dir, run_dir);
    assert_int_equal(file_mkdirs(dir, NULL), 0);
    run_write("d/class.txt", "a\nb\n");
    run_write("d/train.txt", "一二\t0\n三四\t1\n一五\t0\n三六\t1\n");
    run_write("d/dev.txt", "一\t0\n");
    assert_int_equal(
        run_verb(verb_fit, "--arch", "fasttext", "--data", dir, "--out", "%/m", "--bucket", "50"),
        0);
    assert_int_equal(
        run_verb(verb_fit, "--arch", "fasttext", "--data", TINY, "--out", "%/n", "--bucket", "50"),
        0);
    assert_int_not_equal(
        run_verb(verb_cascade, "--stages", both, "--titles", TINY "/dev.txt", "--out", "%/x"), 0);
    run_expect_text("stderr", "n has 10 labels, ");
    assert_false(run_exists("x"));
    free(dir);
    free(both);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, run_setup, run_teardown)
    const struct CMUnitTest tests[] = {TEST(everything), TEST(other_labels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
