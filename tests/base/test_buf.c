#include "tests/base/scratch.h"

#include "base/buf.h"

static void grows_and_stays_terminated(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100000);
    for (int i = 0; i < 1000; i++) {
        buf_printf(&b, "%03d,", i);
        assert_int_equal(b.data[b.len], '\0');
    }
    assert_int_equal(b.len, 4000);
    assert_memory_equal(b.data + 3996, "999,", 5);
    buf_put(&b, "\0x", 2);
    assert_int_equal(b.len, 4002);
    assert_false(b.full);
    buf_reset(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    buf_done(&b);
    buf_done(&b);
    assert_null(b.data);
}

static void never_passes_its_maximum(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5);
    buf_puts(&b, "abcde");
    assert_false(b.full);
    buf_puts(&b, "f");
    assert_true(b.full);
    assert_string_equal(b.data, "abcde");
    buf_put(&b, "", 0); /* full is sticky */
    assert_true(b.full);
    buf_reset(&b);
    buf_printf(&b, "%d", 123456);
    assert_true(b.full);
    assert_int_equal(b.len, 0);
    buf_done(&b);
}

static void take_leaves_it_empty(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 3);
    char *s = buf_take(&b);
    assert_string_equal(s, "");
    free(s);
    buf_puts(&b, "abc");
    buf_puts(&b, "d");
    s = buf_take(&b);
    assert_string_equal(s, "abc");
    free(s);
    assert_int_equal(b.len, 0);
    assert_false(b.full);
    buf_puts(&b, "xy");
    assert_string_equal(b.data, "xy");
    buf_done(&b);
}

static void json_escapes(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 200);
    static const char raw[] = "a\"b\\c\n\t\x01\x1f/\x7f\xe4\xb8\xad\0z";
    buf_put_json(&b, raw, sizeof raw - 1);
    assert_string_equal(b.data, "a\\\"b\\\\c\\n\\t\\u0001\\u001f/\x7f\xe4\xb8\xad\\u0000z");
    buf_reset(&b);
    buf_put_json(&b, "", 0);
    assert_string_equal(b.data, "");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_stays_terminated),
        cmocka_unit_test(never_passes_its_maximum),
        cmocka_unit_test(take_leaves_it_empty),
        cmocka_unit_test(json_escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
