/* A growable byte buffer that is born with a hard maximum: what comes from outside cannot make it
 * grow without bound. Appending past the maximum sets `full` and drops the bytes; check it once at
 * the end. data is NUL-terminated when non-NULL. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data;
    size_t len, cap, max;
    bool full;
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b);  /* safe on a zeroed or already finished buffer */
void buf_reset(struct buf *b); /* len = 0, memory kept */
void buf_put(struct buf *b, const void *bytes, size_t n);
void buf_puts(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Appends s[0..n) as the inside of a JSON string (RFC 8259 escapes; s must be valid UTF-8). */
void buf_put_json(struct buf *b, const char *s, size_t n);
char *buf_take(
    struct buf *b); /* ownership leaves: a malloc'd NUL-terminated string; b is empty afterwards */

#endif
