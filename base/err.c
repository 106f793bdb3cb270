#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    if (!err)
        return -1;
    char msg[sizeof err->msg]; /* the arguments may point into the old message */
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    err->code = code;
    err->retriable = false;
    memcpy(err->msg, msg, strlen(msg) + 1);
    return -1;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
    if (!err)
        return -1;
    char head[400];
    char tail[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    memcpy(tail, err->msg, sizeof tail);
    int n = snprintf(err->msg, sizeof err->msg, "%s: ", head);
    size_t used = (size_t)n < sizeof err->msg ? (size_t)n : sizeof err->msg - 1;
    size_t keep = strnlen(tail, sizeof err->msg - 1 - used);
    memcpy(err->msg + used, tail, keep);
    err->msg[used + keep] = '\0';
    return -1;
}

int err_exit_status(const struct err *err)
{
    switch (err->code) {
    case ERR_NONE:
        return 0;
    case ERR_USAGE:
        return 64;
    case ERR_CONFIG:
        return 78;
    case ERR_IO:
        return 74;
    case ERR_FORMAT:
    case ERR_TRUNCATED:
    case ERR_INCOMPLETE:
        return 65;
    case ERR_MISSING:
        return 66;
    case ERR_UNAVAILABLE:
        return 69;
    case ERR_CONFLICT:
    case ERR_NUMERIC:
    case ERR_CANCELLED:
        break;
    }
    return 70;
}

static void *checked(void *p)
{
    if (!p) {
        (void)fputs("out of memory\n", stderr);
        abort();
    }
    return p;
}

void *xmalloc(unsigned long size)
{
    return checked(malloc(size ? size : 1));
}

void *xcalloc(unsigned long n, unsigned long size)
{
    return checked(n && size ? calloc(n, size) : calloc(1, 1));
}

void *xrealloc(void *p, unsigned long size)
{
    return checked(realloc(p, size ? size : 1));
}

char *xstrdup(const char *s)
{
    return checked(strdup(s));
}
