/* `fit`: it learns; the same seed gives the same bytes whatever the threads and interruptions; it
 * refuses without harm. */
#include "tests/trainer/run.h"

#include <errno.h>
#include <sys/file.h>
#include <time.h>

#include "base/json.h"

/* Some 14 iterations of a small batch; enough to see everything happen and short enough for
 * sanitizers. */
#define SHORT                                                                                      \
    "--arch", "textcnn", "--data", TINY, "--batch", "32", "--epochs", "2", "--eval-every", "4",    \
        "--patience", "0"

/* The last number called key in the log's lines. */
static double last_number(const char *log, const char *key)
{
    double value = -1;
    char *text = run_read(log, NULL), *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        json_t *doc = json_parse(log, line, strlen(line), NULL);
        assert_non_null(doc);
        json_t *number = json_object_get(doc, key);
        if (number)
            value = json_number_value(number);
        json_decref(doc);
    }
    free(text);
    return value;
}

static void textcnn_learns(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, "--arch", "textcnn", "--data", TINY, "--batch", "32",
                              "--epochs", "12", "--warmup", "5", "--out", "%/m", "--log-json",
                              "%/log", "--eval-every", "28"),
                     0);
    assert_true(last_number("log", "train_accuracy") > 0.95);
    assert_true(last_number("log", "dev_accuracy") > 0.3); /* chance is 0.1 */
    assert_true(run_exists("m/config.json") && run_exists("m/model.safetensors") &&
                run_exists("m/vocab.txt") && run_exists("m/labels.txt"));
    assert_false(run_exists("m/trainer.safetensors"));
    assert_false(run_exists("m/.staging"));
    run_expect_text("stdout", "train.txt    200 titles");
    run_expect_text("stdout", "iter     28  train loss");
    run_expect_text("stdout", "  *\n");
    run_expect_text("stdout", "weighted average");
    run_expect_text("stdout", "\ntest\n"); /* the folder has a test.txt */
    run_expect_text("stdout", "time used");
}

/* The embedding as an encoder has it. */
static void textcnn_begins_with(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, SHORT, "--embedding", "tests/golden/transformers/bert",
                              "--out", "%/m", "--char-dropout", "0"),
                     0);
    run_expect_text("stdout", " characters begin as in tests/golden/transformers/bert");
    run_expect_text("m/config.json", "\"embedding_size\": 32");
    run_expect_text("m/lineage.json", "\"from\": {\"sha256\": ");
    assert_int_not_equal(
        run_verb(verb_fit, SHORT, "--embedding", "tests/golden/transformers/xlnet", "--out", "%/n"),
        0);
    run_expect_text("stderr", "xlnet reads pieces of words, not characters");
    assert_int_not_equal(run_verb(verb_fit, SHORT, "--embedding", "%/m", "--out", "%/n"), 0);
    run_expect_text("stderr", "model_type is textcnn, expected a transformer's");
    assert_int_not_equal(run_verb(verb_fit, SHORT, "--embedding", "%/nowhere", "--out", "%/n"), 0);
    run_expect_text("stderr", "nowhere/config.json");
    assert_false(run_exists("n/model.safetensors"));
}

static void linear_learns(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", "%/m",
                              "--log-json", "%/log", "--threads", "2"),
                     0);
    assert_true(last_number("log", "dev_accuracy") > 0.3);
    assert_true(last_number("log", "scale") > 0);
    run_expect_text("stdout", "10 of 10 classes");
    run_expect_text("stdout", "held-out titles");
    assert_int_equal(run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", "%/n",
                              "--log-json", "%/log2", "--threads", "3"),
                     0);
    run_expect_same("log", "log2");
    run_expect_same("m/model.safetensors", "n/model.safetensors");
    run_expect_same("m/config.json", "n/config.json");
    run_expect_same("m/history.json", "n/history.json");
}

static void same_seed_same_log(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, SHORT, "--out", "%/1", "--log-json", "%/log1", "--threads",
                              "1", "--ema", "0.9", "--char-dropout", "0.1"),
                     0);
    assert_int_equal(run_verb(verb_fit, SHORT, "--out", "%/2", "--log-json", "%/log2", "--threads",
                              "2", "--ema", "0.9", "--char-dropout", "0.1"),
                     0);
    assert_int_equal(run_verb(verb_fit, SHORT, "--out", "%/3", "--log-json", "%/log3", "--threads",
                              "3", "--ema", "0.9", "--char-dropout", "0.1"),
                     0);
    run_expect_same("log1", "log2");
    run_expect_same("log1", "log3");
    run_expect_same("1/model.safetensors", "2/model.safetensors");
    run_expect_same("1/model.safetensors", "3/model.safetensors");
    run_expect_same("1/history.json", "2/history.json");
    run_expect_same("1/history.json", "3/history.json");

    size_t len;
    assert_int_equal(
        run_verb(verb_fit, SHORT, "--out", "%/4", "--log-json", "%/log4", "--seed", "2"), 0);
    char *one = run_read("log1", NULL), *four = run_read("log4", &len);
    assert_string_not_equal(one, four);
    free(one);
    free(four);
}

/* Waits until a file of the test's directory is there, at most two minutes. */
static void wait_for(const char *name)
{
    for (int i = 0; i < 24000 && !run_exists(name); i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    assert_true(run_exists(name));
}

#define LONG                                                                                       \
    "--arch", "textcnn", "--data", TINY, "--batch", "8", "--epochs", "3", "--eval-every", "6",     \
        "--patience", "0", "--ema", "0.9", "--checkpoint-every", "4"

static void kill_and_resume(void **state)
{
    (void)state;
    static const char *const args[] = {LONG,     "--out",    "%/b", "--log-json",
                                       "%/logb", "--resume", NULL};
    assert_int_equal(run_verb(verb_fit, LONG, "--out", "%/a", "--log-json", "%/loga"), 0);
    int killed = 0;
    for (int round = 0; round < 3; round++) {
        pid_t pid = run_start(&verb_fit, args);
        wait_for("b/trainer.safetensors");
        (void)nanosleep(&(struct timespec){.tv_nsec = 60000000L * round}, NULL);
        (void)kill(pid, SIGKILL);
        killed += run_wait(pid) == 1000 + SIGKILL;
    }
    assert_true(killed > 0 && run_exists("b/trainer.safetensors"));
    assert_int_equal(run_list(&verb_fit, args), 0);
    run_expect_text("stdout", "resumed      from iteration");
    run_expect_same("loga", "logb");
    run_expect_same("a/model.safetensors", "b/model.safetensors");
    run_expect_same("a/history.json", "b/history.json");
    run_expect_same("a/config.json", "b/config.json");
    /* Once more: there is nothing to do, and nothing changes. */
    assert_int_equal(run_list(&verb_fit, args), 0);
    run_expect_text("stdout", "nothing to resume");
    run_expect_same("a/model.safetensors", "b/model.safetensors");
    run_expect_same("a/history.json", "b/history.json");
    assert_int_equal(
        run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", "%/b", "--resume"), 70);
    run_expect_text("stderr", "holds a textcnn model");
}

/* No signal handler may run on the computing threads' stacks (trainer/stop.h). */
static void expect_blocked(pid_t pid)
{
    char *path = file_path("/proc/%ld/status", (long)pid), *text;
    unsigned long long mask = 0;
    assert_int_equal(file_read(path, 1 << 20, &text, NULL, NULL), 0);
    const char *line = strstr(text, "SigBlk:");
    assert_true(line && sscanf(line, "SigBlk: %llx", &mask) == 1);
    assert_true(mask >> (SIGTERM - 1) & 1 && mask >> (SIGINT - 1) & 1);
    free(text);
    free(path);
}

static void terminate_and_resume(void **state)
{
    (void)state;
    static const char *const args[] = {LONG,     "--out",    "%/b", "--log-json",
                                       "%/logb", "--resume", NULL};
    static const int signals[] = {SIGTERM, SIGINT};
    assert_int_equal(run_verb(verb_fit, LONG, "--out", "%/a", "--log-json", "%/loga"), 0);
    for (int i = 0; i < 2; i++) {
        pid_t pid = run_start(&verb_fit, args);
        wait_for("b/trainer.safetensors");
        if (i == 0)
            expect_blocked(pid);
        (void)kill(pid, signals[i]);
        int status = run_wait(pid);
        /* The second may come before the handler is set: then it ends the process at once, which
         * resumes as well. */
        if (i == 0 || status < 1000) {
            assert_int_equal(status, 128 + signals[i]);
            run_expect_text("stdout", "the same command with --resume goes on");
        }
    }
    /* What changes the result cannot change in between. */
    assert_int_equal(run_verb(verb_fit, LONG, "--out", "%/b", "--resume", "--dropout", "0.1"), 70);
    run_expect_text("stderr", "made with \"dropout = 0.5\", this run has \"dropout = 0.1\"");
    assert_int_equal(run_verb(verb_fit, LONG, "--out", "%/b"), 70);
    run_expect_text("stderr", "holds an unfinished fit");
    assert_int_equal(run_list(&verb_fit, args), 0);
    run_expect_same("loga", "logb");
    run_expect_same("a/model.safetensors", "b/model.safetensors");
    run_expect_same("a/history.json", "b/history.json");
}

/* Weights that are no numbers any more: training says so, what to try, and writes nothing of them.
 */
static void not_a_number(void **state)
{
    (void)state;
    static const char *const args[] = {LONG, "--out", "%/b", "--resume", NULL};
    pid_t pid = run_start(&verb_fit, args);
    wait_for("b/trainer.safetensors");
    (void)kill(pid, SIGTERM);
    assert_int_equal(run_wait(pid), 128 + SIGTERM);
    size_t len;
    char *data = run_read("b/trainer.safetensors", &len), *path;
    uint64_t header;
    memcpy(&header, data, 8);
    memset(data + 8 + header, 0xff, 1 << 20); /* the first tensor: weights */
    path = file_path("%s/b/trainer.safetensors", run_dir);
    assert_int_equal(file_replace(path, data, len, NULL), 0);
    free(path);
    path = file_path("%s/bad", run_dir);
    assert_int_equal(file_replace(path, data, len, NULL), 0);
    free(path);
    free(data);
    assert_int_equal(run_list(&verb_fit, args), 70);
    run_expect_same("b/trainer.safetensors", "bad");
    run_expect_text("stderr", "not a number");
    run_expect_text("stderr", "try a smaller --lr");
}

static void early_stopping(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, "--arch", "textcnn", "--data", TINY, "--batch", "32",
                              "--epochs", "100", "--eval-every", "2", "--patience", "6", "--lr",
                              "0.02", "--warmup", "0", "--out", "%/m", "--log-json", "%/log"),
                     0);
    run_expect_text("stdout", "early stopping: no better dev loss for");
    run_expect_text("log", "{\"stopped\":\"early\"");
}

static void refuses_a_directory_in_use(void **state)
{
    (void)state;
    char *path = file_path("%s/m", run_dir), *lock = file_path("%s/m/.lock", run_dir);
    assert_int_equal(mkdir(path, 0755), 0);
    int fd = open(lock, O_CREAT | O_RDWR, 0644);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(run_verb(verb_fit, SHORT, "--out", "%/m"), 70);
    run_expect_text("stderr", "another trainer is writing to this directory");
    assert_false(run_exists("m/model.safetensors"));
    (void)close(fd);
    free(path);
    free(lock);
}

static void copy_tiny(const char *name)
{
    char *to = file_path("%s/d", run_dir);
    (void)mkdir(to, 0755);
    free(to);
    char *from = file_path(TINY "/%s", name);
    to = file_path("%s/d/%s", run_dir, name);
    assert_int_equal(file_copy(from, to, NULL), 0);
    free(from);
    free(to);
}

static void refuses_bad_data(void **state)
{
    (void)state;
    copy_tiny("class.txt");
    copy_tiny("dev.txt");
    run_write("d/train.txt", "good title\t1\nno tab here\n");
    assert_int_equal(run_verb(verb_fit, "--arch", "linear", "--data", "%/d", "--out", "%/m"), 65);
    run_expect_text("stderr", "d/train.txt:2: ");
    assert_false(run_exists("m"));
    (void)run_verb(verb_fit, "--arch", "linear", "--data", "%/none", "--out", "%/m");
    run_expect_text("stderr", "none/class.txt");
    assert_false(run_exists("m"));
    assert_int_equal(run_verb(verb_fit, "--arch", "textcnn", "--data", "%/d", "--out", "%/m",
                              "--skip-bad", "1", "--epochs", "1"),
                     0);
    run_expect_text("stdout", "1 bad lines left out");
    run_expect_text("stderr", "left out: ");
}

/* A model is replaced on request only, and only by a finished one. */
static void keeps_the_old_model(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, SHORT, "--out", "%/m"), 0);
    assert_int_equal(run_verb(verb_fit, SHORT, "--out", "%/old"), 0);
    assert_int_equal(run_verb(verb_fit, SHORT, "--out", "%/m"), 70);
    run_expect_text("stderr", "holds a model already: --overwrite replaces it");
    run_file_max = 1 << 20;
    assert_int_equal(run_verb(verb_fit, SHORT, "--out", "%/m", "--overwrite", "--seed", "3"), 74);
    run_expect_text("stderr", "File too large");
    run_expect_same("m/model.safetensors", "old/model.safetensors");
    run_expect_same("m/vocab.txt", "old/vocab.txt");
    assert_int_equal(run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", "%/m",
                              "--overwrite", "--min-count", "2"),
                     0); /* a linear model of this data is small enough */
    run_file_max = 0;
    assert_int_equal(run_verb(verb_fit, SHORT, "--out", "%/m", "--overwrite"), 0);
    run_expect_same("m/model.safetensors", "old/model.safetensors");
    run_expect_same("m/vocab.txt", "old/vocab.txt");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, run_setup, run_teardown)
    const struct CMUnitTest tests[] = {
        T(textcnn_learns),     T(textcnn_begins_with), T(linear_learns),
        T(same_seed_same_log), T(kill_and_resume),     T(terminate_and_resume),
        T(not_a_number),       T(early_stopping),      T(refuses_a_directory_in_use),
        T(refuses_bad_data),   T(keeps_the_old_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
