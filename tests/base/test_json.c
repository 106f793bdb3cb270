#include "tests/base/scratch.h"

#include "base/json.h"

static json_t *parse(const char *text)
{
    struct err e;
    json_t *v = json_parse("t", text, strlen(text), &e);
    assert_non_null(v);
    return v;
}

static void parses(void **state)
{
    (void)state;
    json_t *v = parse("{\"a\":1,\"b\":[true,\"\xe4\xb8\xad\"]}");
    assert_int_equal(json_object_size(v), 2);
    json_decref(v);
    v = parse("3");
    assert_true(json_is_integer(v));
    json_decref(v);
}

static void refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{\"a\":1,\"a\":2}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":\"\xff\"}",
        "{\"a\":\"\xed\xa0\x80\"}",
        "{\"a\":1",
        "{} x",
        "{\"a\":1e999}",
        "{'a':1}",
        "[1,]",
        "{\"a\":99999999999999999999}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        assert_null(json_parse("t", bad[i], strlen(bad[i]), &e));
        assert_int_equal(e.code, ERR_FORMAT);
        assert_memory_equal(e.msg, "t: line 1 column ", 17);
    }
    struct err e;
    assert_null(json_parse("t", "[1]\0", 4, &e));
    size_t deep = 100000; /* a stack bomb */
    char *text = xmalloc(deep);
    memset(text, '[', deep);
    assert_null(json_parse("t", text, deep, &e));
    free(text);
    assert_null(json_parse("t", NULL, 0, &e));
}

static void files(void **state)
{
    (void)state;
    struct err e;
    char *path = scratch_write("a.json", "{\n\"x\": nul}", 11);
    assert_null(json_parse_file(path, 100, &e));
    assert_int_equal(e.code, ERR_FORMAT);
    assert_non_null(strstr(e.msg, "/a.json: line 2 column "));
    assert_null(json_parse_file(path, 5, &e));
    assert_error(&e, ERR_FORMAT, "a.json: more than 5 bytes");
    free(path);
    path = scratch_write("b.json", "{\"x\":2}", 7);
    json_t *v = json_parse_file(path, 100, &e);
    assert_non_null(v);
    json_decref(v);
    free(path);
    path = scratch_write("c.json", "{\"x\":1000000000000000019884624838656}", 37);
    assert_null(json_parse_file(path, 100, &e));
    v = json_parse_file_as_reals(path, 100, &e);
    assert_non_null(v);
    assert_true(json_is_real(json_object_get(v, "x")));
    json_decref(v);
    free(path);
}

static void members(void **state)
{
    (void)state;
    struct err e;
    json_t *v = parse("{\"i\":7,\"r\":1.5,\"s\":\"x\",\"b\":true}");
    long i = -1;
    double r = -1;
    const char *s = NULL;
    bool b = false;
    assert_int_equal(json_get_int(v, "i", 0, 10, &i, &e), 0);
    assert_int_equal(i, 7);
    assert_int_equal(json_get_int(v, "i", 0, 6, &i, &e), -1);
    assert_error(&e, ERR_FORMAT, "\"i\": 7 is not between 0 and 6");
    assert_int_equal(json_get_int(v, "r", 0, 6, &i, &e), -1);
    assert_error(&e, ERR_FORMAT, "\"r\": expected an integer");
    assert_int_equal(json_get_real(v, "r", &r, &e), 0);
    assert_true(r == 1.5);
    assert_int_equal(json_get_real(v, "i", &r, &e), 0);
    assert_true(r == 7);
    assert_int_equal(json_get_real(v, "s", &r, &e), -1);
    assert_error(&e, ERR_FORMAT, "\"s\": expected a number");
    assert_int_equal(json_get_str(v, "s", &s, &e), 0);
    assert_string_equal(s, "x");
    assert_int_equal(json_get_str(v, "i", &s, &e), -1);
    assert_error(&e, ERR_FORMAT, "\"i\": expected a string");
    assert_int_equal(json_get_bool(v, "b", &b, &e), 0);
    assert_true(b);
    assert_int_equal(json_get_bool(v, "s", &b, &e), -1);
    assert_error(&e, ERR_FORMAT, "\"s\": expected true or false");
    /* A missing key leaves the value alone. */
    assert_int_equal(json_get_int(v, "none", 0, 6, &i, &e), 0);
    assert_int_equal(json_get_real(v, "none", &r, &e), 0);
    assert_int_equal(json_get_str(v, "none", &s, &e), 0);
    assert_int_equal(json_get_bool(v, "none", &b, &e), 0);
    assert_int_equal(i, 7);
    assert_true(r == 7 && b);
    assert_string_equal(s, "x");
    json_decref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),
        cmocka_unit_test(refuses),
        cmocka_unit_test(files),
        cmocka_unit_test(members),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
