#include "proto/codec.h"

#include "tests/proto/forms.h"

static struct codec *c;
static struct buf b, inner;

static int setup(void **state)
{
    (void)state;
    c = codec_open(WIRE_PROTOBUF, MAX_HEADLINES, MAX_MEMORY);
    buf_init(&b, 1 << 24);
    buf_init(&inner, 1 << 24);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    codec_close(c);
    buf_done(&b);
    buf_done(&inner);
    return 0;
}

/* Decodes b and empties it; the number of headlines. */
static const struct headline *items;
static size_t decoded(void)
{
    struct err err = {0};
    size_t n = 0;
    int rc = decode(c, b.data, b.len, &items, &n, &err);
    assert_string_equal(err.msg, "");
    assert_int_equal(rc, 0);
    buf_reset(&b);
    return n;
}

static void refused(const char *message)
{
    decode_refused(c, b.data, b.len, message);
    buf_reset(&b);
}

static void test_single(void **state)
{
    (void)state;
    put_string(&b, 1, "id-1");
    put_string(&b, 2, "\xE6\xA0\x87\xE9\xA2\x98");
    put_number(&b, 3, 1600000000000);
    put_string(&b, 4, "\xff source is not read");
    put_string(&b, 5, "http://x");
    put_string(&b, 6, "zh");
    assert_int_equal(decoded(), 1);
    assert_headline(&items[0], "id-1", "\xE6\xA0\x87\xE9\xA2\x98", 1600000000000);

    put_number(&b, 3, (uint64_t)-5); /* before 1970 */
    put_string(&b, 2, "first");
    put_string(&b, 2, "last one counts");
    assert_int_equal(decoded(), 1);
    assert_headline(&items[0], "", "last one counts", -5);

    put_bytes(&b, 2, "nul\0inside", 10);
    assert_int_equal(decoded(), 1);
    assert_int_equal(items[0].title_len, 10);
    assert_memory_equal(items[0].title, "nul\0inside", 10);

    put_bytes(&b, 2, "\xff\xfe", 2); /* title_check's business */
    assert_int_equal(decoded(), 1);
    assert_int_equal(items[0].title_len, 2);
}

/* A headline with an empty title is a headline; a record without any field is an empty batch. */
static void test_empty(void **state)
{
    (void)state;
    assert_int_equal(decoded(), 0);
    put_string(&b, 700, "unknown");
    assert_int_equal(decoded(), 0);
    for (unsigned field = 1; field <= 6; field++) {
        if (field == 3)
            put_number(&b, 3, 0);
        else
            put_string(&b, field, "");
        assert_int_equal(decoded(), 1);
        assert_headline(&items[0], "", "", 0);
        assert_non_null(items[0].id);
        assert_non_null(items[0].title);
    }
    put_string(&b, 16, "");
    put_string(&b, 16, "");
    assert_int_equal(decoded(), 2);
    assert_headline(&items[1], "", "", 0);
}

static void test_batch(void **state)
{
    (void)state;
    char text[20];
    for (int i = 0; i < MAX_HEADLINES; i++)
        put_string(&b, 16, "");
    assert_int_equal(decoded(), MAX_HEADLINES);
    for (int i = 0; i <= MAX_HEADLINES; i++)
        put_string(&b, 16, "");
    refused("protobuf: more than 1000 headlines");
    for (int i = 0; i < MAX_HEADLINES; i++) {
        buf_reset(&inner);
        (void)snprintf(text, sizeof text, "%d", i);
        put_string(&inner, 1, text);
        put_string(&inner, 2, "title");
        put_number(&inner, 3, (uint64_t)i);
        put_bytes(&b, 16, inner.data, inner.len);
    }
    assert_int_equal(decoded(), MAX_HEADLINES);
    for (int i = 0; i < MAX_HEADLINES; i++) {
        (void)snprintf(text, sizeof text, "%d", i);
        assert_headline(&items[i], text, "title", i);
    }
}

/* A newer producer's fields, of every wire type, change nothing. */
static void test_unknown(void **state)
{
    (void)state;
    put_string(&b, 7, "later");
    put_number(&b, 900, 5);
    put_varint(&b, 33 << 3 | 1);
    buf_puts(&b, "12345678");
    put_varint(&b, 34 << 3 | 5);
    buf_puts(&b, "1234");
    put_string(&b, 2, "title");
    put_number(&b, 0x1FFFFFFF, 5);
    assert_int_equal(decoded(), 1);
    assert_headline(&items[0], "", "title", 0);
}

static void test_ambiguous(void **state)
{
    (void)state;
    for (unsigned field = 1; field <= 6; field++) {
        if (field == 3)
            put_number(&b, 3, 0);
        else
            put_string(&b, field, "");
        put_string(&b, 16, "");
        put_string(&b, 16, "");
        refused("protobuf: ambiguous: fields of one headline beside a list of 2");
    }
}

static void test_id(void **state)
{
    (void)state;
    static const char *const good[] = {"\xC2\x80",         "\xDF\xBF",         "\xE0\xA0\x80",
                                       "\xED\x9F\xBF",     "\xEE\x80\x80",     "\xEF\xBF\xBF",
                                       "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "a\x7F"};
    static const char *const bad[] = {"\x80",
                                      "\xBF",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xC2",
                                      "\xC2\x41",
                                      "\xC2\xC0",
                                      "\xE0\x9F\xBF",
                                      "\xE1\x80",
                                      "\xE1\x80\x41",
                                      "\xED\xA0\x80",
                                      "\xED\xBF\xBF",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF0\x90\x80",
                                      "\xF1\x80\x80\x41",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xFF"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        put_string(&b, 1, good[i]);
        assert_int_equal(decoded(), 1);
        assert_headline(&items[0], good[i], "", 0);
    }
    put_bytes(&b, 1, "a\0b", 3);
    assert_int_equal(decoded(), 1);
    assert_int_equal(items[0].id_len, 3);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_string(&b, 1, bad[i]);
        assert_int_equal(decoded(), 1);
        assert_string_equal(items[0].fault, "id is not UTF-8");
    }
    put_string(&b, 16, "");
    put_string(&b, 16, "\x0a\x01\xff");
    assert_int_equal(decoded(), 2); /* the other one of the batch is as good as ever */
    assert_null(items[0].fault);
    assert_string_equal(items[1].fault, "id is not UTF-8");
}

static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *message;
    } bad[] = {
#define BAD(bytes, message) {bytes, sizeof bytes - 1, "protobuf: " message}
        BAD("\x12\x7fshort", "byte 0: field 2: longer than what holds it"),
        BAD("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "byte 0: field 2: longer than what holds it"),
        BAD("\x12\x80", "byte 0: field 2: cut off"),
        BAD("\x12", "byte 0: field 2: cut off"),
        BAD("\x12\x01t\x18", "byte 3: field 3: cut off"),
        BAD("\x12\x01t\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "byte 3: field 3: cut off"),
        BAD("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "byte 0: a field's tag is cut off"),
        BAD("\x80", "byte 0: a field's tag is cut off"),
        BAD("\x02\x01x", "byte 0: field 0: its number is none"),
        BAD("\x10\x05", "byte 0: field 2: not of the type that headline.proto gives it"),
        BAD("\x1a\x01x", "byte 0: field 3: not of the type that headline.proto gives it"),
        BAD("\x80\x01\x05", "byte 0: field 16: not of the type that headline.proto gives it"),
        BAD("\x82\x01\x07\x12\x7fshort", "byte 3: field 2: longer than what holds it"),
        BAD("\x82\x01\x00\x82\x01\x02\x10\x05",
            "byte 6: field 2: not of the type that headline.proto gives it"),
        BAD("\x3b\x3c", "byte 0: field 7: of a wire type that is not supported"),
        BAD("\x3f", "byte 0: field 7: of a wire type that is not supported"),
        BAD("\x39"
            "1234567",
            "byte 0: field 7: longer than what holds it"),
        BAD("\x3d"
            "123",
            "byte 0: field 7: longer than what holds it"),
        BAD("{\"title\": \"json by mistake\"}",
            "byte 0: field 15: of a wire type that is not supported"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        decode_refused(c, bad[i].bytes, bad[i].n, bad[i].message);
    /* Every cut through a good record is refused or is a shorter good one; nothing reads past it.
     */
    put_string(&inner, 1, "id");
    put_string(&inner, 2, "title");
    put_bytes(&b, 16, inner.data, inner.len);
    put_number(&b, 900, 1);
    const struct headline *got;
    struct err err;
    size_t n;
    for (size_t cut = 1; cut < b.len; cut++) {
        int rc = decode(c, b.data, cut, &got, &n, &err);
        assert_int_equal(rc, cut == b.len - 3 ? 0 : -1);
    }
}

static void test_memory(void **state)
{
    (void)state;
    /* Two-byte fields are what costs most: some sixty bytes each. */
    for (int i = 0; i < 100000; i++)
        put_number(&b, 9, 1);
    refused("protobuf: decoding it takes more than 1048576 bytes of memory");
    for (int i = 0; i < 100000; i++)
        put_string(&b, 16, "");
    refused("protobuf: decoding it takes more than 1048576 bytes of memory");
    char *big = calloc(1, MAX_MEMORY);
    put_bytes(&b, 2, big, MAX_MEMORY);
    free(big);
    refused("protobuf: decoding it takes more than 1048576 bytes of memory");
    /* Out of memory at every possible place. */
    put_string(&inner, 1, "id");
    put_string(&inner, 2, "title");
    put_string(&inner, 99, "unknown");
    for (int i = 0; i < 40; i++)
        put_bytes(&b, 16, inner.data, inner.len);
    put_string(&b, 99, "unknown");
    for (size_t max = 0;; max += 16) {
        struct codec *small = codec_open(WIRE_PROTOBUF, MAX_HEADLINES, max);
        const struct headline *got;
        struct err err;
        size_t n;
        int rc = decode(small, b.data, b.len, &got, &n, &err);
        codec_close(small);
        if (rc == 0)
            break;
        assert_non_null(strstr(err.msg, "bytes of memory"));
        assert_true(max < MAX_MEMORY);
    }
}

static void test_encode(void **state)
{
    (void)state;
    const struct score top[] = {{"sports", 7, 0.75f}, {"finance", 0, 0.25f}, {"", 3, 0}};
    const struct category cat = {.id = "i\0d",
                                 .id_len = 3,
                                 .best = top[0],
                                 .top = top,
                                 .n_top = 3,
                                 .model_name = "textcnn",
                                 .model_version = "0123456789abcdef",
                                 .published_unix_ms = -1,
                                 .classified_unix_ms = 1600000000000,
                                 .title = "title",
                                 .title_len = 5};
    struct buf out;
    buf_init(&out, 1 << 20);
    buf_puts(&out, "before");
    codec_encode(WIRE_PROTOBUF, &cat, &out);
    buf_puts(&b, "before");
    put_bytes(&b, 1, "i\0d", 3);
    put_string(&b, 2, "sports");
    put_number(&b, 3, 7);
    buf_put(&b, "\x25\x00\x00\x40\x3f", 5);
    put_bytes(&b, 5, "\x0a\x06sports\x10\x07\x1d\x00\x00\x40\x3f", 15);
    put_bytes(&b, 5,
              "\x0a\x07"
              "finance\x1d\x00\x00\x80\x3e",
              14);
    put_bytes(&b, 5, "\x10\x03", 2);
    put_string(&b, 6, "textcnn");
    put_string(&b, 7, "0123456789abcdef");
    put_number(&b, 8, (uint64_t)-1);
    put_number(&b, 9, 1600000000000);
    put_string(&b, 10, "title");
    assert_int_equal(out.len, b.len);
    assert_memory_equal(out.data, b.data, b.len);

    /* As proto3 does it: nothing is sent for what is empty or zero. */
    const struct category none = {
        .id = "", .best = {"", 0, 0}, .model_name = "", .model_version = "", .title = ""};
    buf_reset(&out);
    codec_encode(WIRE_PROTOBUF, &none, &out);
    assert_int_equal(out.len, 0);

    /* More scores and longer texts than the usual. */
    struct score many[100];
    char *title = malloc(100000);
    memset(title, 't', 100000);
    for (uint32_t i = 0; i < 100; i++)
        many[i] = (struct score){"label", i + 1, 0.01f};
    const struct category large = {.id = "",
                                   .best = many[0],
                                   .top = many,
                                   .n_top = 100,
                                   .model_name = "",
                                   .model_version = "",
                                   .title = title,
                                   .title_len = 100000};
    codec_encode(WIRE_PROTOBUF, &large, &out);
    free(title);
    assert_int_equal(out.len, (2 + 5) + 2 + 5 + 100 * (2 + 7 + 2 + 5) + (1 + 3 + 100000));
    buf_done(&out);
}

#define ONE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(test_single),    ONE(test_empty),     ONE(test_batch),
        ONE(test_unknown),   ONE(test_ambiguous), ONE(test_id),
        ONE(test_malformed), ONE(test_memory),    ONE(test_encode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
