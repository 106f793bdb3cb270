#include "tests/base/scratch.h"

#include "base/options.h"

static const struct opt table[] = {
    {"brokers", OPT_STR, "localhost:9092", 0, 0, NULL, "where Kafka is", false},
    {"dead-letter", OPT_STR, NULL, 0, 0, NULL, "topic for what cannot be read", false},
    {"batch-count", OPT_INT, "256", 1, 1000000, NULL, "headlines in a batch", false},
    {"offset", OPT_INT, NULL, 0, 0, NULL, "any number", false},
    {"threshold", OPT_REAL, "0.5", 0, 1, NULL, "least probability", false},
    {"verbose", OPT_BOOL, "false", 0, 0, NULL, "say more", false},
    {"delivery", OPT_CHOICE, "exactly-once", 0, 0, "exactly-once|at-least-once", "promise", false},
    {"password", OPT_STR, NULL, 0, 0, NULL, "never shown", true},
};
enum { ROWS = sizeof table / sizeof *table };

static struct options *fresh(void)
{
    return options_open(table, ROWS, "kafka.");
}

static int read_text(struct options *o, const char *text, struct err *err)
{
    return options_read_text(o, "worker.conf", text, strlen(text), err);
}

static void refused(const char *text, const char *expected)
{
    struct err e;
    struct options *o = fresh();
    assert_int_equal(read_text(o, text, &e), -1);
    assert_error(&e, ERR_CONFIG, expected);
    options_close(o);
}

static void defaults(void **state)
{
    (void)state;
    struct options *o = fresh();
    assert_string_equal(options_str(o, "brokers"), "localhost:9092");
    assert_null(options_str(o, "dead-letter"));
    assert_int_equal(options_int(o, "batch-count"), 256);
    assert_int_equal(options_int(o, "offset"), 0);
    assert_true(options_real(o, "threshold") == 0.5);
    assert_false(options_bool(o, "verbose"));
    assert_false(options_given(o, "brokers"));
    options_close(o);
    options_close(NULL);
}

static void later_sources_win(void **state)
{
    (void)state;
    struct err e;
    struct options *o = fresh();
    char *env[] = {"RUBRIC_BROKERS=env:1", "RUBRIC_DEAD_LETTER=env-dead", "RUBRIC_BATCH_COUNT=7",
                   NULL};
    char *argv[] = {"--brokers", "arg:1"};
    const char *rest[2];
    int n;
    assert_int_equal(
        read_text(o, "brokers = file:1\ndead-letter = file-dead\nthreshold = 0.25\n", &e), 0);
    assert_string_equal(options_str(o, "brokers"), "file:1");
    assert_int_equal(options_read_env(o, env, NULL, NULL, &e), 0);
    assert_string_equal(options_str(o, "brokers"), "env:1");
    assert_int_equal(options_read_args(o, 2, argv, rest, &n, &e), 0);
    assert_string_equal(options_str(o, "brokers"), "arg:1");
    assert_string_equal(options_str(o, "dead-letter"), "env-dead");
    assert_int_equal(options_int(o, "batch-count"), 7);
    assert_true(options_real(o, "threshold") == 0.25);
    assert_true(options_given(o, "brokers"));
    options_close(o);
}

static void text_forms(void **state)
{
    (void)state;
    struct err e;
    struct options *o = fresh();
    assert_int_equal(read_text(o,
                               "\xef\xbb\xbf# a comment\r\n\r\n  brokers=a:1,b:2  \r\n"
                               "\t# another\n dead-letter = name = with = signs # and this\n"
                               "verbose = yes\nthreshold = 1e-3\noffset = -12\npassword =",
                               &e),
                     0);
    assert_string_equal(options_str(o, "brokers"), "a:1,b:2");
    assert_string_equal(options_str(o, "dead-letter"), "name = with = signs # and this");
    assert_true(options_bool(o, "verbose"));
    assert_true(options_real(o, "threshold") == 1e-3);
    assert_int_equal(options_int(o, "offset"), -12);
    assert_string_equal(options_str(o, "password"), "");
    assert_int_equal(read_text(o, "", &e), 0);
    assert_int_equal(options_read_text(o, "x", NULL, 0, &e), 0);
    assert_int_equal(read_text(o, "\xef\xbb\xbf", &e), 0);
    options_close(o);
}

static void text_refused(void **state)
{
    (void)state;
    refused("\n# x\nbrokers\n", "worker.conf:3: expected \"key = value\"");
    refused("broker = x", "worker.conf:1: unknown option \"broker\"; did you mean \"brokers\"?");
    refused("\r\n\r\nbatch_count = 3",
            "worker.conf:3: unknown option \"batch_count\"; did you mean \"batch-count\"?");
    refused("colour = red", "worker.conf:1: unknown option \"colour\"");
    refused("x = 1", "worker.conf:1: unknown option \"x\"");
    refused("= 1", "worker.conf:1: unknown option \"\"");
    refused("kafka. = 1", "worker.conf:1: unknown option \"kafka.\"");
    refused("batch-count = 0", "worker.conf:1: batch-count = 0: not between 1 and 1000000");
    refused("batch-count = 1000001",
            "worker.conf:1: batch-count = 1000001: not between 1 and 1000000");
    refused("batch-count = 12x", "worker.conf:1: batch-count = \"12x\": expected an integer");
    refused("batch-count =", "worker.conf:1: batch-count = \"\": expected an integer");
    refused("batch-count = 1.5", "worker.conf:1: batch-count = \"1.5\": expected an integer");
    refused("offset = 99999999999999999999",
            "worker.conf:1: offset = \"99999999999999999999\": expected an integer");
    refused("threshold = 1.01", "worker.conf:1: threshold = 1.01: not between 0 and 1");
    refused("threshold = nan", "worker.conf:1: threshold = \"nan\": expected a number");
    refused("threshold = inf", "worker.conf:1: threshold = \"inf\": expected a number");
    refused("verbose = maybe", "worker.conf:1: verbose = \"maybe\": expected true or false");
    refused("delivery = once",
            "worker.conf:1: delivery = \"once\": expected one of exactly-once|at-least-once");
    refused("delivery =",
            "worker.conf:1: delivery = \"\": expected one of exactly-once|at-least-once");
    refused("delivery = exactly-once|at-least-once",
            "worker.conf:1: delivery = \"exactly-once|at-least-once\": expected one of "
            "exactly-once|at-least-once");
    struct err e;
    struct options *o = fresh();
    assert_int_equal(options_read_text(o, "worker.conf", "brokers = a\0b", 13, &e), -1);
    assert_error(&e, ERR_CONFIG, "worker.conf: a NUL byte");
    assert_false(options_given(o, "brokers"));
    options_close(o);
}

static void bad_values_leave_the_old_one(void **state)
{
    (void)state;
    struct err e;
    struct options *o = fresh();
    assert_int_equal(options_set(o, "batch-count", "12", "here", &e), 0);
    assert_int_equal(options_set(o, "batch-count", "many", "here", &e), -1);
    assert_error(&e, ERR_CONFIG, "here: batch-count = \"many\": expected an integer");
    assert_int_equal(options_int(o, "batch-count"), 12);
    options_close(o);
}

static void from_a_file(void **state)
{
    (void)state;
    struct err e;
    struct options *o = fresh();
    char *path = scratch_write("a.conf", "brokers = f:1\nverbos = 1\n", 24);
    assert_int_equal(options_read_file(o, path, &e), -1);
    assert_error(&e, ERR_CONFIG, "a.conf:2: unknown option \"verbos\"; did you mean \"verbose\"?");
    free(path);
    path = scratch_file("none.conf");
    assert_int_equal(options_read_file(o, path, &e), -1);
    assert_error(&e, ERR_MISSING, "none.conf: open: No such file or directory");
    free(path);
    char *big = xcalloc(1, (1 << 20) + 1);
    memset(big, '#', (1 << 20) + 1);
    path = scratch_write("big.conf", big, (1 << 20) + 1);
    assert_int_equal(options_read_file(o, path, &e), -1);
    assert_error(&e, ERR_FORMAT, "big.conf: more than 1048576 bytes");
    free(big);
    free(path);
    options_close(o);
}

static void a_long_path_keeps_its_line_number(void **state)
{
    (void)state;
    char name[900];
    struct err e;
    memset(name, 'p', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct options *o = fresh();
    assert_int_equal(options_read_text(o, name, "\nx", 2, &e), -1);
    assert_non_null(strstr(e.msg, "p:2: expected"));
    options_close(o);
}

static void environment(void **state)
{
    (void)state;
    struct err e;
    struct options *o = fresh();
    char *env[] = {"PATH=/bin",
                   "RUBRIC_PORT=tcp://10.0.0.1:80",
                   "RUBRIC_ISA=base",
                   "RUBRIC_CONFIG=x",
                   "RUBRIC_IS=x",
                   "RUBRIC_THRESHOLD=0.75",
                   "RUBRIC_KAFKA_SECURITY_PROTOCOL=SSL",
                   "RUBRIC_KAFKA_=x",
                   "RUBRIC_brokers=x",
                   "RUBRIC_VERBOSE",
                   NULL};
    int unknown = -1;
    const char *example = "old", *key, *value;
    assert_int_equal(options_read_env(o, env, &unknown, &example, &e), 0);
    assert_int_equal(unknown, 4);
    assert_string_equal(example, "RUBRIC_brokers=x");
    assert_true(options_real(o, "threshold") == 0.75);
    assert_false(options_given(o, "brokers"));
    assert_true(options_passed(o, 0, &key, &value));
    assert_string_equal(key, "security.protocol");
    assert_string_equal(value, "SSL");
    assert_false(options_passed(o, 1, &key, &value));
    char *bad[] = {"RUBRIC_BATCH_COUNT=x", NULL}, *none[] = {"A=b", NULL};
    assert_int_equal(options_read_env(o, bad, NULL, NULL, &e), -1);
    assert_error(&e, ERR_CONFIG,
                 "environment RUBRIC_BATCH_COUNT: batch-count = \"x\": expected an integer");
    assert_int_equal(options_read_env(o, none, &unknown, &example, &e), 0);
    assert_int_equal(unknown, 0);
    assert_null(example);
    options_close(o);
}

static void command_line(void **state)
{
    (void)state;
    struct err e;
    struct options *o = fresh();
    char *argv[] = {
        "run", "--brokers=a=b", "--batch-count", "9",  "--verbose",   "extra", "--kafka.a.b",
        "1",   "--kafka.c=2=3", "--password=",   "-h", "--threshold", "-0",    "--verbose=false",
        "--",  "--brokers"};
    const char *rest[16];
    int n;
    assert_int_equal(options_read_args(o, 16, argv, rest, &n, &e), 0);
    assert_int_equal(n, 4);
    assert_string_equal(rest[0], "run");
    assert_string_equal(rest[1], "extra");
    assert_string_equal(rest[2], "-h");
    assert_string_equal(rest[3], "--brokers");
    assert_string_equal(options_str(o, "brokers"), "a=b");
    assert_int_equal(options_int(o, "batch-count"), 9);
    assert_false(options_bool(o, "verbose"));
    assert_string_equal(options_str(o, "password"), "");
    const char *key, *value;
    assert_true(options_passed(o, 0, &key, &value));
    assert_string_equal(key, "a.b");
    assert_string_equal(value, "1");
    assert_true(options_passed(o, 1, &key, &value));
    assert_string_equal(key, "c");
    assert_string_equal(value, "2=3");
    options_close(o);
}

static void command_line_refused(void **state)
{
    (void)state;
    static const struct {
        char *argv[2];
        int argc;
        const char *expected;
    } bad[] = {
        {{"--brokers"}, 1, "--brokers needs a value"},
        {{"--kafka.x"}, 1, "--kafka.x needs a value"},
        {{"--borkers", "x"},
         2,
         "command line: unknown option \"borkers\"; did you mean \"brokers\"?"},
        {{"--borkers"}, 1, "command line: unknown option \"borkers\"; did you mean \"brokers\"?"},
        {{"--verbose=perhaps"}, 1, "command line: verbose = \"perhaps\": expected true or false"},
        {{"--=x"}, 1, "command line: unknown option \"\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e;
        struct options *o = fresh();
        char *argv[2] = {bad[i].argv[0], bad[i].argv[1]};
        const char *rest[2];
        int n;
        assert_int_equal(options_read_args(o, bad[i].argc, argv, rest, &n, &e), -1);
        assert_error(&e, ERR_USAGE, bad[i].expected);
        options_close(o);
    }
}

static void passthrough(void **state)
{
    (void)state;
    struct err e;
    struct options *o = fresh();
    assert_int_equal(read_text(o, "kafka.b = 1\nkafka.a = 2\nkafka.b = 3\n", &e), 0);
    const char *key, *value;
    assert_true(options_passed(o, 0, &key, &value));
    assert_string_equal(key, "b");
    assert_string_equal(value, "3");
    assert_true(options_passed(o, 1, &key, &value));
    assert_string_equal(key, "a");
    assert_false(options_passed(o, 2, &key, &value));
    options_close(o);
    o = options_open(table, ROWS, NULL);
    assert_int_equal(read_text(o, "kafka.b = 1", &e), -1);
    options_close(o);
}

static char *printed(void (*print)(const void *, FILE *), const void *arg)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    print(arg, f);
    assert_int_equal(fclose(f), 0);
    return text;
}

static void print_options(const void *o, FILE *f)
{
    options_print(o, f);
}

static void prints_a_file_with_secrets_masked(void **state)
{
    (void)state;
    struct err e;
    struct options *o = fresh(), *again = fresh();
    assert_int_equal(
        read_text(o,
                  "password = hunter2\nkafka.sasl.password = hunter3\nverbose = on\n"
                  "kafka.ssl.key.pem = hunter4\nkafka.sasl.oauthbearer.client.secret = hunter5\n"
                  "kafka.fetch.wait.max.ms = 50\n",
                  &e),
        0);
    char *text = printed(print_options, o);
    assert_string_equal(text, "brokers = localhost:9092\n"
                              "# dead-letter is not set\n"
                              "batch-count = 256\n"
                              "# offset is not set\n"
                              "threshold = 0.5\n"
                              "verbose = on\n"
                              "delivery = exactly-once\n"
                              "password = ****\n"
                              "kafka.sasl.password = ****\n"
                              "kafka.ssl.key.pem = ****\n"
                              "kafka.sasl.oauthbearer.client.secret = ****\n"
                              "kafka.fetch.wait.max.ms = 50\n");
    assert_int_equal(read_text(again, text, &e), 0); /* it is a config file */
    assert_true(options_bool(again, "verbose"));
    free(text);
    options_close(again);
    options_close(o);
}

static void print_help(const void *o, FILE *f)
{
    (void)o;
    options_help(table, ROWS, f);
}

static void print_markdown(const void *o, FILE *f)
{
    (void)o;
    options_markdown(table, ROWS, f);
}

static void prints_help(void **state)
{
    (void)state;
    char *text = printed(print_help, NULL);
    assert_non_null(strstr(
        text, "  --batch-count              headlines in a batch (1 to 1000000; default 256)\n"));
    assert_non_null(strstr(text, "topic for what cannot be read (text)\n"));
    free(text);
    text = printed(print_markdown, NULL);
    assert_non_null(
        strstr(text, "| `delivery` | exactly-once/at-least-once | exactly-once | promise |\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(later_sources_win),
        cmocka_unit_test(text_forms),
        cmocka_unit_test(text_refused),
        cmocka_unit_test(bad_values_leave_the_old_one),
        cmocka_unit_test(from_a_file),
        cmocka_unit_test(a_long_path_keeps_its_line_number),
        cmocka_unit_test(environment),
        cmocka_unit_test(command_line),
        cmocka_unit_test(command_line_refused),
        cmocka_unit_test(passthrough),
        cmocka_unit_test(prints_a_file_with_secrets_masked),
        cmocka_unit_test(prints_help),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
