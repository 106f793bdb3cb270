/* Errors as values. A library function returns 0, or -1 (or NULL) with the reason in *err; programs
 * decide what to log. The struct lives on the caller's stack; nothing is allocated, so an error can
 * always be reported. Thread rule: one struct err belongs to one thread at a time. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdbool.h>

enum err_code {
    ERR_NONE = 0,
    ERR_USAGE,       /* the command line is wrong */
    ERR_CONFIG,      /* an option or a config file is wrong */
    ERR_IO,          /* the operating system refused; see errno text in the message */
    ERR_FORMAT,      /* bytes from outside break their format */
    ERR_TRUNCATED,   /* fewer bytes from outside than were said to be there */
    ERR_MISSING,     /* something named does not exist */
    ERR_INCOMPLETE,  /* it exists, but a part of it does not */
    ERR_CONFLICT,    /* two facts contradict each other, or somebody else holds it */
    ERR_UNAVAILABLE, /* a service does not answer */
    ERR_NUMERIC,     /* NaN or infinity where none may be */
    ERR_CANCELLED    /* stopped on request */
};

struct err {
    enum err_code code;
    bool retriable; /* the same call may succeed later */
    char msg[1000];
};

/* Sets code and message; always returns -1, so that `return err_set(…)` reads well. err may be
 * NULL. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the message that is there (the file being read, the option being set).
 * Returns -1. */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Exit status of a program for an error: 64 usage, 78 config, 69 unavailable, 74 I/O, 65 bad data,
 * 70 otherwise (sysexits). */
int err_exit_status(const struct err *err);

/* Out of memory has one answer: a line on stderr and abort. These never return NULL (for size 0
 * neither). */
void *xmalloc(unsigned long size);
void *xcalloc(unsigned long n, unsigned long size);
void *xrealloc(void *p, unsigned long size);
char *xstrdup(const char *s);

#endif
