/* history.h: what is written comes back; each way a file can be wrong has its message. */
#include "trainer/history.h"

#include "tests/trainer/run.h"

static void write_log(const char *text)
{
    struct buf log;
    struct err err;
    buf_init(&log, 10000);
    buf_puts(&log, text);
    if (history_write(run_dir, &log, &err) != 0)
        fail_msg("%s", err.msg);
    buf_done(&log);
}

#define POINT(i, best)                                                                             \
    "{\"iteration\":" #i ",\"train_loss\":0.5,\"train_accuracy\":0.75,\"dev_loss\":0.25,"          \
    "\"dev_accuracy\":1,\"best\":" #best "}\n"

static void round_trip(void **state)
{
    (void)state;
    struct history h;
    assert_int_equal(history_read(run_dir, &h, NULL), 0);
    assert_true(!h.found && h.n == 0);
    history_done(&h);
    write_log("{\"arch\":\"textcnn\",\"iterations\":30}\n" POINT(10, true) POINT(20, true) POINT(
        30, false) "{\"stopped\":\"end\",\"iteration\":30,\"best_iteration\":20}\n");
    assert_int_equal(history_read(run_dir, &h, NULL), 0);
    assert_true(h.found);
    assert_int_equal(h.n, 3);
    assert_int_equal(h.points[2].iteration, 30);
    assert_true(h.points[0].train_loss == 0.5 && h.points[0].train_accuracy == 0.75 &&
                h.points[0].dev_loss == 0.25 && h.points[0].dev_accuracy == 1);
    assert_int_equal(h.best_iteration, 20);
    history_done(&h);
    write_log("");
    assert_int_equal(history_read(run_dir, &h, NULL), 0);
    assert_true(h.found && h.n == 0);
    history_done(&h);
}

static void expect_refused(const char *text, const char *why)
{
    struct history h = {.n = 77};
    struct err err = {0};
    run_write(HISTORY_FILE, text);
    assert_int_equal(history_read(run_dir, &h, &err), -1);
    assert_int_equal(h.n, 77); /* untouched */
    assert_int_equal(err.code, ERR_FORMAT);
    if (!strstr(err.msg, why) || !strstr(err.msg, HISTORY_FILE))
        fail_msg("\"%s\" lacks \"%s\"", err.msg, why);
}

#define FILE_OF(lines) "{\"format\":1,\"lines\":[" lines "]}"

static void refusals(void **state)
{
    (void)state;
    expect_refused("", "line 1");
    expect_refused("[]", "not a JSON object");
    expect_refused("{\"lines\":[]}", "\"format\" is missing");
    expect_refused("{\"format\":2,\"lines\":[]}", "\"format\": 2 is not between 1 and 1");
    expect_refused("{\"format\":1}", "\"lines\" is missing");
    expect_refused(FILE_OF("7"), "line 1: not a JSON object");
    expect_refused(FILE_OF("{},{\"train_loss\":1}"), "line 2: \"train_accuracy\" is missing");
    expect_refused(FILE_OF("{\"train_loss\":\"x\"}"), "\"train_loss\": expected a number");
    expect_refused(FILE_OF(POINT(20, true) "," POINT(20, true)), "\"iteration\": 20 is not");
    expect_refused(FILE_OF(POINT(-1, true)), "\"iteration\": -1 is not");
    expect_refused(FILE_OF(POINT(1, 3)), "\"best\": expected true or false");
    expect_refused(FILE_OF("{\"iteration\":1,\"train_loss\":-1}"), "\"train_loss\": -1 is not");
    expect_refused(FILE_OF("{\"iteration\":1,\"train_loss\":1,\"train_accuracy\":1.5}"),
                   "\"train_accuracy\": 1.5 is not between 0 and 1");
    expect_refused(FILE_OF("{\"train_loss\":1,\"train_accuracy\":1,\"dev_loss\":1,"
                           "\"dev_accuracy\":1}"),
                   "\"iteration\" is missing");
}

/* A parser that trusts the file would take gigabytes for this. */
static void bounded(void **state)
{
    (void)state;
    struct history h;
    struct err err = {0};
    size_t n = HISTORY_MAX_BYTES - 1;
    char *text = malloc(n + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        text[i] = i % 3 == 2 ? ',' : i % 3 ? ']' : '[';
    text[n] = '\0';
    run_write(HISTORY_FILE, text);
    free(text);
    assert_int_equal(history_read(run_dir, &h, &err), -1);
    assert_non_null(strstr(err.msg, "bytes of memory"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, run_setup, run_teardown)
    const struct CMUnitTest tests[] = {T(round_trip), T(refusals), T(bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
