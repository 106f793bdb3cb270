#include "worker/ask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void refused(const char *body, const char *why)
{
    struct ask a;
    struct err err;
    assert_int_equal(ask_parse(&a, body, strlen(body), &err), -1);
    if (!strstr(err.msg, why))
        fail_msg("\"%s\" is refused with \"%s\", not \"%s\"", body, err.msg, why);
    assert_null(a.body);
}

static void one_or_a_list(void **state)
{
    (void)state;
    struct ask a;
    struct err err;
    assert_int_equal(ask_parse(&a, "{\"title\":\"x\"}", 13, &err), 0);
    assert_true(a.title && !a.titles && a.n == 1 && a.top == 1);
    ask_done(&a);
    ask_done(&a);
    const char *list = "{\"top\":3,\"titles\":[\"x\",\"\"]}";
    assert_int_equal(ask_parse(&a, list, strlen(list), &err), 0);
    assert_true(!a.title && a.titles && a.n == 2 && a.top == 3);
    ask_done(&a);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    refused("", "body");
    refused("{", "body");
    refused("[\"x\"]", "expected a JSON object");
    refused("{}", "one of the two");
    refused("{\"title\":\"x\",\"titles\":[\"x\"]}", "one of the two");
    refused("{\"title\":7}", "title: expected a string");
    refused("{\"titles\":\"x\"}", "titles: expected a list of 1 to 1024");
    refused("{\"titles\":[]}", "titles: expected a list of 1 to 1024");
    refused("{\"titles\":[\"x\",null]}", "titles[1]: expected a string");
    refused("{\"title\":\"x\",\"topp\":1}", "unknown field \"topp\"");
    refused("{\"title\":\"x\",\"top\":0}", "top");
    refused("{\"title\":\"x\",\"top\":\"1\"}", "top");
    refused("{\"title\":\"a\\u0000b\"}", "body");
}

static void bounds(void **state)
{
    (void)state;
    struct ask a;
    struct err err;
    struct buf b;
    buf_init(&b, 8 << 20);
    buf_puts(&b, "{\"titles\":[\"x\"");
    for (int i = 1; i <= ASK_MAX_TITLES; i++)
        buf_puts(&b, ",\"x\"");
    buf_puts(&b, "]}");
    assert_int_equal(ask_parse(&a, b.data, b.len, &err), -1);
    assert_non_null(strstr(err.msg, "1 to 1024"));
    buf_reset(&b);
    for (size_t i = 0; i <= ASK_MAX_BYTES; i++)
        buf_put(&b, " ", 1);
    assert_int_equal(ask_parse(&a, b.data, b.len, &err), -1);
    assert_string_equal(err.msg, "the body is too large");
    buf_reset(&b);
    while (b.len + 4 < ASK_MAX_BYTES) /* as a document fifty times its length */
        buf_puts(&b, "[[],");
    assert_int_equal(ask_parse(&a, b.data, b.len, &err), -1);
    buf_done(&b);
}

static void errors_are_json(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    ask_error(&b, "near \xe4\xb8 and \xff\"\xe4\xb8\x80");
    assert_string_equal(b.data, "{\"error\":\"near ?? and ?\\\"\xe4\xb8\x80\"}");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_or_a_list),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(bounds),
        cmocka_unit_test(errors_are_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
