/* The text form, and what all forms share. */
#include "proto/codec.h"

#include "tests/proto/forms.h"

static void test_text(void **state)
{
    (void)state;
    static const struct {
        const char *value, *title;
    } cases[] = {
        {"", ""},
        {"\n", ""},
        {"\r\n", ""},
        {"a", "a"},
        {"a\n", "a"},
        {"a\r\n", "a"},
        {"a\n\n", "a\n"},
        {"a\r", "a\r"},
        {"a\nb", "a\nb"},
        {"\r\r\n", "\r"},
        {" a ", " a "},
        {"\xff", "\xff"},
        {"{\"title\":1}", "{\"title\":1}"},
    };
    struct codec *c = codec_open(WIRE_TEXT, MAX_HEADLINES, MAX_MEMORY);
    const struct headline *items;
    struct err err;
    size_t n;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(decode(c, cases[i].value, strlen(cases[i].value), &items, &n, &err), 0);
        assert_int_equal(n, 1);
        assert_headline(&items[0], "", cases[i].title, 0);
    }
    assert_int_equal(decode(c, "a\0b", 3, &items, &n, &err), 0);
    assert_int_equal(items[0].title_len, 3);
    assert_int_equal(codec_decode(c, "", 0, &items, &n, &err), 0);
    assert_non_null(items[0].title);
    codec_close(c);
    codec_close(NULL);
}

/* Nothing of one record is left in the next, whatever became of it. */
static void test_no_state(void **state)
{
    (void)state;
    static const enum wire forms[] = {WIRE_PROTOBUF, WIRE_JSON};
    for (int i = 0; i < 2; i++) {
        const char *good = forms[i] == WIRE_JSON
                               ? "{\"id\":\"7\",\"title\":\"t\",\"published_unix_ms\":5}"
                               : "\x0a\x01"
                                 "7\x12\x01t\x18\x05";
        const char *bare = forms[i] == WIRE_JSON ? "{\"title\":\"u\"}" : "\x12\x01u";
        struct codec *c = codec_open(forms[i], MAX_HEADLINES, MAX_MEMORY);
        const struct headline *items;
        struct err err;
        size_t n;
        for (int k = 0; k < 3; k++) {
            assert_int_equal(decode(c, good, strlen(good), &items, &n, &err), 0);
            assert_int_equal(n, 1);
            assert_headline(&items[0], "7", "t", 5);
            assert_int_equal(decode(c, "\x12\x7f{", 3, &items, &n, &err), -1);
            assert_int_equal(decode(c, bare, strlen(bare), &items, &n, &err), 0);
            assert_int_equal(n, 1);
            assert_headline(&items[0], "", "u", 0);
            assert_int_equal(decode(c, "", 0, &items, &n, &err), 0);
            assert_int_equal(n, 0);
        }
        codec_close(c);
    }
}

/* A full buffer drops bytes and says so; it does not overflow. */
static void test_encode_full(void **state)
{
    (void)state;
    const struct category cat = {.id = "id",
                                 .id_len = 2,
                                 .best = {"label", 1, 0.5f},
                                 .model_name = "m",
                                 .model_version = "v"};
    static const enum wire forms[] = {WIRE_PROTOBUF, WIRE_JSON, WIRE_CONFLUENT};
    for (int i = 0; i < 3; i++) {
        struct buf whole, part;
        buf_init(&whole, 1000);
        codec_encode(forms[i], &cat, &whole);
        assert_false(whole.full);
        for (size_t max = 0; max < whole.len; max++) {
            buf_init(&part, max);
            codec_encode(forms[i], &cat, &part);
            assert_true(part.full && part.len <= max);
            buf_done(&part);
        }
        buf_done(&whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_no_state),
        cmocka_unit_test(test_encode_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
