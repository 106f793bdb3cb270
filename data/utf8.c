#include "data/utf8.h"

#include <string.h>
#include <utf8proc.h>

static inline bool continues(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* The length of the multi-byte character at p (p[0] >= 0x80), 0 when it is none: table 3-7 of the
 * Unicode Standard. */
static inline size_t sequence(const unsigned char *p, size_t left)
{
    unsigned char c = p[0];
    if (c >= 0xe0 && c < 0xf0) {
        if (left < 3 || !continues(p[1]) || !continues(p[2]))
            return 0;
        if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f))
            return 0; /* overlong; surrogate */
        return 3;
    }
    if (c >= 0xc2 && c < 0xe0)
        return left >= 2 && continues(p[1]) ? 2 : 0;
    if (c < 0xf0 || c > 0xf4 || left < 4 || !continues(p[1]) || !continues(p[2]) ||
        !continues(p[3]))
        return 0;
    if ((c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
        return 0; /* overlong; past U+10FFFF */
    return 4;
}

/* Most characters of a Chinese headline have three bytes: one load and one mask tell such a one,
 * but for the two lead bytes that forbid some second bytes. Reads four bytes. */
static inline bool plain_three(const unsigned char *p)
{
    static const unsigned char mask[4] = {0xf0, 0xc0, 0xc0, 0}, want[4] = {0xe0, 0x80, 0x80, 0};
    uint32_t m, w, got;
    memcpy(&m, mask, 4);
    memcpy(&w, want, 4);
    memcpy(&got, p, 4);
    return (got & m) == w && p[0] != 0xe0 && p[0] != 0xed;
}

size_t utf8_prefix(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0;
    while (i < n) {
        if (n - i >= 4 && plain_three(p + i)) {
            i += 3;
            continue;
        }
        if (p[i] < 0x80) {
            if (!p[i])
                break;
            i++;
            continue;
        }
        size_t len = sequence(p + i, n - i);
        if (!len)
            break;
        i += len;
    }
    return i;
}

size_t utf8_decode(const char *s, size_t n, uint32_t *code_point)
{
    if (!n)
        return 0;
    size_t len = (unsigned char)s[0] < 0x80 ? 1 : sequence((const unsigned char *)s, n), i = 0;
    if (len)
        *code_point = utf8_next(s, len, &i);
    return len;
}

size_t utf8_encode(uint32_t c, char out[4])
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

bool utf8_is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= '\t' && c <= '\r');
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

uint32_t utf8_fold(uint32_t c)
{
    if (utf8_is_space(c))
        return ' ';
    if (c > 0x10ffff)
        return c;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    if (category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF)
        return UTF8_DROP;
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
}
