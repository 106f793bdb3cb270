#include "data/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/utf8.h"

/* One name from a line without its end. */
static int check_name(const struct classes *c, const char *s, size_t n, struct err *err)
{
    size_t good = utf8_prefix(s, n);
    if (good < n)
        return err_set(err, ERR_FORMAT, s[good] ? "invalid UTF-8 (byte %zu)" : "a NUL (byte %zu)",
                       good + 1);
    if (!n)
        return err_set(err, ERR_FORMAT, "an empty class name");
    if (n > DATASET_MAX_CLASS_NAME)
        return err_set(err, ERR_FORMAT, "a class name of %zu bytes, at most %d are allowed", n,
                       DATASET_MAX_CLASS_NAME);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < ' ' || s[i] == 0x7f)
            return err_set(err, ERR_FORMAT, "a control character in a class name (byte %zu)",
                           i + 1);
    for (int32_t i = 0; i < c->n; i++)
        if (strlen(c->names[i]) == n && memcmp(c->names[i], s, n) == 0)
            return err_set(err, ERR_FORMAT, "class \"%.*s\" again, it is on line %d already",
                           (int)n, s, (int)i + 1);
    if (c->n == DATASET_MAX_CLASSES)
        return err_set(err, ERR_FORMAT, "more than %d classes", DATASET_MAX_CLASSES);
    return 0;
}

static int parse(const char *path, const char *text, size_t len, struct classes *c, struct err *err)
{
    const char *p = text, *end = text + len;
    if (len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3;
    while (end > p && (end[-1] == '\n' || end[-1] == '\r'))
        end--; /* blank lines at the end */
    while (p < end) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((eol ? eol : end) - p);
        const char *next = eol ? eol + 1 : end;
        while (n && (p[n - 1] == ' ' || p[n - 1] == '\t' || p[n - 1] == '\r'))
            n--;
        if (check_name(c, p, n, err) != 0)
            return err_prefix(err, "%s:%d", path, (int)c->n + 1);
        char *name = xmalloc(n + 1);
        memcpy(name, p, n);
        name[n] = '\0';
        c->names[c->n++] = name;
        p = next;
    }
    return c->n ? 0 : err_set(err, ERR_FORMAT, "%s: no class name in it", path);
}

int classes_parse(const char *name, const char *text, size_t len, struct classes *c,
                  struct err *err)
{
    struct classes got = {.names = xcalloc(DATASET_MAX_CLASSES, sizeof *got.names)};
    if (parse(name, text, len, &got, err) != 0) {
        classes_done(&got);
        return -1;
    }
    *c = got;
    return 0;
}

int classes_read(const char *path, struct classes *c, struct err *err)
{
    char *text;
    size_t len;
    if (file_read(path, 1 << 20, &text, &len, err) != 0)
        return -1;
    int rc = classes_parse(path, text, len, c, err);
    free(text);
    return rc;
}

void classes_done(struct classes *c)
{
    for (int32_t i = 0; i < c->n; i++)
        free(c->names[i]);
    free(c->names);
    *c = (struct classes){0};
}

int32_t classes_find(const struct classes *c, const char *name, size_t len)
{
    for (int32_t i = 0; i < c->n; i++)
        if (strlen(c->names[i]) == len && memcmp(c->names[i], name, len) == 0)
            return i;
    int32_t index = 0;
    if (!len || len > 6)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (name[i] < '0' || name[i] > '9')
            return -1;
        index = index * 10 + (name[i] - '0');
    }
    return index < c->n ? index : -1;
}
