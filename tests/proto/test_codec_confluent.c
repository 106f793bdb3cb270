#include "proto/codec.h"

#include "tests/proto/forms.h"

static struct codec *c;
static struct buf b;
static const struct headline *items;

static int setup(void **state)
{
    (void)state;
    static const uint32_t ids[] = {1, 0x01020304, 0x7FFFFFFF};
    c = codec_open(WIRE_CONFLUENT, MAX_HEADLINES, MAX_MEMORY);
    codec_allow(c, ids, 3);
    buf_init(&b, 1 << 24);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    codec_close(c);
    buf_done(&b);
    return 0;
}

/* Written a second time: n is -1 for the short form of [0]. */
static void put_zigzag(int32_t v)
{
    put_varint(&b, ((uint32_t)v << 1) ^ (uint32_t)(v >> 31));
}

static void put_frame(uint32_t id, int32_t n, int32_t index)
{
    const unsigned char head[] = {0, (unsigned char)(id >> 24), (unsigned char)(id >> 16),
                                  (unsigned char)(id >> 8), (unsigned char)id};
    buf_reset(&b);
    buf_put(&b, head, sizeof head);
    if (n < 0) {
        buf_put(&b, "", 1);
        return;
    }
    put_zigzag(n);
    for (int32_t i = 0; i < n; i++)
        put_zigzag(index);
}

static size_t decoded(void)
{
    struct err err = {0};
    size_t n = 0;
    int rc = decode(c, b.data, b.len, &items, &n, &err);
    assert_string_equal(err.msg, "");
    assert_int_equal(rc, 0);
    return n;
}

static void refused(const char *message)
{
    decode_refused(c, b.data, b.len, message);
}

/* Bytes written out, as the documentation of the wire format has them. */
static void test_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n, headlines;
    } good[] = {
#define GOOD(bytes, headlines) {bytes, sizeof bytes - 1, headlines}
        GOOD("\0\0\0\0\x01\x00\x12\x01t", 1),                 /* [0] short */
        GOOD("\0\0\0\0\x01\x02\x00\x12\x01t", 1),             /* [0] long */
        GOOD("\0\0\0\0\x01\x80\x00\x12\x01t", 1),             /* [0] with a byte too many */
        GOOD("\0\0\0\0\x01\x02\x02\x82\x01\x03\x12\x01t", 1), /* [1] */
        GOOD("\0\0\0\0\x01\x02\x04\x12\x01t", 1),             /* [2] */
        GOOD("\0\x01\x02\x03\x04\x00\x12\x01t", 1),
        GOOD("\0\x7f\xff\xff\xff\x82\x80\x80\x80\x00\x82\x80\x80\x80\x00",
             0), /* [1] in ten bytes */
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t n = 77;
        struct err err = {0};
        assert_int_equal(decode(c, good[i].bytes, good[i].n, &items, &n, &err), 0);
        assert_int_equal(n, good[i].headlines);
        if (n)
            assert_headline(&items[0], "", "t", 0);
    }
}

/* The index says which message it is, and the bytes are read as that one. */
static void test_messages(void **state)
{
    (void)state;
    for (int32_t index = -1; index < 3; index++) {
        put_frame(1, index < 0 ? -1 : 1, index);
        bool is_headline = index <= 0, is_batch = index == 1;
        assert_int_equal(decoded(), is_headline ? 1 : 0); /* without any field */
        if (is_headline)
            assert_headline(&items[0], "", "", 0);

        size_t head = b.len;
        put_string(&b, 1, "id");
        put_string(&b, 2, "title");
        put_number(&b, 3, 5);
        put_string(&b, 900, "from a newer producer");
        if (is_batch) {
            refused("confluent: a HeadlineBatch with the fields of one headline");
        } else {
            assert_int_equal(decoded(), 1);
            assert_headline(&items[0], "id", "title", 5);
        }

        b.len = head;
        put_string(&b, 16, "\x12\x01u");
        put_string(&b, 16, "");
        if (is_headline) {
            refused("confluent: a Headline with a list of 2 headlines");
        } else {
            assert_int_equal(decoded(), 2);
            assert_headline(&items[0], "", "u", 0);
            assert_headline(&items[1], "", "", 0);
        }
        put_string(&b, 2, "and a title");
        refused("confluent: ambiguous: fields of one headline beside a list of 2");
    }
}

static void test_ids(void **state)
{
    (void)state;
    static const struct {
        uint32_t id;
        const char *message;
    } bad[] = {
        {0, "confluent: byte 1: schema id 0 is not in schema-ids-in"},
        {2, "confluent: byte 1: schema id 2 is not in schema-ids-in"},
        {0x04030201, "confluent: byte 1: schema id 67305985 is not in schema-ids-in"},
        {0xFFFFFFFF, "confluent: byte 1: schema id 4294967295 is not in schema-ids-in"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_frame(bad[i].id, -1, 0);
        refused(bad[i].message);
    }
    /* Others are allowed instead of those before; none at all when nothing was said. */
    const uint32_t two = 2;
    codec_allow(c, &two, 1);
    put_frame(2, -1, 0);
    assert_int_equal(decoded(), 1);
    put_frame(1, -1, 0);
    refused("confluent: byte 1: schema id 1 is not in schema-ids-in");
    codec_allow(c, NULL, 0);
    refused("confluent: byte 1: schema id 1 is not in schema-ids-in");
    struct codec *fresh = codec_open(WIRE_CONFLUENT, MAX_HEADLINES, MAX_MEMORY);
    decode_refused(fresh, b.data, b.len, "confluent: byte 1: schema id 1 is not in schema-ids-in");
    codec_close(fresh);
}

static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *message;
    } bad[] = {
#define BAD(bytes, message) {bytes, sizeof bytes - 1, "confluent: " message}
        BAD("", "no frame: the value has no bytes"),
        BAD("\x01", "byte 0: magic byte 1, expected 0"),
        BAD("\x12\x01t", "byte 0: magic byte 18, expected 0"), /* protobuf without a frame */
        BAD("{\"title\": \"json by mistake\"}", "byte 0: magic byte 123, expected 0"),
        BAD("\0", "byte 1: the schema id is cut off: 0 of 4 bytes"),
        BAD("\0\0\0\0", "byte 1: the schema id is cut off: 3 of 4 bytes"),
        BAD("\0\0\0\0\x01", "byte 5: the message index is cut off"),
        BAD("\0\0\0\0\x01\x80", "byte 5: the message index is cut off"),
        BAD("\0\0\0\0\x01\x02", "byte 6: the message index is cut off"),
        BAD("\0\0\0\0\x01\x02\xff\xff\xff\xff", "byte 6: the message index is cut off"),
        BAD("\0\0\0\0\x01\x80\x80\x80\x80\x80",
            "byte 5: the message index holds a varint of more than 32 bits"),
        BAD("\0\0\0\0\x01\x80\x80\x80\x80\x10",
            "byte 5: the message index holds a varint of more than 32 bits"),
        BAD("\0\0\0\0\x01\x02\xff\xff\xff\xff\xff\x01",
            "byte 6: the message index holds a varint of more than 32 bits"),
        /* [1] and [2] as the Python client wrote them before 1.8, in plain varints */
        BAD("\0\0\0\0\x01\x01\x01",
            "byte 5: a message index of -1 numbers: is it not in zigzag form?"),
        BAD("\0\0\0\0\x01\x01\x02",
            "byte 5: a message index of -1 numbers: is it not in zigzag form?"),
        BAD("\0\0\0\0\x01\xff\xff\xff\xff\x0f",
            "byte 5: a message index of -2147483648 numbers: is it not in zigzag form?"),
        BAD("\0\0\0\0\x01\x04\x02\x00",
            "byte 5: a message index of 2 numbers: headline.proto has no message inside another"),
        BAD("\0\0\0\0\x01\xfe\xff\xff\xff\x0f",
            "byte 5: a message index of 2147483647 numbers: headline.proto has no message inside "
            "another"),
        BAD("\0\0\0\0\x01\x02\x06",
            "byte 5: message index 3: the messages of headline.proto are 0 to 2"),
        BAD("\0\0\0\0\x01\x02\x01",
            "byte 5: message index -1: the messages of headline.proto are 0 to 2"),
        BAD("\0\0\0\0\x01\x02\xfe\xff\xff\xff\x0f",
            "byte 5: message index 2147483647: the messages of headline.proto are 0 to 2"),
        /* the message; places count from the record's start */
        BAD("\0\0\0\0\x01\x00\x12\x7fshort", "byte 6: field 2: longer than what holds it"),
        BAD("\0\0\0\0\x01\x02\x02\x82\x01\x07\x12\x7fshort",
            "byte 10: field 2: longer than what holds it"),
        BAD("\0\0\0\0\x01\x02\x04\x07", "byte 7: field 0: its number is none"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        decode_refused(c, bad[i].bytes, bad[i].n, bad[i].message);
}

/* No cut and no other byte in the frame passes for the whole. */
static void test_every_byte(void **state)
{
    (void)state;
    put_frame(0x01020304, 1, 1);
    put_string(&b, 16, "\x12\x01t");
    struct err err;
    size_t n;
    for (size_t cut = 0; cut < b.len; cut++) /* behind the index lies an empty batch */
        assert_int_equal(decode(c, b.data, cut, &items, &n, &err), cut == 7 ? 0 : -1);
    for (size_t at = 0; at < 6; at++)
        for (int byte = 0; byte < 256; byte++) {
            char was = b.data[at];
            b.data[at] = (char)byte;
            assert_int_equal(decode(c, b.data, b.len, &items, &n, &err),
                             b.data[at] == was ? 0 : -1);
            b.data[at] = was;
        }
}

static void test_bounds(void **state)
{
    (void)state;
    put_frame(1, 1, 1);
    for (int i = 0; i <= MAX_HEADLINES; i++)
        put_string(&b, 16, "");
    refused("confluent: more than 1000 headlines");
    for (int i = 0; i < 100000; i++)
        put_string(&b, 16, "");
    refused("confluent: decoding it takes more than 1048576 bytes of memory");
    put_frame(1, -1, 0);
    put_string(&b, 1, "\xff");
    assert_int_equal(decoded(), 1);
    assert_string_equal(items[0].fault, "id is not UTF-8");
}

static void test_encode(void **state)
{
    (void)state;
    struct category cat = {.id = "id",
                           .id_len = 2,
                           .best = {"sports", 7, 0.75f},
                           .model_name = "m",
                           .model_version = "v",
                           .schema_id = 0xF1020304};
    struct buf out, bare;
    buf_init(&out, 1 << 20);
    buf_init(&bare, 1 << 20);
    codec_encode(WIRE_PROTOBUF, &cat, &bare);
    buf_puts(&out, "before");
    codec_encode(WIRE_CONFLUENT, &cat, &out);
    assert_int_equal(out.len, 6 + 7 + bare.len);
    assert_memory_equal(out.data, "before\0\xf1\x02\x03\x04\x02\x02", 13);
    assert_memory_equal(out.data + 13, bare.data, bare.len);
    buf_done(&out);
    buf_done(&bare);
}

/* The indexes that the codec has are the places that the messages have in the .proto files. */
static void messages_of(const char *path, char *names, size_t size)
{
    char line[500], name[100];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    names[0] = '\0';
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "message %99s", name) == 1)
            (void)snprintf(names + strlen(names), size - strlen(names), "%s ", name);
    (void)fclose(f);
}

static void test_order(void **state)
{
    (void)state;
    char names[500];
    messages_of("proto/headline.proto", names, sizeof names);
    assert_string_equal(names, "Headline HeadlineBatch HeadlineRecord ");
    messages_of("proto/category.proto", names, sizeof names);
    assert_string_equal(names, "Score Category ");
}

#define ONE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONE(test_bytes),      ONE(test_messages), ONE(test_ids),    ONE(test_malformed),
        ONE(test_every_byte), ONE(test_bounds),   ONE(test_encode), ONE(test_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
