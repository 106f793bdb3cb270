/* A temporary folder for one test program: made on first use, removed with its files by
 * scratch_done. */
#ifndef TESTS_BASE_SCRATCH_H
#define TESTS_BASE_SCRATCH_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/file.h"

static char scratch_path[256];

static inline const char *scratch_dir(void)
{
    if (!scratch_path[0]) {
        const char *tmp = getenv("TMPDIR");
        (void)snprintf(scratch_path, sizeof scratch_path, "%.200s/rubric-test-XXXXXX",
                       tmp && *tmp ? tmp : "/tmp");
        if (!mkdtemp(scratch_path))
            abort();
    }
    return scratch_path;
}

/* DIR/name, malloc'd. */
static inline char *scratch_file(const char *name)
{
    return file_path("%s/%s", scratch_dir(), name);
}

/* Writes DIR/name; returns its path, malloc'd. */
static inline char *scratch_write(const char *name, const void *data, size_t n)
{
    char *path = scratch_file(name);
    FILE *f = fopen(path, "wb");
    if (!f || (n && fwrite(data, 1, n, f) != n) || fclose(f) != 0)
        abort();
    return path;
}

static inline int scratch_done(void **state)
{
    (void)state;
    return scratch_path[0] ? file_remove_dir(scratch_path, NULL) : 0;
}

/* The message must be exactly `expected` behind the folder's name. */
static inline void assert_error(const struct err *err, enum err_code code, const char *expected)
{
    const char *msg = err->msg;
    size_t n = strlen(scratch_path);
    if (n && strncmp(msg, scratch_path, n) == 0 && msg[n] == '/')
        msg += n + 1;
    assert_string_equal(msg, expected);
    assert_int_equal(err->code, code);
}

#endif
