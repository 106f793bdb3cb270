/* What the codec's tests share: decoding a literal, and protobuf's wire format written a second
 * time. */
#ifndef TESTS_PROTO_FORMS_H
#define TESTS_PROTO_FORMS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "proto/codec.h"

enum { MAX_HEADLINES = 1000, MAX_MEMORY = 1 << 20 };

/* A copy without a byte behind it, so that a sanitizer sees the decoder read on. */
static inline int decode(struct codec *c, const void *value, size_t len,
                         const struct headline **items, size_t *n, struct err *err)
{
    static char *copy; /* items borrow from it until the next call */
    free(copy);
    copy = malloc(len ? len : 1);
    if (len)
        memcpy(copy, value, len);
    return codec_decode(c, copy, len, items, n, err);
}

static inline void decode_refused(struct codec *c, const void *value, size_t len,
                                  const char *message)
{
    const struct headline *items = NULL;
    size_t n = 77;
    struct err err = {0};
    assert_int_equal(decode(c, value, len, &items, &n, &err), -1);
    assert_string_equal(err.msg, message);
    assert_int_equal(err.code, ERR_FORMAT);
    assert_null(items);
    assert_int_equal(n, 77);
}

static inline void assert_headline(const struct headline *h, const char *id, const char *title,
                                   int64_t published)
{
    assert_int_equal(h->id_len, strlen(id));
    assert_memory_equal(h->id, id, h->id_len);
    assert_int_equal(h->title_len, strlen(title));
    assert_memory_equal(h->title, title, h->title_len);
    assert_int_equal(h->published_unix_ms, published);
}

static inline void put_varint(struct buf *b, uint64_t v)
{
    for (; v > 0x7F; v >>= 7)
        buf_put(b, (unsigned char[]){(unsigned char)(v | 0x80)}, 1);
    buf_put(b, (unsigned char[]){(unsigned char)v}, 1);
}

static inline void put_number(struct buf *b, unsigned field, uint64_t v)
{
    put_varint(b, (uint64_t)field << 3);
    put_varint(b, v);
}

static inline void put_bytes(struct buf *b, unsigned field, const void *bytes, size_t n)
{
    put_varint(b, (uint64_t)field << 3 | 2);
    put_varint(b, n);
    buf_put(b, bytes, n);
}

static inline void put_string(struct buf *b, unsigned field, const char *s)
{
    put_bytes(b, field, s, strlen(s));
}

#endif
