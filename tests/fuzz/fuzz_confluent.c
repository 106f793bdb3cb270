/* Any bytes as a schema registry's frame: refused with a message, or read as a second reader below
 * reads the frame and as the plain codec reads the message in it. What was decoded goes out in a
 * frame of its own. The first byte chooses the bounds. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"

static struct codec *codecs[2], *plain[2];
static struct buf out, bare;

static const uint32_t allowed[] = {1, 300, 0x01020304};

static void require(int good)
{
    if (!good)
        abort();
}

static unsigned touch(const char *s, size_t n)
{
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (unsigned char)s[i];
    return sum;
}

/* The next zigzag varint at *p, wide enough that no 5 bytes of it overflow. */
static int64_t zigzag(const uint8_t **p, const uint8_t *end)
{
    int64_t value = 0;
    for (int i = 0; i < 5; i++) {
        require(*p < end);
        uint8_t byte = *(*p)++;
        value += (int64_t)(byte % 128) << (7 * i);
        if (byte < 128)
            return value % 2 ? -(value / 2) - 1 : value / 2;
    }
    abort();
}

static bool same(const struct headline *a, const struct headline *b)
{
    return a->id_len == b->id_len && memcmp(a->id, b->id, a->id_len) == 0 &&
           a->title_len == b->title_len && memcmp(a->title, b->title, a->title_len) == 0 &&
           a->published_unix_ms == b->published_unix_ms && !a->fault == !b->fault;
}

/* The frame of an accepted record must be one; its message must hold these headlines. */
static void check(struct codec *reader, const uint8_t *value, size_t len,
                  const struct headline *items, size_t n)
{
    const uint8_t *p = value + 5, *end = value + len;
    require(len > 5 && value[0] == 0);
    uint32_t id = 0;
    for (int i = 1; i < 5; i++)
        id = id * 256 + value[i];
    require(id == allowed[0] || id == allowed[1] || id == allowed[2]);
    int64_t count = zigzag(&p, end), index = 0;
    require(count == 0 || count == 1);
    if (count)
        index = zigzag(&p, end);
    require(index >= 0 && index <= 2);
    const struct headline *again = NULL;
    size_t n_again = 0;
    struct err err = {0};
    require(codec_decode(reader, p, (size_t)(end - p), &again, &n_again, &err) == 0);
    if (n_again == 0 && index == 0) { /* a Headline without any field */
        require(n == 1 && items[0].title_len == 0 && items[0].id_len == 0 && !items[0].fault);
        return;
    }
    require(n == n_again && (index != 0 || n == 1));
    for (size_t i = 0; i < n; i++)
        require(same(&items[i], &again[i]));
}

static void encode(const struct headline *h, uint32_t id)
{
    const struct category cat = {.id = h->id,
                                 .id_len = h->id_len,
                                 .best = {"sports", 7, 0.75f},
                                 .model_name = "m",
                                 .model_version = "v",
                                 .published_unix_ms = h->published_unix_ms,
                                 .schema_id = id};
    buf_reset(&out);
    buf_reset(&bare);
    codec_encode(WIRE_CONFLUENT, &cat, &out);
    codec_encode(WIRE_PROTOBUF, &cat, &bare);
    const uint8_t frame[] = {
        0, (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id, 2, 2};
    require(out.len == sizeof frame + bare.len && memcmp(out.data, frame, sizeof frame) == 0 &&
            memcmp(out.data + sizeof frame, bare.data, bare.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (!codecs[0]) {
        buf_init(&out, SIZE_MAX / 2);
        buf_init(&bare, SIZE_MAX / 2);
        for (int i = 0; i < 2; i++) {
            codecs[i] = codec_open(WIRE_CONFLUENT, i ? 3 : 1000, i ? 3000 : 1 << 22);
            plain[i] = codec_open(WIRE_PROTOBUF, i ? 3 : 1000, i ? 3000 : 1 << 22);
            codec_allow(codecs[i], allowed, 3);
        }
    }
    int small = data[0] % 2;
    const struct headline *items = NULL;
    size_t n = 0;
    struct err err = {0};
    if (codec_decode(codecs[small], data + 1, size - 1, &items, &n, &err) != 0) {
        require(!items && n == 0 && err.code == ERR_FORMAT &&
                strncmp(err.msg, "confluent: ", 11) == 0 && strlen(err.msg) > 20);
        return 0;
    }
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++) {
        require(items[i].id && items[i].title);
        sum += touch(items[i].id, items[i].id_len) + touch(items[i].title, items[i].title_len);
    }
    check(plain[small], data + 1, size - 1, items, n);
    for (size_t i = 0; i < n; i++)
        if (!items[i].fault)
            encode(&items[i], (uint32_t)sum * 2654435761u);
    return 0;
}
