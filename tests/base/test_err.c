#include "tests/base/scratch.h"

static void sets_code_and_message(void **state)
{
    (void)state;
    struct err e = {.retriable = true};
    assert_int_equal(err_set(&e, ERR_FORMAT, "line %d", 3), -1);
    assert_error(&e, ERR_FORMAT, "line 3");
    assert_false(e.retriable);
    assert_int_equal(err_set(NULL, ERR_IO, "nobody listens"), -1);
    assert_int_equal(err_prefix(NULL, "nobody"), -1);
}

static void may_quote_its_own_message(void **state)
{
    (void)state;
    struct err e;
    (void)err_set(&e, ERR_IO, "inner");
    (void)err_set(&e, ERR_CONFIG, "outer (%s)", e.msg);
    assert_error(&e, ERR_CONFIG, "outer (inner)");
}

static void prefixes(void **state)
{
    (void)state;
    struct err e;
    (void)err_set(&e, ERR_MISSING, "gone");
    assert_int_equal(err_prefix(&e, "file %s", "a"), -1);
    assert_error(&e, ERR_MISSING, "file a: gone");
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    struct err e;
    char big[3000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    (void)err_set(&e, ERR_IO, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    (void)err_prefix(&e, "%s", big);
    assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
    assert_non_null(strstr(e.msg, ": xxx")); /* the prefix is cut so that the message still shows */
}

static void exit_status(void **state)
{
    (void)state;
    static const struct {
        enum err_code code;
        int status;
    } table[] = {
        {ERR_NONE, 0},     {ERR_USAGE, 64},     {ERR_CONFIG, 78},      {ERR_IO, 74},
        {ERR_FORMAT, 65},  {ERR_MISSING, 66},   {ERR_UNAVAILABLE, 69}, {ERR_CONFLICT, 70},
        {ERR_NUMERIC, 70}, {ERR_CANCELLED, 70},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct err e = {.code = table[i].code};
        assert_int_equal(err_exit_status(&e), table[i].status);
    }
}

static void memory_of_size_zero(void **state)
{
    (void)state;
    void *a = xmalloc(0), *b = xcalloc(0, 8), *c = xrealloc(NULL, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    free(a);
    free(b);
    free(c);
    char *s = xstrdup("copy");
    assert_string_equal(s, "copy");
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_code_and_message),
        cmocka_unit_test(may_quote_its_own_message),
        cmocka_unit_test(prefixes),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(exit_status),
        cmocka_unit_test(memory_of_size_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
