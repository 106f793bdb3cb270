/* `pretrain`: it learns, what it makes is an encoder to fine-tune; the same seed gives the same bytes whatever the
 * threads, cuts and interruptions; what is refused. */
#include "tests/trainer/run.h"

#include <time.h>

#define TEXT "tests/data/tiny/train.txt"
#define PRETRAIN "--text", TEXT, "--arch", "bert", "--init", "random", "--size", "tiny"
#define SHORT "--batch", "32", "--epochs", "2", "--eval-every", "4", "--held-out", "20"

static void learns_and_is_gone_on_from(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_pretrain, PRETRAIN, "--out", "%/e", "--log-json", "%/log",
                              "--batch", "32", "--epochs", "50", "--lr", "3e-3", "--eval-every",
                              "75", "--held-out", "20", "--hidden-dropout", "0"),
                     0);
    /* Of two hundred titles only themselves can be learnt. */
    assert_true(run_number("log", "train_loss", true) <
                0.8 * run_number("log", "train_loss", false));
    run_expect_text("e/config.json", "\"BertForMaskedLM\"");
    assert_false(run_exists("e/labels.txt"));
    assert_false(run_exists("e/trainer.safetensors"));
    char *from = file_path("%s/e", run_dir);
    /* Further, with its head too; and a classifier. */
    assert_int_equal(run_verb(verb_pretrain, "--text", TEXT, "--from", from, "--out", "%/f", SHORT),
                     0);
    char *text = run_read("stdout", NULL);
    assert_null(strstr(text, "; new: "));
    free(text);
    assert_int_equal(run_verb(verb_fit, "--arch", "bert", "--from", from, "--data",
                              "tests/data/tiny", "--out", "%/m", "--batch", "32", "--epochs", "1"),
                     0);
    run_expect_text("stdout", "new: bert.pooler.dense.weight");
    run_expect_text("m/config.json", "\"BertForSequenceClassification\"");
    free(from);
}

static void every_family(void **state)
{
    (void)state;
    static const char *const families[] = {"ernie", "nezha", "albert"};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char *out = file_path("%%/%s", families[i]);
        assert_int_equal(run_verb(verb_pretrain, "--text", TEXT, "--arch", families[i], "--size",
                                  "tiny", SHORT, "--out", out),
                         0);
        free(out);
    }
    run_expect_text("albert/config.json", "\"AlbertForMaskedLM\"");
}

static void same_seed_same_bytes(void **state)
{
    (void)state;
    static const char *const threads[] = {"1", "2", "3"};
    for (int i = 0; i < 3; i++) {
        char *out = file_path("%%/%d", i), *log = file_path("%%/log%d", i);
        assert_int_equal(run_verb(verb_pretrain, PRETRAIN, SHORT, "--ema", "0.9", "--micro-batch",
                                  "12", "--out", out, "--log-json", log, "--threads", threads[i],
                                  i == 2 ? "--recompute=true" : "--recompute=false"),
                         0);
        free(out);
        free(log);
    }
    run_expect_same("log0", "log1");
    run_expect_same("log0", "log2");
    run_expect_same("0/model.safetensors", "1/model.safetensors");
    run_expect_same("0/model.safetensors", "2/model.safetensors");
}

static void resumes(void **state)
{
    (void)state;
    static const int signals[] = {SIGTERM, SIGKILL};
    assert_int_equal(
        run_verb(verb_pretrain, PRETRAIN, SHORT, "--out", "%/whole", "--log-json", "%/log"), 0);
    for (int i = 0; i < 2; i++) {
        char *out = file_path("%%/cut%d", i),
             *checkpoint = file_path("cut%d/trainer.safetensors", i),
             *model = file_path("cut%d/model.safetensors", i);
        const char *const args[] = {
            PRETRAIN,    SHORT, "--out",      out,      "--checkpoint-every", "1",
            "--threads", "1",   "--log-json", "%/log2", "--resume",           NULL};
        pid_t pid = run_start(&verb_pretrain, args);
        for (int k = 0; k < 20000 && !run_exists(checkpoint); k++)
            (void)nanosleep(&(struct timespec){0, 1000000}, NULL);
        assert_int_equal(kill(pid, signals[i]), 0);
        (void)run_wait(pid);
        assert_int_equal(run_verb(verb_pretrain, PRETRAIN, SHORT, "--out", out, "--resume",
                                  "--log-json", "%/log2"),
                         0);
        run_expect_same("log", "log2");
        run_expect_same("whole/model.safetensors", model);
        free(out);
        free(checkpoint);
        free(model);
    }
    assert_int_not_equal(run_verb(verb_pretrain, PRETRAIN, SHORT, "--out", "%/whole"), 0);
    run_expect_text("stderr", "holds a model already");
    assert_int_equal(run_verb(verb_pretrain, PRETRAIN, SHORT, "--out", "%/whole", "--resume"), 0);
    run_expect_text("stdout", "nothing to resume");
}

static void put(const char *name, const char *text, size_t n)
{
    struct err err;
    char *path = file_path("%s/%s", run_dir, name);
    assert_int_equal(file_replace(path, text, n, &err), 0);
    free(path);
}

static void reads_text(void **state)
{
    (void)state;
    /* A long line, a labelled one, blank ones, CRLF, no newline at the end. */
    char text[4096] = "";
    for (int i = 0; i < 30; i++)
        (void)strcat(text, i % 10 ? "国家队昨天" : "比赛结束。");
    (void)strcat(text, "\n\n  \r\n北京天气很好\t3\r\n");
    for (int i = 0; i < 30; i++)
        (void)strcat(text, "今天上海下雨\n");
    put("a.txt", text, strlen(text));
    put("b.txt", "昨天北京下雪", strlen("昨天北京下雪"));
    char *a = file_path("%s/a.txt", run_dir), *b = file_path("%s/b.txt", run_dir);
    assert_int_equal(run_verb(verb_pretrain, "--text", a, b, "--init", "random", "--size", "tiny",
                              SHORT, "--max-length", "52", "--out", "%/e"),
                     0);
    run_expect_text("stdout", "34 lines, 34 sequences"); /* 1 as 3, 2 blank, 1 + 30 */
    run_expect_text("stdout", "1 lines, 1 sequences");
    put("a.txt", "好\n\xff\xfe\n", 6);
    assert_int_not_equal(
        run_verb(verb_pretrain, "--text", b, a, "--init", "random", "--out", "%/f"), 0);
    run_expect_text("stderr", "a.txt:2: invalid UTF-8 at byte 1");
    put("a.txt", "好\n\n\na\0b\n", 10);
    assert_int_not_equal(run_verb(verb_pretrain, "--text", a, "--init", "random", "--out", "%/f"),
                         0);
    run_expect_text("stderr", "a.txt:4: a NUL at byte 2");
    put("a.txt", "\n \n", 3);
    assert_int_not_equal(run_verb(verb_pretrain, "--text", a, "--init", "random", "--out", "%/f"),
                         0);
    run_expect_text("stderr", "no text in it");
    assert_int_not_equal(run_verb(verb_pretrain, "--text", b, "--init", "random", "--out", "%/f"),
                         0);
    run_expect_text("stderr", "too few");
    for (int i = 0; i < 30; i++)
        (void)snprintf(text + i * 7, 8, "龘龘\n");
    put("a.txt", text, 30 * 7);
    assert_int_not_equal(run_verb(verb_pretrain, "--text", a, "--from",
                                  "tests/golden/transformers/bert", "--max-length", "32", "--out",
                                  "%/f"),
                         0);
    run_expect_text("stderr", "sequences have no word that");
    assert_false(run_exists("f/model.safetensors"));
    free(a);
    free(b);
}

static void refuses(void **state)
{
    (void)state;
    assert_int_not_equal(run_verb(verb_pretrain, "--text", TEXT, "--out", "%/e"), 0);
    run_expect_text("stderr", "the --size of a new one");
    assert_int_not_equal(run_verb(verb_pretrain, "--out", "%/e"), 0);
    run_expect_text("stderr", "--text");
    assert_int_not_equal(
        run_verb(verb_pretrain, "--text", "%/none.txt", "--init", "random", "--out", "%/e"), 0);
    run_expect_text("stderr", "none.txt");
    assert_int_not_equal(run_verb(verb_pretrain, "--text", TEXT, "--arch", "xlnet", "--out", "%/e"),
                         0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, run_setup, run_teardown)
    const struct CMUnitTest tests[] = {
        TEST(learns_and_is_gone_on_from),
        TEST(every_family),
        TEST(same_seed_same_bytes),
        TEST(resumes),
        TEST(reads_text),
        TEST(refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
