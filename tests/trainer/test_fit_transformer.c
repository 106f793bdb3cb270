/* `fit` of transformers: it learns, in every family; the same seed gives the same bytes whatever the threads and
 * interruptions; what is refused. */
#include "tests/trainer/run.h"

#include <math.h>
#include <time.h>

#include "base/buf.h"
#include "base/json.h"
#include "models/safetensors.h"
#include "ops/product.h"

#define ROWS "tests/golden/transformers/"
#define FIT(arch, row) "--arch", arch, "--from", ROWS row, "--data", TINY
/* Some 14 iterations. */
#define SHORT "--batch", "32", "--epochs", "2", "--eval-every", "4", "--patience", "0"

static void learns(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, FIT("bert", "bert"), "--batch", "32", "--epochs", "24",
                              "--lr", "5e-3", "--hidden-dropout", "0", "--attention-dropout", "0",
                              "--out", "%/m", "--log-json", "%/log", "--eval-every", "35", "--keep",
                              "accuracy", "--patience", "0"),
                     0);
    assert_true(run_number("log", "train_loss", true) <
                0.6 * run_number("log", "train_loss", false));
    assert_true(run_number("log", "train_accuracy", true) > 0.6);
    static const char *const files[] = {
        "config.json",           "model.safetensors",       "vocab.txt",    "labels.txt",
        "tokenizer_config.json", "special_tokens_map.json", "history.json", "lineage.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = file_path("m/%s", files[i]);
        assert_true(run_exists(path));
        free(path);
    }
    assert_false(run_exists("m/trainer.safetensors"));
    run_expect_text("stdout", "iter     35  train loss");
    run_expect_text("stdout", "weighted average");
    run_expect_text("m/config.json", "\"BertForSequenceClassification\"");
    run_expect_text("m/lineage.json", "\"from\": {\"sha256\": \"");
    char *lineage = run_read("m/lineage.json", NULL);
    assert_null(strstr(lineage, "tests/golden")); /* no path, or the version would depend on it */
    free(lineage);
    /* What was made is a checkpoint to go on from, its head too. */
    char *from = file_path("%s/m", run_dir);
    assert_int_equal(run_verb(verb_fit, "--arch", "bert", "--from", from, "--data", TINY, SHORT,
                              "--out", "%/n", "--dtype", "f16"),
                     0);
    char *text = run_read("stdout", NULL);
    assert_null(strstr(text, "; new: "));
    free(text);
    run_expect_text("n/config.json", "\"float16\"");
    free(from);
}

/* What no classifier asks for, and transformers looks for when it opens one. */
static void the_mask_stays(const char *name)
{
    char *path = file_path("%s/%s/model.safetensors", run_dir, name);
    struct safetensors *a, *b;
    assert_int_equal(safetensors_open(ROWS "xlnet/model.safetensors", &a, NULL), 0);
    assert_int_equal(safetensors_open(path, &b, NULL), 0);
    const struct tensor *x = tensor_set_find(safetensors_tensors(a), "transformer.mask_emb"),
                        *y = tensor_set_find(safetensors_tensors(b), "transformer.mask_emb");
    assert_non_null(x);
    assert_non_null(y);
    assert_int_equal(y->n_dims, 3);
    assert_int_equal(x->bytes, y->bytes);
    assert_memory_equal(x->data, y->data, x->bytes);
    safetensors_close(a);
    safetensors_close(b);
    free(path);
}

static void every_family(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"ernie", "ernie"}, {"electra", "electra-small"}, {"albert", "albert-groups"},
        {"nezha", "nezha"}, {"xlnet", "xlnet"},           {"t5", "t5"},
        {"mt5", "mt5"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *from = file_path(ROWS "%s", rows[i][1]), *out = file_path("%%/%zu", i);
        assert_int_equal(run_verb(verb_fit, "--arch", rows[i][0], "--from", from, "--data", TINY,
                                  "--batch", "32", "--epochs", "6", "--lr", "1e-3", "--eval-every",
                                  "14", "--patience", "0", "--out", out, "--log-json", "%/log"),
                         0);
        assert_true(run_number("log", "train_loss", true) <
                    0.95 * run_number("log", "train_loss", false));
        if (strcmp(rows[i][0], "xlnet") == 0)
            the_mask_stays(out + 2);
        free(from);
        free(out);
    }
}

#define EVERYTHING                                                                                 \
    "--ema", "0.9", "--r-drop", "1", "--fgm", "0.5", "--layer-decay", "0.8", "--head-lr", "1e-3",  \
        "--class-weights", "balanced", "--label-smoothing", "0.1", "--optimizer", "bertadam",      \
        "--micro-batch", "12", "--lr", "5e-4"

static void same_seed_same_log(void **state)
{
    (void)state;
    static const char *const threads[] = {"1", "2", "3"};
    for (int i = 0; i < 3; i++) {
        char *out = file_path("%%/%d", i), *log = file_path("%%/log%d", i);
        assert_int_equal(run_verb(verb_fit, FIT("bert", "bert"), SHORT, EVERYTHING, "--out", out,
                                  "--log-json", log, "--threads", threads[i],
                                  i == 2 ? "--recompute=true" : "--recompute=false"),
                         0);
        free(out);
        free(log);
    }
    run_expect_same("log0", "log1");
    run_expect_same("log0", "log2");
    run_expect_same("0/model.safetensors", "1/model.safetensors");
    run_expect_same("0/model.safetensors", "2/model.safetensors");
    assert_int_equal(run_verb(verb_fit, FIT("bert", "bert"), SHORT, EVERYTHING, "--out", "%/s",
                              "--log-json", "%/logs", "--seed", "2"),
                     0);
    char *one = run_read("log0", NULL), *other = run_read("logs", NULL);
    assert_string_not_equal(one, other);
    free(one);
    free(other);
}

static void wait_for(const char *name)
{
    for (int i = 0; i < 24000 && !run_exists(name); i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    assert_true(run_exists(name));
}

#define LONG                                                                                       \
    FIT("bert", "bert"), "--batch", "4", "--epochs", "3", "--eval-every", "20", "--patience", "0", \
        "--ema", "0.9", "--checkpoint-every", "3"

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
        (void)nanosleep(&(struct timespec){.tv_nsec = 20000000L * round}, NULL);
        (void)kill(pid, SIGKILL);
        killed += run_wait(pid) == 1000 + SIGKILL;
    }
    assert_true(killed > 0);
    assert_int_equal(run_list(&verb_fit, args), 0);
    run_expect_same("loga", "logb");
    run_expect_same("a/model.safetensors", "b/model.safetensors");
    run_expect_same("a/history.json", "b/history.json");
    run_expect_same("a/config.json", "b/config.json");
    run_expect_same("a/lineage.json", "b/lineage.json");
}

/* Names in a directory that begin so. */
static int count(const char *dir, const char *begin)
{
    struct file_list list;
    char *path = file_path("%s/%s", run_dir, dir);
    int n = 0;
    if (file_list(path, &list, NULL) == 0) {
        for (size_t i = 0; i < list.n; i++)
            n += strncmp(list.names[i], begin, strlen(begin)) == 0;
        file_list_free(&list);
    }
    free(path);
    return n;
}

/* Killed while a checkpoint is being written: half of it lies beside the last whole one, which goes on. */
static void kill_in_a_write(void **state)
{
    (void)state;
    static const char half[] = ".trainer.safetensors.";
    static const char *const args[] = {LONG,     "--out",    "%/b", "--log-json",
                                       "%/logb", "--resume", NULL};
    int halves = 0;
    assert_int_equal(run_verb(verb_fit, LONG, "--out", "%/a", "--log-json", "%/loga"), 0);
    for (int round = 0; round < 200 && halves < 3; round++) {
        pid_t pid = run_start(&verb_fit, args);
        int status;
        if (round == 0)
            wait_for("b/trainer.safetensors");
        while (count("b", half) == 0 && waitpid(pid, &status, WNOHANG) == 0)
            ;
        if (kill(pid, SIGKILL) == 0)
            (void)waitpid(pid, &status, 0);
        halves += count("b", half) > 0;
        if (!run_exists("b/trainer.safetensors"))
            break; /* it came to its end before it was seen */
    }
    assert_true(halves > 0);
    assert_int_equal(run_list(&verb_fit, args), 0);
    assert_int_equal(count("b", half), 0);
    run_expect_same("loga", "logb");
    run_expect_same("a/model.safetensors", "b/model.safetensors");
}

static void refuses_to_resume(void **state)
{
    (void)state;
    static const char *const args[] = {LONG, "--out", "%/b", NULL};
    pid_t pid = run_start(&verb_fit, args);
    wait_for("b/trainer.safetensors");
    (void)kill(pid, SIGTERM);
    int status = run_wait(pid);
    assert_true(status == 128 + SIGTERM || status == 1000 + SIGTERM);
    assert_int_equal(run_verb(verb_fit, LONG, "--out", "%/b", "--resume", "--lr", "1e-3"), 70);
    run_expect_text("stderr", "made with \"lr = 5e-5\", this run has \"lr = 1e-3\"");
    assert_int_equal(run_verb(verb_fit, "--arch", "bert", "--from", ROWS "mengzi", "--data", TINY,
                              "--batch", "4", "--epochs", "3", "--eval-every", "20", "--patience",
                              "0", "--ema", "0.9", "--out", "%/b", "--resume"),
                     70);
    run_expect_text("stderr", "cannot be resumed with other settings: it was made with \"from = ");
}

static void write_text(const char *name, const struct buf *text)
{
    char *path = file_path("%s/data/%s", run_dir, name);
    assert_int_equal(file_replace(path, text->data, text->len, NULL), 0);
    free(path);
}

/* The golden titles as a data set: the same for training and dev. */
static void write_data(const json_t *titles)
{
    static const char names[] =
        "finance\nrealty\nstocks\neducation\nscience\nsociety\npolitics\nsports\n"
        "game\nentertainment\n";
    struct buf text;
    json_t *pair;
    size_t i;
    char *dir = file_path("%s/data", run_dir);
    assert_int_equal(file_mkdirs(dir, NULL), 0);
    free(dir);
    buf_init(&text, 1 << 16);
    json_array_foreach((json_t *)(uintptr_t)titles, i, pair)
        buf_printf(&text, "%s\t%lld\n", json_string_value(json_array_get(pair, 0)),
                   (long long)json_integer_value(json_array_get(pair, 1)));
    write_text("train.txt", &text);
    write_text("dev.txt", &text);
    buf_reset(&text);
    buf_puts(&text, names);
    write_text("class.txt", &text);
    buf_done(&text);
}

static void near_losses(const char *recipe, const char *key, const json_t *expected)
{
    char *text = run_read("log", NULL), *rest = text;
    size_t n = 0;
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        json_t *doc = json_parse("log", line, strlen(line), NULL),
               *number = json_object_get(doc, key);
        double want = json_real_value(json_array_get(expected, n));
        if (number && !(fabs(json_number_value(number) - want) < 2e-4 * want))
            fail_msg("%s, %s of step %zu: %.7g, PyTorch's %.7g", recipe, key, n + 1,
                     json_number_value(number), want);
        n += number != NULL;
        json_decref(doc);
    }
    assert_int_equal(n, 3);
    free(text);
}

/* Three steps of each recipe, dropout and R-Drop with the same draws, against PyTorch (tests/golden/transformers_recipes.py). */
static void recipes(void **state)
{
    (void)state;
    json_t *golden = json_parse_file("tests/golden/recipes.json", 1 << 20, NULL), *recipe, *word;
    size_t i, k;
    assert_non_null(golden);
    write_data(json_object_get(golden, "titles"));
    char *data = file_path("%s/data", run_dir);
    json_array_foreach(json_object_get(golden, "recipes"), i, recipe)
    {
        const char *name = json_string_value(json_object_get(recipe, "name"));
        const char *args[48] = {"--arch", "bert", "--from",      ROWS "bert",  "--data", data,
                                "--out",  "%/m",  "--overwrite", "--log-json", "%/log"};
        size_t n = 11;
        json_array_foreach(json_object_get(recipe, "options"), k, word) args[n++] =
            json_string_value(word);
        args[n] = NULL;
        assert_int_equal(run_list(&verb_fit, args), 0);
        near_losses(name, "train_loss", json_object_get(recipe, "train_loss"));
        near_losses(name, "dev_loss", json_object_get(recipe, "dev_loss"));
    }
    assert_int_equal(i, 10);
    free(data);
    json_decref(golden);
}

static void random_weights(void **state)
{
    (void)state;
    assert_int_equal(
        run_verb(verb_fit, FIT("electra", "electra"), SHORT, "--init", "random", "--out", "%/m"),
        0);
    run_expect_text("stdout", "all new");
    /* From nothing: characters of the titles, a size by name. */
    static const char *const archs[] = {"bert", "albert"};
    for (int i = 0; i < 2; i++) {
        char *out = file_path("%%/n%d", i);
        assert_int_equal(run_verb(verb_fit, "--arch", archs[i], "--init", "random", "--size",
                                  "tiny", "--data", TINY, "--batch", "32", "--epochs", "12", "--lr",
                                  "1e-3", "--eval-every", "28", "--patience", "0", "--out", out,
                                  "--log-json", "%/log"),
                         0);
        assert_true(run_number("log", "train_loss", true) <
                    0.9 * run_number("log", "train_loss", false));
        free(out);
    }
    assert_false(run_exists("n0/.new"));
    run_expect_text("n0/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    assert_int_equal(
        run_verb(verb_fit, "--arch", "xlnet", "--init", "random", "--data", TINY, "--out", "%/x"),
        64);
    run_expect_text("stderr", "--arch xlnet needs --from for its tokenizer");
}

static void refusals(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, "--arch", "bert", "--data", TINY, "--out", "%/m"), 64);
    run_expect_text("stderr", "--arch bert needs --from");
    assert_int_equal(run_verb(verb_fit, FIT("bert", "nezha"), "--out", "%/m"), 70);
    run_expect_text("stderr", "model_type is \"nezha\", --arch says bert");
    assert_int_equal(run_verb(verb_fit, FIT("bert", "bert"), "--out", "%/m", "--max-length", "64"),
                     70);
    run_expect_text("stderr", "--max-length is 64, the model has 48 positions");
    assert_int_equal(
        run_verb(verb_fit, "--arch", "bert", "--from", "/nowhere", "--data", TINY, "--out", "%/m"),
        66);
    assert_false(run_exists("m/config.json"));
    /* A configuration whose number for new weights is none. */
    static const char *const bad[][2] = {{"\"wide\"", "initializer_range"},
                                         {"-1.0", "\"initializer_range\" is -1, expected 0 to 10"}};
    for (int i = 0; i < 2; i++) {
        char *dir = file_path("%s/c", run_dir), *path = file_path("%s/config.json", dir),
             *vocab = file_path("%s/vocab.txt", dir), *text;
        json_t *config = json_parse_file(ROWS "bert/config.json", 1 << 20, NULL);
        (void)json_object_set_new(config, "initializer_range",
                                  json_loads(bad[i][0], JSON_DECODE_ANY, NULL));
        text = json_dumps(config, 0);
        assert_int_equal(file_mkdirs(dir, NULL), 0);
        assert_int_equal(file_replace(path, text, strlen(text), NULL), 0);
        assert_int_equal(file_copy(ROWS "bert/vocab.txt", vocab, NULL), 0);
        assert_int_not_equal(run_verb(verb_fit, "--arch", "bert", "--init", "random", "--from", dir,
                                      "--data", TINY, "--out", "%/m"),
                             0);
        run_expect_text("stderr", bad[i][1]);
        json_decref(config);
        free(text);
        free(dir);
        free(path);
        free(vocab);
    }
}

/* What this processor does with --precision bf16 is told, not left to be found out. */
static void precision_is_told(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, FIT("bert", "bert"), "--batch", "32", "--epochs", "1",
                              "--precision", "bf16", "--out", "%/m"),
                     0);
    run_expect_text("stdout", product_has(PRODUCT_BF16)
                                  ? "training     bf16, "
                                  : "training     fp32 (--precision bf16: this processor does not "
                                    "multiply it), ");
}

static void presets(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, "--arch", "electra", "--batch", "7", "--print-config"), 0);
    run_expect_text("stdout", "\nbatch = 7\n");
    run_expect_text("stdout", "# preset electra, published:\neval-every = 200\n");
    run_expect_text("stdout", "# preset electra, usual for the family:\nlr = 1e-4\n");
    assert_int_equal(run_verb(verb_fit, "--arch", "textcnn", "--print-config"), 0);
    run_expect_text("stdout", "\nlr = 0.001\n");
    assert_int_equal(run_verb(verb_fit, "--arch", "bert", "--preset", "none", "--print-config"), 0);
    run_expect_text("stdout", "\nlr = 0.001\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(learns, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(every_family, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(same_seed_same_log, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(kill_and_resume, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(kill_in_a_write, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(refuses_to_resume, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(recipes, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(random_weights, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(refusals, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(precision_is_told, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(presets, run_setup, run_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
