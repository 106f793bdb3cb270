/* `distill`: the student says what its teacher says; scores come once; the same bytes on any number of threads and after
 * an interruption; what is refused. */
#include "tests/trainer/run.h"

#include "base/buf.h"

#define ROWS "tests/golden/transformers/"
#define STUDENT                                                                                    \
    "--arch", "textcnn", "--data", TINY, "--batch", "32", "--eval-every", "20", "--patience", "0"

static double accuracy(void)
{
    double x = -1;
    char *text = run_read("stdout", NULL), *rest = text, *at;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
        if (strncmp(line, "titles ", 7) == 0 && (at = strstr(line, "accuracy ")) != NULL)
            x = strtod(at + 9, NULL);
    free(text);
    return x;
}

/* From titles that nobody has labelled, labels of the training set being wrong throughout: the teacher's word counts. */
static void learns_from_the_teacher(void **state)
{
    (void)state;
    char *dir = file_path("%s/d", run_dir), *teacher = file_path("%s/t", run_dir),
         *more = file_path("%s/more.txt", run_dir), *text, *rest;
    struct err err;
    assert_int_equal(
        run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", teacher, "--min-df", "1"),
        0);
    assert_int_equal(file_mkdirs(dir, NULL), 0);
    assert_int_equal(file_read(TINY "/train.txt", 1 << 20, &text, NULL, &err), 0);
    struct buf wrong, bare;
    buf_init(&wrong, 1 << 20);
    buf_init(&bare, 1 << 20);
    rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line;) {
        char *title = strsep(&line, "\t");
        buf_printf(&wrong, "%s\t%d\n", title, (atoi(line) + 3) % 10);
        buf_printf(&bare, "%s\n", title);
    }
    buf_put(&wrong, "", 1);
    buf_put(&bare, "", 1);
    run_write("d/train.txt", wrong.data);
    run_write("more.txt", bare.data);
    free(text);
    static const char *const same[] = {"class.txt", "dev.txt"};
    for (int i = 0; i < 2; i++) {
        char *from = file_path(TINY "/%s", same[i]), *to = file_path("%s/%s", dir, same[i]);
        assert_int_equal(file_copy(from, to, &err), 0);
        free(from);
        free(to);
    }
    static const char *const students[] = {"textcnn", "linear", "fasttext"};
    for (int i = 2; i >= 0; i--) {
        assert_int_equal(run_verb(verb_distill, "--teacher", teacher, "--soft", "1", "--unlabeled",
                                  more, "--arch", students[i], "--data", dir, "--out", "%/s",
                                  "--overwrite", "--epochs", i == 2 ? "40" : "8", "--lr",
                                  i == 2 ? "1" : "1e-3", "--batch", "32", "--patience", "0",
                                  "--keep", "accuracy", "--char-dropout", "0", "--bucket", "5000"),
                         0);
        assert_true(accuracy() > 50);
    }
    run_expect_text("stdout", "teacher ");
    assert_true(run_exists("s/model.safetensors"));
    run_expect_text("s/lineage.json", "\"teacher\": {\"sha256\": \"");
    buf_done(&wrong);
    buf_done(&bare);
    free(dir);
    free(teacher);
    free(more);
}

static void scores_come_once(void **state)
{
    (void)state;
    char *teacher = file_path("%s/t", run_dir),
         *twice = file_path("%s/t=2,%s/t=2", run_dir, run_dir);
    assert_int_equal(run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", teacher), 0);
    assert_int_equal(run_verb(verb_distill, "--teacher", teacher, STUDENT, "--out", "%/a",
                              "--epochs", "1", "--teacher-cache", "%/cache", "--threads", "1",
                              "--log-json", "%/log1"),
                     0);
    assert_int_equal(run_verb(verb_distill, "--teacher", twice, STUDENT, "--out", "%/b", "--epochs",
                              "1", "--teacher-cache", "%/cache", "--threads", "3", "--log-json",
                              "%/log2"),
                     0);
    run_expect_text("stdout", "titles, from ");
    run_expect_same("log1", "log2"); /* one teacher with any weight is one teacher */
    assert_int_equal(run_verb(verb_distill, "--teacher", teacher, "--arch", "bert", "--from",
                              ROWS "bert", "--data", TINY, "--out", "%/c", "--epochs", "1",
                              "--r-drop", "1", "--teacher-cache", "%/cache"),
                     0);
    /* Other weights are not all that makes another teacher. */
    assert_int_equal(run_verb(verb_calibrate, "--model", teacher, "--titles", TINY "/test.txt"), 0);
    assert_int_equal(run_verb(verb_distill, "--teacher", teacher, STUDENT, "--out", "%/e",
                              "--epochs", "1", "--teacher-cache", "%/cache"),
                     0);
    run_expect_text("stdout", " titles in 0:00:0");
    char *equals = file_path("%s/lr=0.5", run_dir);
    assert_int_equal(rename(teacher, equals), 0);
    assert_int_equal(run_verb(verb_distill, "--teacher", equals, STUDENT, "--out", "%/f",
                              "--epochs", "1", "--teacher-cache", "%/cache"),
                     0);
    run_expect_text("stdout", "titles, from ");
    free(equals);
    free(teacher);
    free(twice);
}

/* Titles without a label, three times as many as the others, are right or wrong for nobody. */
static void accuracy_counts_labels(void **state)
{
    (void)state;
    char *teacher = file_path("%s/t", run_dir), *more = file_path("%s/more.txt", run_dir), *text;
    struct err err;
    struct buf bare;
    assert_int_equal(run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", teacher), 0);
    assert_int_equal(file_read(TINY "/train.txt", 1 << 20, &text, NULL, &err), 0);
    buf_init(&bare, 1 << 20);
    for (int i = 0; i < 3; i++)
        buf_puts(&bare, text);
    buf_put(&bare, "", 1);
    run_write("more.txt", bare.data);
    static const char *const students[2][3] = {{"textcnn", "--char-dropout", "0"},
                                               {"bert", "--from", ROWS "bert"}};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(run_verb(verb_distill, "--teacher", teacher, "--arch", students[i][0],
                                  students[i][1], students[i][2], "--data", TINY, "--out", "%/a",
                                  "--overwrite", "--unlabeled", more, "--epochs", i ? "24" : "8",
                                  "--batch", "32", "--lr", "5e-3", "--hidden-dropout", "0",
                                  "--attention-dropout", "0", "--patience", "0", "--log-json",
                                  "%/log"),
                         0);
        assert_true(run_number("log", "train_accuracy", true) > 0.6);
    }
    free(text);
    buf_done(&bare);
    free(teacher);
    free(more);
}

static void refuses(void **state)
{
    (void)state;
    char *teacher = file_path("%s/t", run_dir), *bad = file_path("%s/t=x", run_dir),
         *dir = file_path("%s/d", run_dir);
    assert_int_equal(run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", teacher), 0);
    assert_int_not_equal(run_verb(verb_distill, "--teacher", bad, STUDENT, "--out", "%/a"), 0);
    run_expect_text("stderr", "expected a weight above 0 behind \"=\"");
    assert_int_not_equal(run_verb(verb_distill, "--teacher", teacher, "--arch", "forest", "--data",
                                  TINY, "--out", "%/a"),
                         0);
    run_expect_text("stderr", "--arch forest learns from labels alone");
    assert_int_not_equal(run_verb(verb_distill, "--teacher", teacher, "--arch", "fasttext",
                                  "--loss", "hs", "--data", TINY, "--out", "%/a"),
                         0);
    run_expect_text("stderr", "--loss hs learns from labels alone; softmax from a teacher");
    assert_int_not_equal(run_verb(verb_distill, "--teacher", teacher, STUDENT, "--out", "%/a",
                                  "--min-count", "1000000"),
                         0);
    run_expect_text("stderr", "no character is seen 1000000 times");
    assert_int_equal(
        run_verb(verb_distill, "--arch", "textcnn", "--preset", "textcnn", "--print-config"), 0);
    run_expect_text("stdout", "epochs = 50");
    run_expect_text("stdout", "eval-every = 100");
    assert_int_equal(file_mkdirs(dir, NULL), 0);
    run_write("d/class.txt", "a\nb\n");
    run_write("d/train.txt", "一二\t0\n三四\t1\n");
    run_write("d/dev.txt", "一\t0\n");
    assert_int_not_equal(run_verb(verb_distill, "--teacher", teacher, "--arch", "textcnn", "--data",
                                  dir, "--out", "%/a"),
                         0);
    run_expect_text("stderr", "has 10 labels, the data 2");
    assert_false(run_exists("a/model.safetensors"));
    free(teacher);
    free(bad);
    free(dir);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, run_setup, run_teardown)
    const struct CMUnitTest tests[] = {TEST(learns_from_the_teacher), TEST(scores_come_once),
                                       TEST(accuracy_counts_labels), TEST(refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
