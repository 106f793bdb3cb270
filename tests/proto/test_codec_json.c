#include "proto/codec.h"

#include <math.h>

#include "tests/proto/forms.h"

static struct codec *c;
static const struct headline *items;

static int setup(void **state)
{
    (void)state;
    c = codec_open(WIRE_JSON, MAX_HEADLINES, MAX_MEMORY);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    codec_close(c);
    return 0;
}

static size_t decoded(const char *value)
{
    struct err err = {0};
    size_t n = 0;
    int rc = decode(c, value, strlen(value), &items, &n, &err);
    assert_string_equal(err.msg, "");
    assert_int_equal(rc, 0);
    return n;
}

static void refused(const char *value, const char *message)
{
    decode_refused(c, value, strlen(value), message);
}

static void test_object(void **state)
{
    (void)state;
    assert_int_equal(
        decoded("{\"id\":\"a\",\"title\":\"\xE6\xA0\x87\",\"published_unix_ms\":1600000000000,"
                "\"source\":1,\"url\":[],\"language\":null,\"unknown\":{\"x\":[1,null]}}"),
        1);
    assert_headline(&items[0], "a", "\xE6\xA0\x87", 1600000000000);
    assert_int_equal(decoded(" \r\n\t{\"title\":\"\\u6807 \\ud83d\\ude00\"}\r\n"), 1);
    assert_headline(&items[0], "", "\xE6\xA0\x87 \xF0\x9F\x98\x80", 0);
    assert_int_equal(
        decoded("{\"id\":null,\"title\":\"t\",\"published_unix_ms\":null,\"headlines\":null}"), 1);
    assert_headline(&items[0], "", "t", 0);
    assert_int_equal(decoded("{\"id\":-12345678901234,\"title\":\"t\",\"published_unix_ms\":-5}"),
                     1);
    assert_headline(&items[0], "-12345678901234", "t", -5);

    /* Titles that title_check will judge. */
    static const char *const untitled[] = {"{}",
                                           "{\"id\":\"\"}",
                                           "{\"title\":5}",
                                           "{\"title\":null}",
                                           "{\"title\":[\"t\"]}",
                                           "{\"title\":\"\"}",
                                           "{\"Title\":\"t\"}"};
    for (size_t i = 0; i < sizeof untitled / sizeof *untitled; i++) {
        assert_int_equal(decoded(untitled[i]), 1);
        assert_headline(&items[0], "", "", 0);
        assert_non_null(items[0].title);
    }
    assert_int_equal(decoded("{\"title\":\"a\\u0000b\",\"id\":\"\\u0000\"}"), 1);
    assert_int_equal(items[0].title_len, 3);
    assert_memory_equal(items[0].title, "a\0b", 3);
    assert_int_equal(items[0].id_len, 1);
}

static void test_lists(void **state)
{
    (void)state;
    static const char *const two[] = {
        "[{\"title\":\"a\",\"id\":1}, {\"title\":\"b\"}]",
        "{\"headlines\":[{\"title\":\"a\",\"id\":1},{\"title\":\"b\"}]}",
        "{\"sent\":1,\"headlines\":[{\"title\":\"a\",\"id\":1},{\"title\":\"b\"}],\"id\":null}\n",
        "{\"title\":\"a\",\"id\":1}\n{\"title\":\"b\"}",
        "{\"title\":\"a\",\"id\":1}\r\n\r\n  {\"title\":\"b\"}\r\n",
        "[{\"title\":\"a\",\"id\":1}]\n{\"headlines\":[]}\n[]\n{\"title\":\"b\"}",
    };
    for (size_t i = 0; i < sizeof two / sizeof *two; i++) {
        assert_int_equal(decoded(two[i]), 2);
        assert_headline(&items[0], "1", "a", 0);
        assert_headline(&items[1], "", "b", 0);
    }
    static const char *const none[] = {"", " \n", "[]", "{\"headlines\":[]}", "[]\n[]"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_int_equal(decoded(none[i]), 0);
}

static void test_faults_of_one_headline(void **state)
{
    (void)state;
    static const char no_object[] = "expected an object", no_id[] = "\"id\": expected a string",
                      no_time[] = "\"published_unix_ms\": expected an integer";
    static const struct {
        const char *json, *fault;
    } cases[] = {{"1", no_object},
                 {"[]", no_object},
                 {"\"a\"", no_object},
                 {"{\"id\":1.5}", no_id},
                 {"{\"id\":[]}", no_id},
                 {"{\"id\":true}", no_id},
                 {"{\"published_unix_ms\":\"5\"}", no_time},
                 {"{\"published_unix_ms\":5.0}", no_time}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char batch[200];
        (void)snprintf(batch, sizeof batch, "[{\"title\":\"a\"},%s,{\"title\":\"c\"}]",
                       cases[i].json);
        assert_int_equal(decoded(batch), 3);
        assert_string_equal(items[1].fault, cases[i].fault);
        assert_null(items[0].fault);
        assert_headline(&items[2], "", "c", 0); /* the others are as good as ever */
        assert_null(items[2].fault);
    }
}

static void test_refused(void **state)
{
    (void)state;
    refused("{", "JSON: byte 1: string or '}' expected");
    refused("{\"title\": \"a\"} trailing", "JSON: byte 15: expected the end, or a line of its own");
    refused("{\"title\":\"a\"}{\"title\":\"b\"}",
            "JSON: byte 13: expected the end, or a line of its own");
    refused("{\"title\":\"a\"}\n{\"title\":}", "JSON: byte 24: unexpected token");
    refused("\"a title as a string\"", "JSON: byte 21: '[' or '{' expected");
    refused("5", "JSON: byte 1: '[' or '{' expected");
    refused("{\"headlines\":{}}", "JSON: \"headlines\": expected an array");
    refused("{\"published_unix_ms\":9223372036854775808}", "JSON: byte 40: too big integer");
    refused("{\"title\":\"a\",\"title\":\"b\"}", "JSON: byte 20: duplicate object key");
    refused("{\"title\": \"\xff\xfe\"}", "JSON: byte 11: unable to decode byte 0xff");
    refused("{\"title\": \"\xed\xa0\x80\"}", "JSON: byte 11: unable to decode byte 0xed");
    refused("{\"title\": \"\\ud800\"}", "JSON: byte 18: invalid Unicode '\\uD800'");
    refused("{\"a\\u0000\":1}", "JSON: byte 10: NUL byte in object key not supported");
    refused("\xEF\xBB\xBF{}", "JSON: byte 3: '[' or '{' expected");
    decode_refused(c, "{}\0", 3, "JSON: byte 2: expected the end, or a line of its own");
    decode_refused(c, "\0", 1, "JSON: byte 1: '[' or '{' expected");
}

static void test_ambiguous(void **state)
{
    (void)state;
    static const char *const keys[] = {"id",     "title", "published_unix_ms",
                                       "source", "url",   "language"};
    char value[100], message[100];
    for (int i = 0; i < 6; i++) {
        (void)snprintf(value, sizeof value, "{\"%s\":\"\",\"headlines\":[]}", keys[i]);
        (void)snprintf(message, sizeof message,
                       "JSON: ambiguous: both \"%s\" and \"headlines\" are set", keys[i]);
        refused(value, message);
    }
}

static void test_bounds(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1 << 24);
    for (int i = 0; i < MAX_HEADLINES; i++)
        buf_puts(&b, "{}\n");
    assert_int_equal(decoded(b.data), MAX_HEADLINES);
    buf_puts(&b, "{}");
    refused(b.data, "JSON: more than 1000 headlines");

    buf_reset(&b);
    for (int i = 0; i < 50000; i++)
        buf_puts(&b, "[");
    refused(b.data, "JSON: decoding it could take 9802048 bytes of memory, at most 1048576");
    b.data[3000] = '\0';
    refused(b.data, "JSON: byte 2049: maximum parsing depth reached");
    buf_reset(&b);
    buf_puts(&b, "{\"title\":\"");
    for (int i = 0; i < 100000; i++) /* inside a string only its length counts */
        buf_puts(&b, "[{");
    buf_puts(&b, "\"}");
    assert_int_equal(decoded(b.data), 1);
    assert_int_equal(items[0].title_len, 200000);
    buf_done(&b);
}

static void test_encode(void **state)
{
    (void)state;
    const struct score top[] = {
        {"sp\"orts", 7, 0.7512345f}, {"finance", 0, 2.5e-8f}, {"x", 4294967295u, 0}};
    struct category cat = {.id = "i\nd",
                           .id_len = 3,
                           .best = top[0],
                           .top = top,
                           .n_top = 3,
                           .model_name = "text\\cnn",
                           .model_version = "0123456789abcdef",
                           .published_unix_ms = -1,
                           .classified_unix_ms = 1600000000000,
                           .title = "\xE6\xA0\x87\x01{",
                           .title_len = 5};
    struct buf out;
    buf_init(&out, 10000);
    buf_puts(&out, "{");
    codec_encode(WIRE_JSON, &cat, &out);
    assert_string_equal(
        out.data,
        "{{\"id\":\"i\\nd\",\"label\":\"sp\\\"orts\",\"index\":7,\"probability\":0.751234,\"top\":["
        "{\"label\":\"sp\\\"orts\",\"index\":7,\"probability\":0.751234},"
        "{\"label\":\"finance\",\"index\":0,\"probability\":2.5e-08},"
        "{\"label\":\"x\",\"index\":4294967295,\"probability\":0}],"
        "\"model_name\":\"text\\\\cnn\",\"model_version\":\"0123456789abcdef\","
        "\"published_unix_ms\":-1,\"classified_unix_ms\":1600000000000,"
        "\"title\":\"\xE6\xA0\x87\\u0001{\"}");
    cat.n_top = 0;
    cat.title = NULL;
    cat.published_unix_ms = 0;
    cat.id_len = 0;
    cat.best.probability = NAN;
    buf_reset(&out);
    codec_encode(WIRE_JSON, &cat, &out);
    assert_string_equal(out.data,
                        "{\"id\":\"\",\"label\":\"sp\\\"orts\",\"index\":7,\"probability\":null,"
                        "\"model_name\":\"text\\\\cnn\",\"model_version\":\"0123456789abcdef\","
                        "\"classified_unix_ms\":1600000000000}");
    buf_done(&out);
}

#define ONE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(test_object),  ONE(test_lists),     ONE(test_faults_of_one_headline),
        ONE(test_refused), ONE(test_ambiguous), ONE(test_bounds),
        ONE(test_encode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
