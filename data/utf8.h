/* Code points: checking, decoding, and the folding that training and serving share. data/utf8.c
 * owns utf8proc. Everything here is pure and cannot fail. UTF-8 is what RFC 3629 says: no overlong
 * forms, no surrogates, at most U+10FFFF. */
#ifndef DATA_UTF8_H
#define DATA_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the longest prefix of s[0..n) that is valid UTF-8 without NUL; n when all of it is.
 * What stands there otherwise is a NUL or the first byte of a broken sequence. */
size_t utf8_prefix(const char *s, size_t n);

/* Decodes the character at s; returns its length in bytes (1 to 4), 0 when n is 0 or the bytes are
 * no valid character. */
size_t utf8_decode(const char *s, size_t n, uint32_t *code_point);

size_t utf8_encode(uint32_t code_point, char out[4]); /* its length; code_point is a valid one */

/* The next code point of text that is known to be valid, moving *i. Never reads at or past n,
 * whatever the bytes; on broken bytes the value is meaningless but below 0x200000, and *i still
 * moves. */
static inline uint32_t utf8_next(const char *s, size_t n, size_t *i)
{
    const unsigned char *p = (const unsigned char *)s + *i;
    size_t left = n - *i;
    uint32_t c = p[0];
    if (c < 0x80) {
        *i += 1;
        return c;
    }
    if (c >= 0xe0 && c < 0xf0 && left >= 3) {
        *i += 3;
        return (c & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    }
    if (c < 0xe0 && left >= 2) {
        *i += 2;
        return (c & 0x1f) << 6 | (p[1] & 0x3f);
    }
    if (c >= 0xf0 && left >= 4) {
        *i += 4;
        return (c & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 | (uint32_t)(p[2] & 0x3f) << 6 |
               (p[3] & 0x3f);
    }
    *i = n;
    return 0xfffd;
}

/* Unicode White_Space (PropList.txt; the set has not changed since Unicode 6.3). */
bool utf8_is_space(uint32_t code_point);

/* Normalisation of one code point: ' ' for white space; UTF8_DROP for other control (Cc) and format
 * (Cf) characters; else its simple lower-case form, itself where it has none.
 * utf8_fold(utf8_fold(c)) == utf8_fold(c). */
#define UTF8_DROP UINT32_MAX
uint32_t utf8_fold(uint32_t code_point);

/* What BERT's tokenizer asks of a character (data/wordpiece.h). */
enum utf8_kind {
    UTF8_LETTER,      /* none of the others */
    UTF8_SPACE,       /* utf8_is_space(), but controls other than tab, newline and return */
    UTF8_CONTROL,     /* any category C: control, format, unassigned, private, surrogate; U+FFFD */
    UTF8_MARK,        /* category Mn: what is stripped as an accent */
    UTF8_PUNCTUATION, /* any category P, and all of ASCII's that are no letters or digits */
};
enum utf8_kind utf8_kind(uint32_t code_point);
/* CJK ideographs by block, with the compatibility ones, without kana and hangul. */
bool utf8_is_ideograph(uint32_t code_point);
/* Is the result of normalising text with this character in it more than that of its characters one
 * by one?  Marks that may compose with what stands before (composed), or that may change places. */
bool utf8_needs_context(uint32_t code_point, bool composed);
/* Full lower case (SpecialCasing.txt without conditions: İ becomes two). */
#define UTF8_MAX_LOWER 2
int utf8_lower(uint32_t code_point, uint32_t out[UTF8_MAX_LOWER]);
/* Canonical decomposition of one character, or its composed form; their number. */
#define UTF8_MAX_DECOMPOSED 18
int utf8_decompose(uint32_t code_point, bool composed, uint32_t out[UTF8_MAX_DECOMPOSED]);
/* s[0..n), valid, in normal form C (composed) or D; malloc'd, its length in *len. */
char *utf8_normalize(const char *s, size_t n, bool composed, size_t *len);

/* Category Nd: a decimal digit of any script. */
bool utf8_is_digit(uint32_t code_point);
/* s[0..n), valid, decomposed by compatibility, without characters of a combining class; and s in
 * lower case, character by character.  malloc'd, the length in *len. */
char *utf8_bare(const char *s, size_t n, size_t *len);
char *utf8_lower_text(const char *s, size_t n, size_t *len);

/* Code points from here on fold to themselves, but for plane 14's first block (tags, dropped). */
#define UTF8_FOLD_END 0x20000
#define UTF8_TAGS 0xe0000
#define UTF8_TAGS_END 0xe0100

#endif
