/* URLs, and a server that means no good. */
#include "models/redis.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/url.h"
#include "tests/base/scratch.h"

static void test_url(void **state)
{
    (void)state;
    struct redis_target t;
    struct err err;
    assert_int_equal(redis_target_parse("redis://u%40x:p%3Aw/@h@[::1]:7000/3", &t, &err), 0);
    assert_string_equal(t.user, "u@x");
    assert_string_equal(t.password, "p:w/@h");
    assert_string_equal(t.host, "::1");
    assert_true(t.port == 7000 && t.db == 3);
    assert_string_equal(t.url, "redis://u%40x:****@[::1]:7000/3");
    redis_target_done(&t);
    assert_int_equal(redis_target_parse("redis://:secret@localhost", &t, &err), 0);
    assert_null(t.user);
    assert_string_equal(t.password, "secret");
    assert_true(t.port == 6379 && t.db == 0);
    redis_target_done(&t);
    static const char *const bad[] = {"redis://",          "redis://:secret@",
                                      "redis://h:0",       "redis://h:70000",
                                      "redis://h:x",       "redis://h/x",
                                      "redis://h/1/2",     "redis://[::1",
                                      "redis://[]",        "redis://:se%ret@h",
                                      "redis://:a%00b@h",  "http://h",
                                      "redis://h:secret@", "redis://u:secret@h:port"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(redis_target_parse(bad[i], &t, &err), -1);
        assert_int_equal(err.code, ERR_CONFIG);
        assert_null(strstr(err.msg, "secret"));
    }
    char *s = url_mask("dir:/a@b:c");
    assert_string_equal(s, "dir:/a@b:c");
    free(s);
}

/* A connection whose server has already said this, and then no more. */
static struct redis *said(const struct redis_target *t, const void *bytes, size_t n, int *other)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(write(pair[1], bytes, n), n);
    (void)shutdown(pair[1], SHUT_WR);
    *other = pair[1];
    return redis_attach(t, pair[0]);
}

static void test_hostile(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *message;
        enum err_code code;
    } rows[] = {
        {"", "fake: read: Server closed the connection", ERR_UNAVAILABLE},
        {"$5\r\nab", "fake: read: Server closed the connection", ERR_UNAVAILABLE},
        {"$99999999999\r\nab", NULL, ERR_UNAVAILABLE},
        {"$-7\r\n", NULL, ERR_FORMAT},
        {"hello\r\n", "fake: not a reply of Redis", ERR_FORMAT},
        {":1\r\n", "fake: expected text, found an integer", ERR_FORMAT},
        {"$-1\r\n", "fake: expected text, found nil", ERR_FORMAT},
        {"*1\r\n$1\r\na\r\n", "fake: expected text, found a list", ERR_FORMAT},
        {"*2147483647\r\n", "fake: not a reply of Redis", ERR_FORMAT},
        {"*2100000\r\n", NULL, ERR_FORMAT},
        {"*-3\r\n", NULL, ERR_FORMAT},
        {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", NULL,
         ERR_FORMAT},
        {"-ERR no\x1b[31m\x80 thanks\r\n", "fake: ERR no?[31m? thanks", ERR_CONFIG},
        {"-ERR unknown AUTH hush\r\n", "fake: ERR with the password in it", ERR_CONFIG},
        {"-WRONGTYPE x\r\n", "fake: WRONGTYPE x", ERR_FORMAT},
    };
    struct redis_target t = {.url = (char *)"fake", .password = (char *)"hush", .call_ms = 300};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct redis_value *v = NULL;
        struct err err = {0};
        int other;
        struct redis *c = said(&t, rows[i].bytes, strlen(rows[i].bytes), &other);
        assert_int_equal(redis_do(c, REDIS_TEXT, false, &v, &err, "GET", "x", (char *)NULL), -1);
        assert_null(v);
        if (rows[i].message)
            assert_string_equal(err.msg, rows[i].message);
        assert_int_equal(err.code, rows[i].code);
        assert_true(err.msg[0]);
        redis_close(c);
        (void)close(other);
    }
}

/* A reply made of many small values costs more than its bytes; both are bounded. */
static void test_too_much(void **state)
{
    (void)state;
    enum { N = 300000 };
    struct redis_target t = {.url = (char *)"fake", .call_ms = 5000};
    struct redis_value *v = NULL;
    struct err err;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(pair[0]); /* ends by SIGPIPE when the client hangs up */
        char *all = xmalloc(4 * N + 32);
        int n = snprintf(all, 32, "*%d\r\n", N);
        for (int i = 0; i < N; i++)
            memcpy(all + n + 4 * i, ":1\r\n", 4);
        for (ssize_t at = 0, put; at < n + 4 * N; at += put)
            if ((put = write(pair[1], all + at, (size_t)(n + 4 * N - at))) < 0)
                break;
        _exit(0);
    }
    (void)close(pair[1]);
    struct redis *c = redis_attach(&t, pair[0]);
    assert_int_equal(redis_do(c, REDIS_LIST, false, &v, &err, "GET", "x", (char *)NULL), -1);
    assert_string_equal(err.msg, "fake: a reply of more than 16 MiB");
    redis_close(c);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A cancelled call ends long before its time. */
static void *cancel_it(void *flag)
{
    (void)usleep(50000);
    atomic_store((atomic_bool *)flag, true);
    return NULL;
}

static void test_cancel(void **state)
{
    (void)state;
    atomic_bool flag = false;
    struct redis_target t = {.url = (char *)"fake", .call_ms = 20000, .cancelled = &flag};
    struct err err;
    pthread_t thread;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct redis *c = redis_attach(&t, pair[0]);
    int64_t begin = clock_ns();
    assert_int_equal(pthread_create(&thread, NULL, cancel_it, &flag), 0);
    assert_int_equal(redis_do(c, REDIS_TEXT, false, NULL, &err, "PING", NULL), -1);
    assert_string_equal(err.msg, "fake: read: cancelled");
    assert_true(clock_ns() - begin < 3000000000);
    (void)pthread_join(thread, NULL);
    redis_close(c);
    (void)close(pair[1]);
}

/* A server that hangs is left in time. */
static void test_hung(void **state)
{
    (void)state;
    struct redis_target t = {.url = (char *)"fake", .call_ms = 200};
    struct redis_value *v = NULL;
    struct err err;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct redis *c = redis_attach(&t, pair[0]);
    int64_t begin = clock_ns();
    assert_int_equal(redis_do(c, REDIS_TEXT, false, NULL, &err, "PING", NULL), -1);
    assert_true(clock_ns() - begin < 3000000000);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_int_equal(redis_do(c, REDIS_TEXT, false, &v, &err, "GET", "x", (char *)NULL), -1);
    redis_close(c);
    (void)close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_url), cmocka_unit_test(test_hostile),
                                       cmocka_unit_test(test_too_much), cmocka_unit_test(test_hung),
                                       cmocka_unit_test(test_cancel)};
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
