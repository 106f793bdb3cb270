#include "data/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/err.h"

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

static bool is_ascii_sign(uint32_t c)
{
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
}

enum utf8_kind utf8_kind(uint32_t c)
{
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
        return UTF8_SPACE;
    if (c < 0x80)
        return c < ' ' || c == 0x7f ? UTF8_CONTROL
               : is_ascii_sign(c)   ? UTF8_PUNCTUATION
                                    : UTF8_LETTER;
    if (c == 0xfffd || c > 0x10ffff)
        return UTF8_CONTROL;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    switch (category) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
        return UTF8_CONTROL;
    case UTF8PROC_CATEGORY_MN:
        return UTF8_MARK;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return UTF8_PUNCTUATION;
    default:
        return utf8_is_space(c) ? UTF8_SPACE : UTF8_LETTER;
    }
}

bool utf8_is_ideograph(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b820 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

bool utf8_needs_context(uint32_t c, bool composed)
{
    if (c < 0x300)
        return false;
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)c);
    bool mark = p->category == UTF8PROC_CATEGORY_MN || p->category == UTF8PROC_CATEGORY_MC ||
                p->category == UTF8PROC_CATEGORY_ME;
    if (composed) /* hangul vowels and finals compose too */
        return mark || p->combining_class != 0 || (c >= 0x1160 && c <= 0x11ff);
    return p->combining_class != 0 && p->category != UTF8PROC_CATEGORY_MN;
}

int utf8_lower(uint32_t c, uint32_t out[UTF8_MAX_LOWER])
{
    if (c == 0x130) { /* the one character whose lower case is two, whatever the context */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = c > 0x10ffff ? c : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    return 1;
}

int utf8_decompose(uint32_t c, bool composed, uint32_t out[UTF8_MAX_DECOMPOSED])
{
    utf8proc_int32_t buf[UTF8_MAX_DECOMPOSED];
    int bound = 0;
    utf8proc_ssize_t n =
        c > 0x10ffff ? -1
                     : utf8proc_decompose_char((utf8proc_int32_t)c, buf, UTF8_MAX_DECOMPOSED,
                                               UTF8PROC_DECOMPOSE, &bound);
    if (n > 0 && n <= UTF8_MAX_DECOMPOSED && composed)
        n = utf8proc_normalize_utf32(buf, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    if (n <= 0 || n > UTF8_MAX_DECOMPOSED) {
        out[0] = c;
        return 1;
    }
    for (utf8proc_ssize_t i = 0; i < n; i++)
        out[i] = (uint32_t)buf[i];
    return (int)n;
}

static char *map(const char *s, size_t n, int how, size_t *len)
{
    utf8proc_uint8_t *out = NULL;
    utf8proc_ssize_t got = utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &out,
                                        (utf8proc_option_t)(UTF8PROC_STABLE | how));
    if (got < 0) { /* bytes that are no UTF-8 stay what they are */
        out = xmalloc(n + 1);
        memcpy(out, s, n);
        got = (utf8proc_ssize_t)n;
    }
    *len = (size_t)got;
    return (char *)out;
}

char *utf8_normalize(const char *s, size_t n, bool composed, size_t *len)
{
    return map(s, n, composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE, len);
}

bool utf8_is_digit(uint32_t c)
{
    return c <= 0x10ffff && utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND;
}

char *utf8_bare(const char *s, size_t n, size_t *len)
{
    char *text = map(s, n, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT, len);
    size_t to = 0;
    for (size_t i = 0; i < *len;) {
        size_t at = i;
        uint32_t c = utf8_next(text, *len, &i);
        if (c <= 0x10ffff && utf8proc_get_property((utf8proc_int32_t)c)->combining_class != 0)
            continue;
        memmove(text + to, text + at, i - at);
        to += i - at;
    }
    *len = to;
    return text;
}

char *utf8_lower_text(const char *s, size_t n, size_t *len)
{
    /* Two bytes may become three (U+023A), or one character of two bytes two of three (İ). */
    char *text = xmalloc(2 * n + 4);
    size_t to = 0;
    for (size_t i = 0; i < n;) {
        uint32_t lower[UTF8_MAX_LOWER], c = utf8_next(s, n, &i);
        int m = utf8_lower(c, lower);
        for (int k = 0; k < m; k++)
            to += utf8_encode(lower[k] & 0x1fffff, text + to);
    }
    *len = to;
    return text;
}
