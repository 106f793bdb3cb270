/* Runs a verb in a child process, as the program would, with its output in files. For the tests of
 * this folder. */
#ifndef TESTS_TRAINER_RUN_H
#define TESTS_TRAINER_RUN_H

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "trainer/verb.h"

#define TINY "tests/data/tiny"

static char run_dir[128]; /* a fresh directory for one test */
static long
    run_file_max; /* bytes a file may have in the child; 0: any. Stands in for a full disk */

static inline int run_setup(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    (void)snprintf(run_dir, sizeof run_dir, "%s/rubric-test-XXXXXX", base ? base : "/tmp");
    run_file_max = 0;
    return mkdtemp(run_dir) ? 0 : -1;
}

static inline int run_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline int run_teardown(void **state)
{
    (void)state;
    return nftw(run_dir, run_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* "%" in an argument becomes the test's directory. At most 40 arguments, ended by NULL. */
static inline pid_t run_start(const struct verb *verb, const char *const *args)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    char *argv[41];
    int argc = 0;
    for (; args[argc]; argc++) {
        const char *mark = strchr(args[argc], '%');
        argv[argc] =
            mark ? file_path("%.*s%s%s", (int)(mark - args[argc]), args[argc], run_dir, mark + 1)
                 : xstrdup(args[argc]);
    }
    char *out = file_path("%s/stdout", run_dir), *err = file_path("%s/stderr", run_dir);
    if (!freopen(out, "w", stdout) || !freopen(err, "w", stderr))
        _exit(99);
    free(out);
    free(err);
    if (run_file_max) {
        struct rlimit limit = {(rlim_t)run_file_max, (rlim_t)run_file_max};
        (void)signal(SIGXFSZ, SIG_IGN);
        (void)setrlimit(RLIMIT_FSIZE, &limit);
    }
    int status = verb_main(verb, argc, argv);
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    (void)fflush(NULL);
    _exit(status);
}

/* The exit status, or 1000 + the signal that ended the child. */
static inline int run_wait(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static inline int run_list(const struct verb *verb, const char *const *args)
{
    return run_wait(run_start(verb, args));
}

#define run_verb(verb, ...) run_list(&(verb), (const char *const[]){__VA_ARGS__, NULL})

/* A file of the test's directory, malloc'd; fails the test when it is missing. */
static inline char *run_read(const char *name, size_t *len)
{
    char *path = file_path("%s/%s", run_dir, name), *data;
    struct err err;
    if (file_read(path, (size_t)1 << 30, &data, len, &err) != 0)
        fail_msg("%s", err.msg);
    free(path);
    return data;
}

static inline void run_write(const char *name, const char *text)
{
    char *path = file_path("%s/%s", run_dir, name);
    assert_int_equal(file_replace(path, text, strlen(text), NULL), 0);
    free(path);
}

static inline bool run_exists(const char *name)
{
    char *path = file_path("%s/%s", run_dir, name);
    bool yes = file_exists(path);
    free(path);
    return yes;
}

static inline void run_expect_text(const char *name, const char *part)
{
    char *text = run_read(name, NULL);
    if (!strstr(text, part))
        fail_msg("%s lacks \"%s\":\n%s", name, part, text);
    free(text);
}

/* The first or last value of a key in a file of JSON lines; -1: none. */
static inline double run_number(const char *log, const char *key, bool last)
{
    double value = -1;
    char *text = run_read(log, NULL), *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        json_t *doc = json_parse(log, line, strlen(line), NULL);
        assert_non_null(doc);
        json_t *number = json_object_get(doc, key);
        if (number && (last || value < 0))
            value = json_number_value(number);
        json_decref(doc);
    }
    free(text);
    return value;
}

static inline void run_expect_same(const char *a, const char *b)
{
    size_t x, y;
    char *left = run_read(a, &x), *right = run_read(b, &y);
    if (x != y || memcmp(left, right, x) != 0)
        fail_msg("%s and %s differ", a, b);
    free(left);
    free(right);
}

#endif
