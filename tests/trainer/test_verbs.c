/* The verbs beside `fit`, and what all of them share. */
#include "tests/trainer/run.h"
#include "tests/trainer/xml.h"

#include <math.h>

#include "base/json.h"

static void help_and_options(void **state)
{
    (void)state;
    static const struct verb *const verbs[] = {&verb_fit,   &verb_evaluate, &verb_data,
                                               &verb_push,  &verb_models,   &verb_retrain,
                                               &verb_import};
    for (int i = 0; i < 6; i++) {
        char *line = file_path("usage: rubric-trainer %s ", verbs[i]->name);
        assert_int_equal(run_list(verbs[i], (const char *const[]){"--help", NULL}), 0);
        run_expect_text("stdout", line);
        run_expect_text("stdout", "  --print-config");
        free(line);
        for (size_t k = 0; k < verbs[i]->n_opts; k++)
            for (size_t l = 0; l < k; l++) /* the second of two could never be set */
                assert_string_not_equal(verbs[i]->opts[k].name, verbs[i]->opts[l].name);
    }
    run_write("conf", "# comment\nepochs = 3\nbatch = 16\n");
    assert_int_equal(run_verb(verb_fit, "--config", "%/conf", "--batch=32", "--print-config"), 0);
    run_expect_text("stdout", "epochs = 3\n");
    run_expect_text("stdout", "batch = 32\n");
    assert_int_equal(run_verb(verb_fit, "--epoch", "3"), 64);
    run_expect_text("stderr", "did you mean \"epochs\"?");
    assert_int_equal(run_verb(verb_fit, "--epochs", "many"), 64);
    assert_int_equal(run_verb(verb_fit, "--arch", "linear"), 64);
    run_expect_text("stderr", "--data is missing");
    assert_int_equal(run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", "%/m",
                              "--resume", "--overwrite"),
                     64);
    run_expect_text("stderr", "exclude each other");
    assert_int_equal(run_verb(verb_fit, "word", "--arch", "linear"), 64);
    assert_int_equal(run_verb(verb_data, "guess"), 64);
    assert_int_equal(run_verb(verb_models, "drop"), 64);
    assert_int_equal(run_list(&verb_models, (const char *const[]){NULL}), 64);
    assert_false(run_exists("m"));
}

static void data_stats(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_data, "stats", "--data", TINY), 0);
    run_expect_text("stdout", "entertainment");
    run_expect_text("stdout", "train.txt    200 titles");
}

static void fit_small(void)
{
    assert_int_equal(run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", "%/m"), 0);
}

static void evaluate(void **state)
{
    (void)state;
    fit_small();
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/m", "--data", TINY "/dev.txt"), 0);
    run_expect_text("stdout", "titles 60   loss ");
    run_expect_text("stdout", "confusion matrix");
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/m", "--data", TINY "/dev.txt", "--json",
                              "--threads", "2"),
                     0);
    size_t len;
    char *text = run_read("stdout", &len);
    json_t *doc = json_parse("stdout", text, len, NULL);
    assert_non_null(doc); /* nothing but the object */
    assert_int_equal(json_integer_value(json_object_get(doc, "titles")), 60);
    json_t *confusion = json_object_get(doc, "confusion");
    json_int_t right = 0, all = 0;
    for (size_t i = 0; i < 10; i++)
        for (size_t j = 0; j < 10; j++) {
            json_int_t n = json_integer_value(json_array_get(json_array_get(confusion, i), j));
            all += n;
            right += i == j ? n : 0;
        }
    assert_int_equal(all, 60);
    assert_true(fabs(json_real_value(json_object_get(doc, "accuracy")) - (double)right / 60) <
                1e-8);
    assert_non_null(json_object_get(doc, "loss"));
    assert_non_null(json_object_get(doc, "macro_f1"));
    json_decref(doc);
    free(text);
}

static void evaluate_refuses(void **state)
{
    (void)state;
    fit_small();
    assert_int_not_equal(run_verb(verb_evaluate, "--model", "%/none", "--data", TINY "/dev.txt"),
                         0);
    run_write("class.txt", "a\nb\n");
    run_write("dev.txt", "title\t0\n");
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/m", "--data", "%/dev.txt"), 70);
    run_expect_text("stderr", "class.txt names 2 classes, the model has 10");
    run_write("class.txt",
              "realty\nfinance\nstocks\neducation\nscience\nsociety\npolitics\nsports\n"
              "game\nentertainment\n");
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/m", "--data", "%/dev.txt"), 70);
    run_expect_text("stderr", "class 0 is \"realty\", the model's is \"finance\"");
    char *path = file_path("%s/class.txt", run_dir);
    (void)unlink(path);
    free(path);
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/m", "--data", "%/dev.txt"), 0);
    run_write("dev.txt", "");
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/m", "--data", "%/dev.txt"), 65);
    run_expect_text("stderr", "no title in it");
}

/* The page of a model with learning curves, of one that is fitted in one piece, of one without. */
static void evaluate_report(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, "--arch", "textcnn", "--data", TINY, "--batch", "32",
                              "--epochs", "2", "--eval-every", "4", "--out", "%/c"),
                     0);
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/c", "--data", TINY "/dev.txt",
                              "--report", "%/c.html"),
                     0);
    run_expect_text("stdout", "report in ");
    run_expect_text("c.html", "<polyline");
    run_expect_text("c.html", "weights kept at step");
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/c", "--data", TINY "/dev.txt",
                              "--report", "%/d.html", "--json", "--threads", "1"),
                     0);
    run_expect_same("c.html", "d.html");
    size_t len;
    char *text = run_read("stdout", &len);
    json_t *doc = json_parse("stdout", text, len, NULL);
    assert_non_null(doc); /* still nothing but the object */
    json_decref(doc);
    free(text);
    text = run_read("c.html", NULL);
    assert_true(xml_check(text) > 100);
    free(text);
    fit_small();
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/m", "--data", TINY "/dev.txt",
                              "--report", "%/m.html"),
                     0);
    run_expect_text("m.html", "fitted in one piece");
    char *path = file_path("%s/m/history.json", run_dir);
    assert_int_equal(unlink(path), 0);
    free(path);
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/m", "--data", TINY "/dev.txt",
                              "--report", "%/m.html"),
                     0);
    run_expect_text("m.html", "has no history.json");
    run_write("m/history.json", "{\"format\":1}");
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/m", "--data", TINY "/dev.txt",
                              "--report", "%/n.html"),
                     65);
    run_expect_text("stderr", "m/history.json: \"lines\" is missing");
    assert_false(run_exists("n.html"));
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/c", "--data", TINY "/dev.txt",
                              "--report", "%/none/n.html"),
                     66);
}

static void registry(void **state)
{
    (void)state;
    fit_small();
    assert_int_equal(run_verb(verb_push, "--model", "%/m", "--registry", "dir:%/r", "--name",
                              "news", "--alias", "production"),
                     0);
    size_t len;
    char *text = run_read("stdout", &len);
    assert_true(len >= 17);
    char version[17];
    (void)snprintf(version, sizeof version, "%s", text + len - 17); /* the last line */
    free(text);
    assert_int_equal(strspn(version, "0123456789abcdef"), 16);
    assert_int_equal(run_verb(verb_models, "ls", "--registry", "dir:%/r", "--name", "news"), 0);
    run_expect_text("stdout", version);
    assert_int_equal(run_verb(verb_models, "show", "--registry", "dir:%/r", "--name", "news",
                              "--version", "production"),
                     0);
    run_expect_text("stdout", version);
    run_expect_text("stdout", "family      linear");
    assert_int_equal(run_verb(verb_models, "promote", "--registry", "dir:%/r", "--name", "news",
                              "--version", version, "--alias", "canary"),
                     0);
    assert_int_equal(run_verb(verb_models, "verify", "--registry", "dir:%/r", "--name", "news",
                              "--version", "canary"),
                     0);
    assert_int_not_equal(run_verb(verb_models, "show", "--registry", "dir:%/r", "--name", "news",
                                  "--version", "none"),
                         0);
    assert_int_not_equal(
        run_verb(verb_push, "--model", TINY, "--registry", "dir:%/r", "--name", "news"), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, run_setup, run_teardown)
    const struct CMUnitTest tests[] = {T(help_and_options), T(data_stats),      T(evaluate),
                                       T(evaluate_refuses), T(evaluate_report), T(registry)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
