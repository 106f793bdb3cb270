/* registry_lock_redis.h on a real redis-server, reached by its protocol (RESP) over a socket file. */
#include "models/registry_lock_redis.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "tests/base/scratch.h"

static pid_t server;
static char socket_path[300];

static void nap(long ms)
{
    (void)nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static int dial(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%.100s", socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static int start(void **state)
{
    (void)state;
    (void)snprintf(socket_path, sizeof socket_path, "%s/redis", scratch_dir());
    server = fork();
    if (server == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        int null = open("/dev/null", O_RDWR);
        (void)dup2(null, 1);
        (void)dup2(null, 2);
        (void)execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket_path,
                     "--save", "", "--dir", scratch_dir(), (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 400; i++, nap(25)) {
        int fd = dial();
        if (fd >= 0)
            return close(fd);
        if (waitpid(server, NULL, WNOHANG) == server)
            break;
    }
    server = 0;
    return 0; /* the tests skip themselves */
}

static int stop(void **state)
{
    if (server) {
        (void)kill(server, SIGTERM);
        (void)waitpid(server, NULL, 0);
    }
    return scratch_done(state);
}

/* Sends a command and reads a reply that is one line, or a bulk string of one line. */
static int command(int fd, const char *const *words, int n, char reply[REGISTRY_LOCK_REPLY])
{
    struct buf out;
    char in[1000] = "";
    size_t got = 0;
    buf_init(&out, 100000);
    buf_printf(&out, "*%d\r\n", n);
    for (int i = 0; i < n; i++)
        buf_printf(&out, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    bool sent = send(fd, out.data, out.len, MSG_NOSIGNAL) == (ssize_t)out.len;
    buf_done(&out);
    while (sent && got < sizeof in - 1) {
        ssize_t more = read(fd, in + got, sizeof in - 1 - got);
        if (more <= 0)
            return -1;
        got += (size_t)more;
        in[got] = '\0';
        char *line = in, *end = strstr(in, "\r\n");
        if (end && in[0] == '$' && in[1] != '-') {
            line = end + 1;
            end = strstr(end + 2, "\r\n");
        }
        if (!end)
            continue;
        *end = '\0';
        (void)snprintf(reply, REGISTRY_LOCK_REPLY, "%.250s", line + 1);
        return in[0] == '-' ? -1 : 0;
    }
    return -1;
}

static int eval(void *connection, const char *script, const char *const *words, int n_keys, int n,
                char reply[REGISTRY_LOCK_REPLY], struct err *err)
{
    const char *all[20] = {"EVAL", script};
    char keys[12];
    (void)snprintf(keys, sizeof keys, "%d", n_keys);
    all[2] = keys;
    for (int i = 0; i < n; i++)
        all[3 + i] = words[i];
    return command(*(int *)connection, all, n + 3, reply) == 0
               ? 0
               : err_set(err, ERR_UNAVAILABLE, "redis: %s", reply);
}

struct party {
    int fd;
    struct registry_lock_redis *lock;
};

static struct party *party_open(void)
{
    struct party *p = xcalloc(1, sizeof *p);
    p->fd = dial();
    assert_true(p->fd >= 0);
    return p;
}

static void party_close(struct party *p)
{
    registry_lock_redis_release(p->lock);
    (void)close(p->fd);
    free(p);
}

static int take(struct party *p, const char *owner, long life_ms, struct err *err)
{
    struct registry_lock_link link = {.eval = eval, .connection = &p->fd};
    return registry_lock_redis_take(link, "rubric:news", owner, life_ms, &p->lock, err);
}

static void redis(const char *a, const char *b, const char *c, char reply[REGISTRY_LOCK_REPLY])
{
    const char *const words[] = {a, b, c};
    int fd = dial();
    assert_int_equal(command(fd, words, c ? 3 : b ? 2 : 1, reply), 0);
    (void)close(fd);
}

static int flip(struct party *p, const char *to, struct err *err)
{
    const char *const words[] = {"rubric:news:alias", to};
    char answer[REGISTRY_LOCK_REPLY];
    return registry_lock_redis_change(p->lock, "redis.call('SET', KEYS[2], ARGV[2])\nreturn 'ok'",
                                      words, 1, 2, answer, err);
}

static void expect_alias(const char *value)
{
    char reply[REGISTRY_LOCK_REPLY];
    redis("GET", "rubric:news:alias", NULL, reply);
    assert_string_equal(reply, value);
}

static int flush(void **state)
{
    (void)state;
    char reply[REGISTRY_LOCK_REPLY];
    if (server)
        redis("FLUSHALL", NULL, NULL, reply);
    return 0;
}

static void one_holder(void **state)
{
    (void)state;
    if (!server)
        skip();
    struct err err = {0};
    struct party *a = party_open(), *b = party_open();
    long long last = 1700000000000;
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(take(a, "host a", 10000, &err), 0);
        assert_true(registry_lock_redis_token(a->lock) > last);
        last = registry_lock_redis_token(a->lock);
        assert_int_equal(take(b, "host b", 10000, &err), -1);
        assert_true(err.code == ERR_CONFLICT && err.retriable);
        assert_string_equal(err.msg, "rubric:news:lock: another job works on this model: host a");
        registry_lock_redis_release(a->lock);
        a->lock = NULL;
    }
    assert_int_equal(take(b, "host b", 10, &err), -1);
    assert_int_equal(err.code, ERR_CONFIG);
    party_close(a);
    party_close(b);
}

/* A lock of 300 ms is still held after 900: it is renewed. */
static void renewed(void **state)
{
    (void)state;
    if (!server)
        skip();
    struct err err = {0};
    struct party *a = party_open(), *b = party_open();
    assert_int_equal(take(a, "host a", 300, &err), 0);
    nap(900);
    assert_int_equal(take(b, "host b", 300, &err), -1);
    assert_int_equal(flip(a, "v1", &err), 0);
    expect_alias("v1");
    party_close(a);
    assert_int_equal(take(b, "host b", 300, &err), 0); /* and free at once after release */
    party_close(b);
}

/* The holder stood still for longer than its lock lived, and another one took over. */
static void fenced(void **state)
{
    (void)state;
    if (!server)
        skip();
    struct err err = {0};
    char reply[REGISTRY_LOCK_REPLY];
    struct party *a = party_open(), *b = party_open();
    assert_int_equal(take(a, "host a", 60000, &err), 0);
    redis("DEL", "rubric:news:lock", NULL, reply); /* as if it had run out */
    assert_int_equal(flip(a, "v1", &err), 0);      /* nobody took it: no harm */
    assert_int_equal(take(b, "host b", 60000, &err), 0);
    assert_int_equal(flip(a, "v2", &err), -1);
    assert_int_equal(err.code, ERR_CONFLICT);
    assert_non_null(strstr(err.msg, " is stale: the last one given is "));
    expect_alias("v1");
    assert_int_equal(flip(b, "v3", &err), 0);
    expect_alias("v3");
    party_close(a); /* must not take b's lock with it */
    redis("GET", "rubric:news:lock", NULL, reply);
    assert_non_null(strstr(reply, " host b"));
    redis("FLUSHALL", NULL, NULL, reply); /* restarted empty */
    assert_int_equal(flip(b, "v4", &err), -1);
    assert_non_null(strstr(err.msg, "the last one given is nothing"));
    party_close(b);
}

static void change_says_no(void **state)
{
    (void)state;
    if (!server)
        skip();
    struct err err = {0};
    struct party *a = party_open();
    assert_int_equal(take(a, "host a", 10000, &err), 0);
    char answer[REGISTRY_LOCK_REPLY];
    assert_int_equal(registry_lock_redis_change(a->lock, "return 'production is at v9 now'", NULL,
                                                0, 0, answer, &err),
                     0);
    assert_string_equal(answer, "production is at v9 now");
    (void)shutdown(a->fd, SHUT_RDWR); /* the connection is gone */
    assert_int_equal(flip(a, "v1", &err), -1);
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    party_close(a);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, flush)
    const struct CMUnitTest tests[] = {T(one_holder), T(renewed), T(fenced), T(change_says_no)};
    return cmocka_run_group_tests(tests, start, stop);
}
