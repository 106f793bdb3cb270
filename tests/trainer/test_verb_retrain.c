/* `retrain`: the same data promotes nothing twice, poisoned data promotes nothing, one of several
 * jobs at once works, and every outcome has its exit status. */
#include "tests/trainer/run.h"

#include <time.h>

#include "base/buf.h"
#include "base/json.h"
#include "models/registry.h"
#include "models/registry_lock.h"

#define REGISTRY "--registry", "dir:%/r", "--name", "news"
#define JOB(data) "--arch", "linear", "--data", data, REGISTRY

#define OTHERS "finance\nrealty\nstocks\neducation\nscience\nsociety\npolitics\nsports\ngame\n"

static char url[160];

static int setup(void **state)
{
    int rc = run_setup(state);
    (void)snprintf(url, sizeof url, "dir:%s/r", run_dir);
    return rc;
}

/* The version that production names; "" when there is none. */
static const char *production(void)
{
    static char version[REGISTRY_VERSION];
    struct registry *r;
    assert_int_equal(registry_open(url, &r, NULL), 0);
    if (registry_resolve(r, "news", "production", version, NULL) != 0)
        version[0] = '\0';
    registry_close(r);
    return version;
}

static size_t versions(void)
{
    struct registry *r;
    char **list;
    size_t n;
    assert_int_equal(registry_open(url, &r, NULL), 0);
    if (registry_list(r, "news", &list, &n, NULL) != 0)
        n = 0;
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    if (n)
        free(list);
    registry_close(r);
    return n;
}

static void copy_tiny(const char *folder, const char *name)
{
    char *from = file_path(TINY "/%s", name), *to = file_path("%s/%s", run_dir, folder);
    (void)mkdir(to, 0755);
    free(to);
    to = file_path("%s/%s/%s", run_dir, folder, name);
    assert_int_equal(file_copy(from, to, NULL), 0);
    free(from);
    free(to);
}

/* A file of the tiny data in folder, every label moved on by shift classes. */
static void shift_labels(const char *folder, const char *file, int shift)
{
    char *text, *from = file_path(TINY "/%s", file), *to = file_path("%s/%s", folder, file);
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(file_read(from, 1 << 20, &text, NULL, NULL), 0);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        char *tab = strrchr(line, '\t');
        buf_printf(&out, "%.*s\t%d\n", (int)(tab - line), line, (atoi(tab + 1) + shift) % 10);
    }
    run_write(to, out.data);
    buf_done(&out);
    free(text);
    free(from);
    free(to);
}

/* The tiny data in folder with all training labels wrong; its dev file is right. */
static void poison(const char *folder, int shift)
{
    copy_tiny(folder, "class.txt");
    copy_tiny(folder, "dev.txt");
    shift_labels(folder, "train.txt", shift);
}

static void twice(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_retrain, JOB(TINY)), 0);
    run_expect_text("stdout", "promoted: production of news is now ");
    run_expect_text("stdout", "there was no model in production");
    char *first = xstrdup(production());
    assert_int_equal(strlen(first), 16);
    assert_int_equal(versions(), 1);
    for (int i = 0; i < 2; i++) { /* whatever the threads */
        assert_int_equal(run_verb(verb_retrain, JOB(TINY), "--threads", i ? "3" : "1"), 3);
        run_expect_text("stdout",
                        "nothing promoted (same-content): production is this very content");
        assert_string_equal(production(), first);
        assert_int_equal(versions(), 1);
    }
    /* What travels with the model, and the model itself. */
    char *dir = file_path("r/news/versions/%s", first), *path;
    static const char *const files[] = {"model.safetensors", "report.html", "lineage.json",
                                        "history.json"};
    for (int i = 0; i < 4; i++) {
        path = file_path("%s/%s", dir, files[i]);
        assert_true(run_exists(path));
        free(path);
    }
    path = file_path("%s/lineage.json", dir);
    run_expect_text(path, "\"train\": 200, \"dev\": 60");
    run_expect_text(path, "\"tolerance\": \"0.01\"");
    run_expect_text(path, "\"skip-bad\": \"0\"");
    char *text = run_read(path, NULL);
    assert_null(strstr(text, run_dir)); /* no path, so that it is the same everywhere */
    free(text);
    free(path);
    free(dir);
    free(first);
}

static void poisoned(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_retrain, JOB(TINY)), 0);
    char *champion = xstrdup(production());
    poison("p", 1);
    assert_int_equal(run_verb(verb_retrain, JOB("%/p")), 3);
    run_expect_text("stdout", "nothing promoted (worse): worse: dev accuracy ");
    assert_string_equal(production(), champion);
    assert_int_equal(versions(), 2); /* to be looked at */
    assert_int_equal(run_verb(verb_retrain, JOB("%/p"), "--json"), 3);
    size_t len;
    char *text = run_read("stdout", &len);
    json_t *doc = json_parse("stdout", text, len, NULL);
    assert_non_null(doc); /* nothing but the object */
    assert_string_equal(json_string_value(json_object_get(doc, "outcome")), "worse");
    json_t *old = json_object_get(doc, "champion"), *new = json_object_get(doc, "challenger");
    assert_string_equal(json_string_value(json_object_get(old, "version")), champion);
    assert_true(json_number_value(json_object_get(new, "accuracy")) <
                json_number_value(json_object_get(old, "accuracy")));
    assert_int_equal(json_integer_value(json_object_get(doc, "titles")), 60);
    json_decref(doc);
    free(text);
    run_expect_text("stderr", "train.txt"); /* progress */
    /* Who allows it gets it. */
    assert_int_equal(run_verb(verb_retrain, JOB("%/p"), "--max-drop", "1", "--min-accuracy", "0.9"),
                     3);
    run_expect_text("stdout", "nothing promoted (below-minimum)");
    assert_int_equal(run_verb(verb_retrain, JOB("%/p"), "--max-drop", "1"), 0);
    assert_string_not_equal(production(), champion);
    /* And the right data wins it back. */
    assert_int_equal(run_verb(verb_retrain, JOB(TINY)), 0);
    run_expect_text("stdout", "not worse: dev accuracy ");
    assert_string_equal(production(), champion);
    free(champion);
}

/* All labels wrong, dev's as well: a challenger that learnt them would look better. */
static void poisoned_throughout(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_retrain, JOB(TINY)), 0);
    char *champion = xstrdup(production());
    poison("p", 1);
    shift_labels("p", "dev.txt", 1);
    assert_int_equal(run_verb(verb_retrain, JOB("%/p")), 3);
    run_expect_text("stdout", "nothing promoted (suspect-data): suspect labels: production has");
    assert_string_equal(production(), champion);
    assert_int_equal(run_verb(verb_retrain, JOB("%/p"), "--max-shift", "1"), 0);
    assert_string_not_equal(production(), champion);
    free(champion);
    /* A lineage that lies about its form stops the job: the version is not one of ours. */
    assert_int_equal(run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", "%/m"), 0);
    static const char *const bad[][2] = {{"[]", "not a JSON object"},
                                         {"{\"dev_accuracy\":1}", "\"format\": missing"},
                                         {"{\"format\":1,\"dev_accuracy\":7}", "expected 0 to 1"},
                                         {"{\"format\":1,\"dev_accuracy\":-7}", "expected 0 to 1"},
                                         {"{\"format\":1,\"dev_accuracy\":\"x\"}", "a number"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        run_write("m/lineage.json", bad[i][0]);
        assert_int_equal(run_verb(verb_push, "--model", "%/m", REGISTRY, "--alias", "production"),
                         0);
        assert_int_equal(run_verb(verb_retrain, JOB(TINY)), 65);
        run_expect_text("stderr", "lineage.json: ");
        run_expect_text("stderr", bad[i][1]);
    }
    run_write("m/lineage.json", "{\"format\":1}");
    assert_int_equal(run_verb(verb_push, "--model", "%/m", REGISTRY, "--alias", "production"), 0);
    assert_int_equal(run_verb(verb_retrain, JOB(TINY)), 0);
}

/* The same where production was made by fit and pushed by hand. The champion stays, which may be called a
 * success, and what it leaves behind is collected. */
static void poisoned_beside_a_pushed_model(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", "%/f"), 0);
    assert_int_equal(run_verb(verb_push, "--model", "%/f", REGISTRY, "--alias", "production"), 0);
    poison("p", 1);
    shift_labels("p", "dev.txt", 1);
    assert_int_equal(run_verb(verb_retrain, JOB("%/p")), 3);
    run_expect_text("stdout", "nothing promoted (suspect-data)");
    assert_int_equal(versions(), 2);
    assert_int_equal(
        run_verb(verb_retrain, JOB("%/p"), "--kept-is-success", "--keep-versions", "0"), 0);
    run_expect_text("stdout", "nothing promoted (suspect-data)");
    assert_int_equal(versions(), 1);
}

/* fit's own --keep: what it is by default is what it is here. */
static void options_of_the_fit_are_reached(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_retrain, "--arch", "textcnn", "--epochs", "1", "--data", TINY,
                              "--keep", "accuracy", "--work", "%/w", REGISTRY),
                     0);
    run_expect_text("w/lineage.json", "\"keep\": \"accuracy\"");
}

/* What else lies in the directory stays there, and out of the version. */
static void pushes_what_the_fit_wrote(void **state)
{
    (void)state;
    char *work = file_path("%s/w/lost+found", run_dir);
    assert_int_equal(file_mkdirs(work, NULL), 0);
    free(work);
    run_write("w/notes.txt", "mine");
    assert_int_equal(run_verb(verb_retrain, JOB(TINY), "--work", "%/w"), 0);
    char *path = file_path("r/news/versions/%s/notes.txt", production());
    assert_false(run_exists(path));
    free(path);
    assert_true(run_exists("w/notes.txt"));
    assert_true(run_exists("w/lineage.json"));
    assert_false(run_exists("w/.push"));
    assert_int_equal(run_verb(verb_retrain, JOB(TINY)), 3);
    run_expect_text("stdout", "same-content");
}

static void first_model_below_minimum(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_retrain, JOB(TINY), "--min-accuracy", "0.99"), 3);
    run_expect_text("stdout", "below the least allowed, 99.00 %");
    assert_string_equal(production(), "");
}

static void other_labels(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_retrain, JOB(TINY)), 0);
    char *champion = xstrdup(production());
    poison("p", 0);
    run_write("p/class.txt", OTHERS "entertainment\nmore\n");
    assert_int_equal(run_verb(verb_retrain, JOB("%/p")), 5);
    run_expect_text("stdout", "the data has 11 classes, production 10");
    run_write("p/class.txt", OTHERS "novelty\n");
    assert_int_equal(run_verb(verb_retrain, JOB("%/p")), 5);
    run_expect_text("stdout",
                    "class 9 is \"novelty\" in the data and \"entertainment\" in production");
    assert_int_equal(versions(), 1); /* found out before the fit */
    assert_string_equal(production(), champion);
    assert_int_equal(run_verb(verb_retrain, JOB("%/p"), "--allow-new-labels"), 0);
    assert_string_not_equal(production(), champion);
    run_expect_text("stdout", "not worse: "); /* its mistakes: all titles called novelty */
    free(champion);
}

/* Labels in another order: titles are judged by the labels' names. */
static void reordered_labels(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_retrain, JOB(TINY)), 0);
    copy_tiny("p", "class.txt");
    run_write("p/class.txt", "entertainment\nfinance\nrealty\nstocks\neducation\nscience\nsociety\n"
                             "politics\nsports\ngame\n");
    shift_labels("p", "train.txt", 1);
    shift_labels("p", "dev.txt", 1);
    assert_int_equal(run_verb(verb_retrain, JOB("%/p")), 5);
    assert_int_equal(
        run_verb(verb_retrain, JOB("%/p"), "--allow-new-labels", "--max-drop", "0.05", "--json"),
        0);
    char *text = run_read("stdout", NULL);
    json_t *doc = json_parse("stdout", text, strlen(text), NULL);
    assert_true(json_number_value(json_object_get(json_object_get(doc, "champion"), "accuracy")) >
                0.5); /* by index it would be near 0 */
    json_decref(doc);
    free(text);
}

static void wait_for(const char *name)
{
    for (int i = 0; i < 24000 && !run_exists(name); i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    assert_true(run_exists(name));
}

static void two_at_once(void **state)
{
    (void)state;
    static const char *const slow[] = {"--arch",     "textcnn", "--data", TINY,  "--epochs", "1000",
                                       "--patience", "0",       "--work", "%/w", REGISTRY,   NULL};
    pid_t pid = run_start(&verb_retrain, slow);
    wait_for("w/.lock"); /* the fit has begun: the registry's lock is held */
    assert_int_equal(run_verb(verb_retrain, JOB(TINY)), 4);
    run_expect_text("stdout", "nothing promoted (locked): ");
    run_expect_text("stdout", "another job works on this model: ");
    assert_int_equal(run_verb(verb_retrain, JOB(TINY), "--json"), 4);
    /* Another model is another lock. */
    assert_int_equal(run_verb(verb_retrain, "--arch", "linear", "--data", TINY, "--registry",
                              "dir:%/r", "--name", "other"),
                     0);
    (void)kill(pid, SIGTERM);
    assert_int_equal(run_wait(pid), 128 + SIGTERM);
    assert_string_equal(production(), "");
    /* Whoever comes next finds the lock free. */
    assert_int_equal(run_verb(verb_retrain, JOB(TINY)), 0);
}

/* However they interleave: one promotes, nobody fails, the registry is whole. */
static void five_at_once(void **state)
{
    (void)state;
    static const char *const args[] = {JOB(TINY), NULL};
    pid_t pids[5];
    int count[5] = {0};
    for (int i = 0; i < 5; i++)
        pids[i] = run_start(&verb_retrain, args);
    for (int i = 0; i < 5; i++) {
        int status = run_wait(pids[i]);
        assert_true(status == 0 || status == 3 || status == 4);
        count[status]++;
    }
    assert_int_equal(count[0], 1);
    assert_int_equal(versions(), 1);
    assert_int_equal(strlen(production()), 16);
}

/* Somebody promotes by hand while the job trains: the hand wins. */
static void overtaken(void **state)
{
    (void)state;
    static const char *const slow[] = {
        "--arch",     "textcnn", "--data", TINY,  "--epochs",   "30", "--eval-every", "1",
        "--patience", "0",       "--work", "%/w", "--max-drop", "1",  REGISTRY,       NULL};
    assert_int_equal(run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", "%/m"), 0);
    assert_int_equal(run_verb(verb_push, "--model", "%/m", REGISTRY), 0);
    pid_t pid = run_start(&verb_retrain, slow);
    wait_for("w/trainer.safetensors"); /* production was looked up before */
    struct registry *r;
    char **list, chosen[REGISTRY_VERSION];
    size_t n;
    assert_int_equal(registry_open(url, &r, NULL), 0);
    assert_int_equal(registry_list(r, "news", &list, &n, NULL), 0);
    assert_int_equal(n, 1);
    (void)snprintf(chosen, sizeof chosen, "%s", list[0]);
    assert_int_equal(registry_set_alias(r, "news", "production", chosen, NULL), 0);
    free(list[0]);
    free(list);
    registry_close(r);
    assert_int_equal(run_wait(pid), 4);
    run_expect_text("stdout", "nothing promoted (overtaken): ");
    assert_string_equal(production(), chosen);
}

static void errors(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_retrain, "--arch", "linear", "--data", TINY, "--name", "news"),
                     64);
    run_expect_text("stderr", "--registry is missing");
    assert_int_equal(run_verb(verb_retrain, JOB("%/none")), 66);
    assert_string_equal(production(), "");
    /* A champion that is damaged is no reason to promote without comparing. */
    assert_int_equal(run_verb(verb_retrain, JOB(TINY)), 0);
    char *path = file_path("r/news/versions/%s/vocab.txt", production());
    run_write(path, "x\n");
    free(path);
    poison("p", 1);
    assert_int_not_equal(run_verb(verb_retrain, JOB("%/p")), 0);
    run_expect_text("stderr", "the champion, production of news: ");
    assert_int_equal(versions(), 1);
    run_write("r/news/aliases/production", "0123456789abcdef\n");
    assert_int_equal(run_verb(verb_retrain, JOB(TINY)), 70);
    run_expect_text("stderr", "which does not exist");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, run_teardown)
    const struct CMUnitTest tests[] = {T(twice),
                                       T(poisoned),
                                       T(poisoned_throughout),
                                       T(poisoned_beside_a_pushed_model),
                                       T(first_model_below_minimum),
                                       T(options_of_the_fit_are_reached),
                                       T(pushes_what_the_fit_wrote),
                                       T(other_labels),
                                       T(reordered_labels),
                                       T(two_at_once),
                                       T(five_at_once),
                                       T(overtaken),
                                       T(errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
