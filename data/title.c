#include "data/title.h"

#include "data/utf8.h"

enum title_fault title_check(const char *s, size_t n, size_t max, size_t *at)
{
    size_t ignored;
    if (!at)
        at = &ignored;
    *at = 0;
    if (n > max) {
        *at = max;
        return TITLE_TOO_LONG;
    }
    size_t good = utf8_prefix(s, n);
    if (good < n) {
        *at = good;
        return s[good] ? TITLE_INVALID_UTF8 : TITLE_NUL;
    }
    for (size_t i = 0; i < n;)
        if (!utf8_is_space(utf8_next(s, n, &i)))
            return TITLE_OK; /* nearly always after one character */
    return TITLE_EMPTY;
}

const char *title_fault_name(enum title_fault fault)
{
    static const char *const names[] = {
        [TITLE_OK] = "ok",
        [TITLE_INVALID_UTF8] = "invalid-utf8",
        [TITLE_NUL] = "nul-in-title",
        [TITLE_EMPTY] = "empty-title",
        [TITLE_TOO_LONG] = "title-too-long",
    };
    return names[fault];
}
