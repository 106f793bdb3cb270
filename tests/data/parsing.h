/* Helpers of the dataset tests: parse a text, compare what came out. */
#ifndef TESTS_DATA_PARSING_H
#define TESTS_DATA_PARSING_H

#include "tests/base/scratch.h"

#include "data/dataset.h"

static char *parsing_names[] = {"finance", "sports", "game", "2008"};
static const struct classes parsing_classes = {parsing_names, 4};

/* From a block of the text's own size, so that a sanitizer sees a byte read too many. */
static inline int parsing_run(const char *name, const char *text, size_t n,
                              const struct dataset_options *opt, struct dataset *d, struct err *err)
{
    char *copy = xmalloc(n);
    memcpy(copy, text, n);
    int rc = dataset_parse(name, copy, n, &parsing_classes, opt, d, err);
    free(copy);
    return rc;
}

/* Every title as "label:title" and a '|' behind it. */
static inline void parsing_accepted(const char *name, const char *text, size_t n,
                                    const char *expected)
{
    struct err e;
    struct dataset d;
    char got[2000];
    size_t used = 0;
    if (parsing_run(name, text, n, NULL, &d, &e) != 0)
        fail_msg("%s", e.msg);
    got[0] = '\0';
    for (size_t i = 0; i < d.n; i++)
        used += (size_t)snprintf(got + used, sizeof got - used, "%d:%.*s|", (int)d.labels[i],
                                 (int)(d.offset[i + 1] - d.offset[i]), d.text + d.offset[i]);
    assert_string_equal(got, expected);
    assert_int_equal(d.offset[0], 0);
    assert_int_equal(d.skipped, 0);
    dataset_done(&d);
    dataset_done(&d);
}

static inline void parsing_refused(const char *name, const char *text, size_t n,
                                   const char *expected)
{
    struct err e;
    struct dataset d = {.n = 77};
    assert_int_equal(parsing_run(name, text, n, NULL, &d, &e), -1);
    assert_error(&e, ERR_FORMAT, expected);
    assert_int_equal(d.n, 77);
    assert_null(d.text);
    assert_int_equal(parsing_run(name, text, n, NULL, &d, NULL), -1);
}

#define ACCEPTED(name, text, expected) parsing_accepted(name, text, sizeof text - 1, expected)
#define REFUSED(name, text, expected) parsing_refused(name, text, sizeof text - 1, expected)

#endif
