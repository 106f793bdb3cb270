/* registry_lock.h: one holder, tokens that only grow, and no change by a holder that lost it. */
#include "models/registry_lock.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/base/scratch.h"

static char root[300], url[340];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(root, sizeof root, "%s/r", scratch_dir());
    (void)snprintf(url, sizeof url, "dir:%s", root);
    return file_mkdirs(root, NULL);
}

static int teardown(void **state)
{
    (void)state;
    char command[400];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void put(const char *path, const char *text)
{
    char *full = file_path("%s/%s", root, path);
    FILE *f = fopen(full, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    free(full);
}

static struct registry *open_it(void)
{
    struct registry *r;
    assert_int_equal(registry_open(url, &r, NULL), 0);
    return r;
}

static struct registry_lock *take(struct registry *r)
{
    struct registry_lock *l;
    struct err err;
    if (registry_lock_take(url, r, "news", &l, &err) != 0)
        fail_msg("%s", err.msg);
    return l;
}

static void expect_refused(struct registry *r, enum err_code code, const char *part)
{
    struct registry_lock *l = NULL;
    struct err err = {0};
    assert_int_equal(registry_lock_take(url, r, "news", &l, &err), -1);
    assert_null(l);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, part))
        fail_msg("\"%s\" lacks \"%s\"", err.msg, part);
}

/* Two versions that differ in their weights. */
static void push_two(struct registry *r, char versions[2][REGISTRY_VERSION])
{
    char *dir = file_path("%s/model", root);
    assert_int_equal(file_mkdirs(dir, NULL), 0);
    put("model/config.json", "{}");
    for (int i = 0; i < 2; i++) {
        put("model/model.safetensors", i ? "new" : "old");
        assert_int_equal(registry_push(r, "news", dir, versions[i], NULL), 0);
    }
    free(dir);
}

static void tokens_grow(void **state)
{
    (void)state;
    struct registry *r = open_it();
    for (long long i = 1; i <= 3; i++) {
        struct registry_lock *l = take(r);
        assert_int_equal(registry_lock_token(l), i);
        expect_refused(r, ERR_CONFLICT, "/news/.lock: another job works on this model: ");
        expect_refused(r, ERR_CONFLICT, " process ");
        registry_lock_release(l);
    }
    registry_lock_release(NULL);
    registry_close(r);
}

/* A holder that dies gives the lock back; its token is not used again. */
static void killed_holder(void **state)
{
    (void)state;
    struct registry *r = open_it();
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)take(r);
        _exit(write(ready[1], "x", 1) == 1 ? pause() : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    expect_refused(r, ERR_CONFLICT, "another job works on this model");
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    struct registry_lock *l = take(r);
    assert_int_equal(registry_lock_token(l), 2);
    registry_lock_release(l);
    (void)close(ready[0]);
    (void)close(ready[1]);
    registry_close(r);
}

static void expect_at(struct registry *r, const char *version)
{
    char now[REGISTRY_VERSION] = "";
    (void)registry_resolve(r, "news", "production", now, NULL);
    assert_string_equal(now, version);
}

static void promotes(void **state)
{
    (void)state;
    struct registry *r = open_it();
    struct err err = {0};
    char v[2][REGISTRY_VERSION];
    push_two(r, v);
    struct registry_lock *l = take(r);
    assert_int_equal(registry_lock_promote(l, "production", v[0], v[1], &err), -1);
    assert_int_equal(err.code, ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "names nothing now, not "));
    expect_at(r, "");
    assert_int_equal(registry_lock_promote(l, "production", "", v[0], &err), 0);
    expect_at(r, v[0]);
    assert_int_equal(registry_lock_promote(l, "production", "", v[1], &err), -1);
    expect_at(r, v[0]);
    assert_int_equal(registry_lock_promote(l, "production", v[0], v[1], &err), 0);
    expect_at(r, v[1]);
    assert_int_equal(registry_lock_promote(l, "production", v[1], "00000000000000aa", &err), -1);
    assert_int_equal(err.code, ERR_MISSING);
    expect_at(r, v[1]);
    registry_lock_release(l);
    registry_close(r);
}

/* Somebody removed the file, and another job took a new one: the first may move nothing. */
static void fenced(void **state)
{
    (void)state;
    struct registry *r = open_it();
    struct err err = {0};
    char v[2][REGISTRY_VERSION], *path = file_path("%s/news/.lock", root);
    push_two(r, v);
    struct registry_lock *old = take(r);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(registry_lock_promote(old, "production", "", v[0], &err), -1);
    assert_int_equal(err.code, ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "the lock is lost"));
    struct registry_lock *new = take(r);
    assert_int_equal(registry_lock_promote(old, "production", "", v[0], &err), -1);
    expect_at(r, "");
    assert_int_equal(registry_lock_promote(new, "production", "", v[1], &err), 0);
    /* Where flock does not reach (a file system that only pretends), the token still tells. */
    put("news/.lock", "0000000000000000009 elsewhere process 1\n");
    assert_int_equal(registry_lock_promote(new, "production", v[1], v[0], &err), -1);
    assert_non_null(strstr(err.msg, "token 1 is stale: elsewhere process 1 has taken 9 since"));
    expect_at(r, v[1]);
    registry_lock_release(old);
    registry_lock_release(new);
    free(path);
    registry_close(r);
}

static void refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {"x", "-1 a\n", "12", "7x a\n", "99999999999999999999 a\n",
                                      "\n"};
    struct registry *r = open_it();
    struct registry_lock *l = NULL;
    struct err err = {0};
    registry_lock_release(take(r));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("news/.lock", bad[i]);
        expect_refused(r, ERR_FORMAT, "/news/.lock: expected \"TOKEN OWNER\", found \"");
    }
    put("news/.lock", "41 somebody\n");
    l = take(r);
    assert_int_equal(registry_lock_token(l), 42);
    registry_lock_release(l);
    assert_int_equal(registry_lock_take(url, r, "../x", &l, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_int_equal(registry_lock_take("ftp://x", r, "news", &l, &err), -1);
    assert_int_equal(err.code, ERR_CONFIG);
    registry_close(r);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {T(tokens_grow), T(killed_holder), T(promotes), T(fenced),
                                       T(refusals)};
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
