#include "tests/base/scratch.h"

#include "data/title.h"

static void verdicts(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        size_t n, max;
        enum title_fault fault;
        size_t at;
    } table[] = {
        {"a", 1, 10, TITLE_OK, 0},
        {"\xe4\xb8\xad\xe6\x96\x87", 6, 6, TITLE_OK, 0},
        {" a ", 3, 10, TITLE_OK, 0},
        {"\xf0\x9f\x98\x80", 4, 10, TITLE_OK, 0},
        {"\xe2\x80\x8b", 3, 10, TITLE_OK,
         0}, /* a zero-width space is no white space; it becomes [UNK] */
        {"", 0, 10, TITLE_EMPTY, 0},
        {" \t\r\n", 4, 10, TITLE_EMPTY, 0},
        {"\xe3\x80\x80\xc2\xa0\xe2\x80\x83", 8, 10, TITLE_EMPTY, 0},
        {"abc", 3, 2, TITLE_TOO_LONG, 2},
        {"\xff\xff\xff", 3, 2, TITLE_TOO_LONG, 2}, /* the bound is checked first */
        {"ab\0c", 4, 10, TITLE_NUL, 2},
        {"\0", 1, 10, TITLE_NUL, 0},
        {"ab\xff", 3, 10, TITLE_INVALID_UTF8, 2},
        {"\xe4\xb8\xad\xe6\x96", 5, 10, TITLE_INVALID_UTF8, 3}, /* truncated */
        {"a\xc0\x80", 3, 10, TITLE_INVALID_UTF8, 1},            /* overlong NUL */
        {"a\xed\xa0\x80", 4, 10, TITLE_INVALID_UTF8, 1},        /* surrogate */
        {"a\xf4\x90\x80\x80", 5, 10, TITLE_INVALID_UTF8, 1},    /* past U+10FFFF */
        {"a\x80", 2, 10, TITLE_INVALID_UTF8, 1},
        {"\xff\0", 2, 10, TITLE_INVALID_UTF8, 0}, /* the first fault counts */
        {"\0\xff", 2, 10, TITLE_NUL, 0},
        {" \xff", 2, 10, TITLE_INVALID_UTF8, 1},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        size_t at = 99;
        /* In a block of its own size, so that a sanitizer sees a byte read too many. */
        char *s = xmalloc(table[i].n);
        memcpy(s, table[i].s, table[i].n);
        assert_int_equal(title_check(s, table[i].n, table[i].max, &at), table[i].fault);
        assert_int_equal(at, table[i].at);
        assert_int_equal(title_check(s, table[i].n, table[i].max, NULL), table[i].fault);
        free(s);
    }
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(title_fault_name(TITLE_OK), "ok");
    assert_string_equal(title_fault_name(TITLE_INVALID_UTF8), "invalid-utf8");
    assert_string_equal(title_fault_name(TITLE_NUL), "nul-in-title");
    assert_string_equal(title_fault_name(TITLE_EMPTY), "empty-title");
    assert_string_equal(title_fault_name(TITLE_TOO_LONG), "title-too-long");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(verdicts), cmocka_unit_test(names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
