/* The Redis backend on a real redis-server, started here on a free port without persistence. */
#include "models/registry.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "models/redis.h"
#include "models/registry_chunks.h"
#include "models/registry_lock.h"
#include "tests/base/scratch.h"

static char root[300], model[330], cache[330], url[64];
static int port;
static pid_t server;

static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&a, n), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&a, &n), 0);
    (void)close(s);
    return ntohs(a.sin_port);
}

/* A command past the registry; the number that it answers with, 1 for a text, -1 for a failure. */
static int64_t ask(const char *a, const char *b, const char *c, const char *d)
{
    static const char *const counting[] = {"APPEND", "DEL",  "SETRANGE", "SCARD",
                                           "HSET",   "XLEN", "ZREM"};
    struct redis_target t;
    struct redis_value *v = NULL;
    struct err err;
    enum redis_type want = REDIS_TEXT;
    for (size_t i = 0; i < sizeof counting / sizeof *counting; i++)
        want = strcmp(a, counting[i]) == 0 ? REDIS_INT : want;
    assert_int_equal(redis_target_parse(url, &t, &err), 0);
    struct redis *r = redis_open(&t);
    int rc = redis_do(r, want, false, &v, &err, a, b, c, d, NULL);
    int64_t n = rc != 0 ? -1 : want == REDIS_INT ? v->n : 1;
    redis_free(v);
    redis_close(r);
    redis_target_done(&t);
    return n;
}

static void start_server(void)
{
    char text[16], log[400];
    (void)snprintf(text, sizeof text, "%d", port);
    (void)snprintf(log, sizeof log, "%s/redis.log", root);
    server = fork();
    if (server == 0) {
        (void)execlp("redis-server", "redis-server", "--port", text, "--bind", "127.0.0.1",
                     "--save", "", "--appendonly", "no", "--dir", root, "--logfile", log,
                     (char *)NULL);
        _exit(127);
    }
    assert_true(server > 0);
    for (int i = 0; i < 200; i++) {
        if (ask("PING", NULL, NULL, NULL) == 1)
            return;
        (void)usleep(50000);
    }
    fail_msg("redis-server does not answer on port %d (is the package redis-server installed?)",
             port);
}

static void stop_server(void)
{
    int status;
    assert_int_equal(kill(server, SIGKILL), 0);
    assert_int_equal(waitpid(server, &status, 0), server);
    server = 0;
}

static void put(const char *name, const char *text, size_t n)
{
    char *path = file_path("%s/%s", model, name);
    assert_int_equal(file_replace(path, text, n, NULL), 0);
    free(path);
}

static int setup_all(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "%s/rr", scratch_dir());
    (void)snprintf(model, sizeof model, "%s/model", root);
    (void)snprintf(cache, sizeof cache, "%s/cache", root);
    if (file_mkdirs(root, NULL) != 0)
        return -1;
    port = free_port();
    (void)snprintf(url, sizeof url, "redis://127.0.0.1:%d/3", port);
    start_server();
    return 0;
}

static int setup(void **state)
{
    (void)state;
    assert_true(ask("FLUSHALL", NULL, NULL, NULL) == 1);
    if (file_mkdirs(model, NULL) != 0)
        return -1;
    size_t n = 5 * CHUNK_BYTES / 2; /* two and a half chunks */
    char *weights = xmalloc(n);
    for (size_t i = 0; i < n; i++)
        weights[i] = (char)(i * 31 + i / CHUNK_BYTES);
    put("config.json", "{}", 2);
    put("model.safetensors", weights, n);
    put("labels.txt", "a\nb\n", 4);
    put("report.html", "<p>travels too", 14);
    free(weights);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[700];
    (void)snprintf(command, sizeof command, "rm -rf '%s' '%s'", model, cache);
    return system(command);
}

static int teardown_all(void **state)
{
    char command[400];
    stop_server();
    (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command) ? -1 : scratch_done(state);
}

static struct registry *open_it(void)
{
    struct registry *r;
    struct err err;
    assert_int_equal(registry_open(url, &r, &err), 0);
    registry_set_cache(r, cache, 1 << 30);
    registry_set_by(r, "test at night");
    return r;
}

static void must(int rc, const struct err *err)
{
    if (rc != 0)
        fail_msg("%s", err->msg);
}

static void refused(int rc, const struct err *err, enum err_code code, const char *word)
{
    assert_int_equal(rc, -1);
    if (err->code != code || !strstr(err->msg, word))
        fail_msg("code %d: %s (expected %d and \"%s\")", (int)err->code, err->msg, (int)code, word);
}

static void push_two(struct registry *r, char first[REGISTRY_VERSION],
                     char second[REGISTRY_VERSION])
{
    struct err err;
    must(registry_push(r, "news", model, first, &err), &err);
    put("config.json", "{\"a\":1}", 7);
    must(registry_push(r, "news", model, second, &err), &err);
    assert_string_not_equal(first, second);
}

static void test_life(void **state)
{
    (void)state;
    struct registry *r = open_it();
    struct err err;
    char first[REGISTRY_VERSION], second[REGISTRY_VERSION], got[REGISTRY_VERSION], *dir, **list;
    struct registry_alias *aliases;
    struct registry_change *changes;
    size_t n;
    push_two(r, first, second);
    /* config, weights in three, labels, report; of the second only config is new */
    assert_int_equal(ask("SCARD", "rubric:{news}:chunks", NULL, NULL), 7);
    must(registry_list(r, "news", &list, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_string_equal(list[0], first);
    free(list[0]);
    free(list[1]);
    free(list);
    refused(registry_resolve(r, "news", "production", got, &err), &err, ERR_MISSING, "production");
    must(registry_set_alias(r, "news", "production", first, &err), &err);
    must(registry_set_alias(r, "news", "production", second, &err), &err);
    must(registry_set_alias(r, "news", "production", second, &err), &err); /* no change, no line */
    must(registry_resolve(r, "news", "production", got, &err), &err);
    assert_string_equal(got, second);
    must(registry_fetch(r, "news", second, &dir, &err), &err);
    char *path = file_path("%s/report.html", dir), *text;
    must(file_read(path, 100, &text, NULL, &err), &err);
    assert_string_equal(text, "<p>travels too");
    free(text);
    free(path);
    free(dir);
    refused(registry_remove(r, "news", second, &err), &err, ERR_CONFLICT, "an alias names it");
    must(registry_rollback(r, "news", "production", got, &err), &err);
    assert_string_equal(got, first);
    must(registry_history(r, "news", &changes, &n, &err), &err);
    assert_int_equal(n, 3);
    assert_string_equal(changes[0].from, "");
    assert_string_equal(changes[2].from, second);
    assert_string_equal(changes[2].to, first);
    assert_string_equal(changes[2].by, "test_at_night");
    assert_true(changes[2].unix_ms > INT64_C(1700000000000));
    free(changes);
    must(registry_aliases(r, "news", &aliases, &n, &err), &err);
    assert_true(n == 1 && strcmp(aliases[0].version, first) == 0);
    free(aliases);
    must(registry_remove(r, "news", second, &err), &err);
    refused(registry_remove(r, "news", second, &err), &err, ERR_MISSING, second);
    refused(registry_set_alias(r, "news", "production", second, &err), &err, ERR_MISSING, second);
    must(registry_verify(r, "news", first, &err), &err);
    registry_close(r);
}

/* With and without a lock it is one script, so it is one answer. */
static void test_moves_only_from_where_it_is(void **state)
{
    (void)state;
    struct registry *r = open_it();
    struct registry_lock *l;
    struct err err;
    char first[REGISTRY_VERSION], second[REGISTRY_VERSION], said[100];
    push_two(r, first, second);
    must(registry_lock_take(url, r, "news", &l, &err), &err);
    (void)snprintf(said, sizeof said, "production names nothing now, not %s", first);
    refused(registry_move_alias(r, "news", "production", first, second, &err), &err, ERR_CONFLICT,
            said);
    refused(registry_lock_promote(l, "production", first, second, &err), &err, ERR_CONFLICT, said);
    must(registry_lock_promote(l, "production", "", first, &err), &err);
    (void)snprintf(said, sizeof said, "production names %s now, not nothing", first);
    refused(registry_move_alias(r, "news", "production", "", second, &err), &err, ERR_CONFLICT,
            said);
    refused(registry_lock_promote(l, "production", "", second, &err), &err, ERR_CONFLICT, said);
    must(registry_move_alias(r, "news", "production", first, second, &err), &err);
    must(registry_lock_promote(l, "production", first, second, &err), &err); /* already there */
    assert_int_equal(ask("XLEN", "rubric:{news}:history", NULL, NULL), 2);
    /* A version whose name went, as if gc had come between the look at it and the change. */
    assert_int_equal(ask("ZREM", "rubric:{news}:versions", first, NULL), 1);
    refused(registry_set_alias(r, "news", "production", first, &err), &err, ERR_MISSING, first);
    refused(registry_lock_promote(l, "production", second, first, &err), &err, ERR_MISSING, first);
    registry_lock_release(l);
    registry_close(r);
}

static void test_gc(void **state)
{
    (void)state;
    struct registry *r = open_it();
    struct err err;
    char first[REGISTRY_VERSION], second[REGISTRY_VERSION], **gone;
    size_t n;
    push_two(r, first, second);
    must(registry_set_alias(r, "news", "production", first, &err), &err);
    must(registry_gc(r, "news", 1, &gone, &n, &err), &err); /* the newest stays */
    assert_int_equal(n, 0);
    free(gone);
    must(registry_gc(r, "news", 0, &gone, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_string_equal(gone[0], second);
    free(gone[0]);
    free(gone);
    /* the leases of the push keep its chunk for a while, and then not */
    assert_int_equal(ask("SCARD", "rubric:{news}:chunks", NULL, NULL), 7);
    assert_true(ask("DEL", "rubric:{news}:leases", NULL, NULL) == 1);
    must(registry_gc(r, "news", 0, &gone, &n, &err), &err);
    free(gone);
    assert_int_equal(ask("SCARD", "rubric:{news}:chunks", NULL, NULL), 6);
    must(registry_verify(r, "news", first, &err), &err);
    registry_close(r);
}

/* A name of one of the chunks of the weights. */
static char *a_chunk(void)
{
    char sha[SHA256_HEX], *path = file_path("%s/model.safetensors", model), *data;
    size_t n;
    assert_int_equal(file_read(path, 1 << 24, &data, &n, NULL), 0);
    sha256_hex(data, CHUNK_BYTES, sha);
    free(data);
    free(path);
    return file_path("rubric:{news}:chunk:%s", sha);
}

static void test_damage(void **state)
{
    (void)state;
    struct registry *r = open_it();
    struct err err;
    char v[REGISTRY_VERSION], *dir = NULL, *chunk = a_chunk();
    must(registry_push(r, "news", model, v, &err), &err);
    assert_true(ask("APPEND", chunk, "x", NULL) > 1);
    refused(registry_fetch(r, "news", v, &dir, &err), &err, ERR_FORMAT, "2097153 bytes instead of");
    assert_true(ask("SETRANGE", chunk, "7", "y") > 1);
    assert_true(ask("DEL", chunk, NULL, NULL) == 1);
    refused(registry_verify(r, "news", v, &err), &err, ERR_INCOMPLETE,
            "5 of its 6 chunks are there");
    refused(registry_set_alias(r, "news", "production", v, &err), &err, ERR_INCOMPLETE, chunk);
    must(registry_push(r, "news", model, v, &err), &err); /* mends it */
    assert_true(ask("SET", chunk, "short", NULL) == 1);
    refused(registry_verify(r, "news", v, &err), &err, ERR_TRUNCATED, "5 bytes instead of");
    must(registry_push(r, "news", model, v, &err), &err);
    assert_true(ask("SETRANGE", chunk, "7", "y") > 1);
    must(registry_push(r, "news", model, v, &err), &err); /* of the same length, and still mended */
    assert_true(ask("SETRANGE", chunk, "7", "y") > 1);
    refused(registry_fetch(r, "news", v, &dir, &err), &err, ERR_FORMAT, "its bytes have the sum");
    assert_null(dir);
    char *key = file_path("rubric:{news}:version:%s", v);
    struct redis_target t;
    assert_int_equal(redis_target_parse(url, &t, &err), 0);
    struct redis *c = redis_open(&t);
    must(redis_do(c, REDIS_INT, false, NULL, &err, "HSET", key, "chunks", "0 zz 3\n", NULL), &err);
    refused(registry_verify(r, "news", v, &err), &err, ERR_FORMAT, "chunk line 1");
    must(redis_do(c, REDIS_INT, false, NULL, &err, "HSET", key, "manifest", "{\"format\":1}", NULL),
         &err);
    refused(registry_verify(r, "news", v, &err), &err, ERR_FORMAT, key);
    must(redis_do(c, REDIS_TEXT, false, NULL, &err, "SET", "rubric:{odd}:aliases", "no hash", NULL),
         &err);
    refused(registry_resolve(r, "odd", "production", v, &err), &err, ERR_FORMAT, "WRONGTYPE");
    redis_close(c);
    redis_target_done(&t);
    free(key);
    free(chunk);
    registry_close(r);
}

static void test_eviction(void **state)
{
    (void)state;
    struct registry *r = open_it();
    struct err err;
    char v[REGISTRY_VERSION];
    assert_true(ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru") == 1);
    must(registry_push(r, "news", model, v, &err), &err); /* nothing is evicted without a limit */
    assert_true(ask("CONFIG", "SET", "maxmemory", "500mb") == 1);
    refused(registry_push(r, "news", model, v, &err), &err, ERR_CONFIG,
            "maxmemory-policy is allkeys-lru");
    assert_true(ask("CONFIG", "SET", "maxmemory-policy", "noeviction") == 1);
    must(registry_push(r, "news", model, v, &err), &err);
    registry_close(r);
}

static void test_away(void **state)
{
    (void)state;
    struct registry *r = open_it();
    struct err err;
    char v[REGISTRY_VERSION], got[REGISTRY_VERSION], *dir;
    must(registry_push(r, "news", model, v, &err), &err);
    must(registry_set_alias(r, "news", "production", v, &err), &err);
    refused(registry_fetch_last(r, "news", "production", got, &dir, &err), &err, ERR_MISSING, "");
    must(registry_fetch(r, "news", v, &dir, &err), &err);
    free(dir);
    must(registry_note(r, "news", "production", v, &err), &err);
    stop_server();
    refused(registry_resolve(r, "news", "production", got, &err), &err, ERR_UNAVAILABLE,
            "redis://");
    must(registry_fetch_last(r, "news", "production", got, &dir, &err), &err);
    assert_string_equal(got, v);
    char *path = file_path("%s/labels.txt", dir);
    free(dir);
    assert_int_equal(file_replace(path, "a\nc\n", 4, NULL), 0); /* altered in the cache */
    refused(registry_fetch_last(r, "news", "production", got, &dir, &err), &err, ERR_MISSING, v);
    free(path);
    start_server(); /* empty */
    refused(registry_resolve(r, "news", "production", got, &err), &err, ERR_MISSING, "production");
    registry_close(r);
}

static void *push_it(void *arg)
{
    struct registry *r = open_it();
    struct err err;
    must(registry_push(r, "news", model, arg, &err), &err);
    registry_close(r);
    return NULL;
}

static void *promote_it(void *arg)
{
    struct registry *r = open_it();
    struct err err;
    for (int i = 0; i < 20; i++)
        must(registry_set_alias(r, "news", "production", arg, &err), &err);
    registry_close(r);
    return NULL;
}

static void *collect_it(void *arg)
{
    struct registry *r = open_it();
    struct err err;
    char **gone;
    size_t n;
    for (int i = 0; i < 50; i++) {
        must(registry_gc(r, "news", 0, &gone, &n, &err), &err);
        while (n-- > 0)
            free(gone[n]);
        free(gone);
    }
    registry_close(r);
    return arg;
}

static void test_together(void **state)
{
    (void)state;
    pthread_t a, b, c;
    char v[2][REGISTRY_VERSION], w[REGISTRY_VERSION], now[REGISTRY_VERSION];
    struct registry *r = open_it();
    struct registry_change *all;
    struct err err;
    size_t n;
    assert_int_equal(pthread_create(&a, NULL, push_it, v[0]), 0);
    assert_int_equal(pthread_create(&b, NULL, push_it, v[1]), 0);
    (void)pthread_join(a, NULL);
    (void)pthread_join(b, NULL);
    assert_string_equal(v[0], v[1]);
    must(registry_verify(r, "news", v[0], &err), &err);
    put("config.json", "{\"b\":2}", 7);
    must(registry_push(r, "news", model, w, &err), &err);
    must(registry_set_alias(r, "news", "other", v[0], &err), &err); /* gc leaves both */
    must(registry_set_alias(r, "news", "another", w, &err), &err);
    assert_int_equal(pthread_create(&a, NULL, promote_it, v[0]), 0);
    assert_int_equal(pthread_create(&b, NULL, promote_it, w), 0);
    assert_int_equal(pthread_create(&c, NULL, collect_it, NULL), 0);
    (void)pthread_join(a, NULL);
    (void)pthread_join(b, NULL);
    (void)pthread_join(c, NULL);
    must(registry_resolve(r, "news", "production", now, &err), &err);
    must(registry_verify(r, "news", now, &err), &err);
    must(registry_history(r, "news", &all, &n, &err), &err);
    char last[REGISTRY_VERSION] = "";
    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i].alias, "production") == 0) { /* each change begins where one ended */
            assert_string_equal(all[i].from, last);
            memcpy(last, all[i].to, sizeof last);
        }
    assert_string_equal(last, now);
    free(all);
    registry_close(r);
}

static int verify_dir(const char *dir, struct err *err)
{
    struct manifest m;
    if (manifest_read(&m, dir, err) != 0)
        return -1;
    int rc = manifest_verify(&m, dir, err);
    manifest_done(&m);
    return rc;
}

static void *collect_late(void *arg)
{
    struct registry *r = open_it();
    struct err err;
    char **list;
    size_t n;
    (void)usleep(*(useconds_t *)arg);
    must(registry_gc(r, "news", 0, &list, &n, &err), &err);
    while (n-- > 0)
        free(list[n]);
    free(list);
    registry_close(r);
    return NULL;
}

/* gc takes a version while it is fetched: what is fetched is whole, or it is said what is missing. */
static void test_gc_during_fetch(void **state)
{
    (void)state;
    struct registry *r = open_it();
    struct err err;
    int whole = 0, gone = 0;
    for (int i = 0; i < 20; i++) {
        char v[REGISTRY_VERSION], *dir = NULL, command[400];
        pthread_t collector;
        useconds_t late = (useconds_t)(i * i * i) * 30; /* up to 0.2 s */
        must(registry_push(r, "news", model, v, &err), &err);
        assert_true(ask("DEL", "rubric:{news}:leases", NULL, NULL) >= 0);
        (void)snprintf(command, sizeof command, "rm -rf '%s'", cache);
        assert_int_equal(system(command), 0);
        assert_int_equal(pthread_create(&collector, NULL, collect_late, &late), 0);
        if (registry_fetch(r, "news", v, &dir, &err) == 0)
            whole++;
        else if (err.code == ERR_MISSING || err.code == ERR_INCOMPLETE)
            gone++;
        else
            fail_msg("%s", err.msg);
        (void)pthread_join(collector, NULL);
        if (dir)
            must(verify_dir(dir, &err), &err);
        free(dir);
    }
    assert_true(whole > 0 && gone > 0); /* the moments were on either side */
    registry_close(r);
}

/* A push is killed at some moment; what stands is whole, and a second push completes it. */
static void test_killed_push(void **state)
{
    (void)state;
    struct registry *r = open_it();
    struct err err;
    for (int i = 0; i < 12; i++) {
        char text[20], v[REGISTRY_VERSION], **list;
        int status;
        size_t n;
        put("config.json", text, (size_t)snprintf(text, sizeof text, "{\"i\":%d}", i));
        pid_t child = fork();
        if (child == 0) {
            (void)push_it(v);
            _exit(0);
        }
        (void)usleep((unsigned)i * 2500);
        (void)kill(child, SIGKILL);
        assert_int_equal(waitpid(child, &status, 0), child);
        must(registry_list(r, "news", &list, &n, &err), &err);
        for (size_t k = 0; k < n; k++) {
            must(registry_verify(r, "news", list[k], &err), &err);
            free(list[k]);
        }
        free(list);
    }
    char v[REGISTRY_VERSION];
    must(registry_push(r, "news", model, v, &err), &err);
    must(registry_verify(r, "news", v, &err), &err);
    registry_close(r);
}

static void test_cache_is_bounded(void **state)
{
    (void)state;
    struct registry *r = open_it();
    struct err err;
    char first[REGISTRY_VERSION], second[REGISTRY_VERSION], *dir, *old;
    push_two(r, first, second);
    registry_set_cache(r, cache, 6 << 20); /* one of them */
    must(registry_fetch(r, "news", first, &old, &err), &err);
    must(registry_fetch(r, "news", second, &dir, &err), &err);
    assert_false(file_exists(old));
    assert_true(file_exists(dir));
    free(old);
    free(dir);
    registry_close(r);
}

static void test_urls(void **state)
{
    (void)state;
    static const char *const bad[] = {"redis:x",         "redis://",          "redis://h:0",
                                      "redis://h:99999", "redis://h/x",       "redis://h:1/-1",
                                      "redis://u:%zz@h", "redis://u:p%4@h/1", "redis://:p@:1"};
    struct registry *r;
    struct err err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(registry_open(bad[i], &r, &err), -1);
        assert_int_equal(err.code, ERR_CONFIG);
        assert_null(strstr(err.msg, "%zz"));
    }
    char with[100], v[REGISTRY_VERSION];
    (void)snprintf(with, sizeof with, "redis://:wrong@127.0.0.1:%d", port);
    assert_int_equal(registry_open(with, &r, &err), 0);
    refused(registry_resolve(r, "news", "x", v, &err), &err, ERR_CONFIG, "password");
    assert_null(strstr(err.msg, "wrong@"));
    registry_close(r);
}

#define ONE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(test_urls),
        ONE(test_life),
        ONE(test_moves_only_from_where_it_is),
        ONE(test_gc),
        ONE(test_damage),
        ONE(test_eviction),
        ONE(test_away),
        ONE(test_together),
        ONE(test_killed_push),
        ONE(test_gc_during_fetch),
        ONE(test_cache_is_bounded),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
