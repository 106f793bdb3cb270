/* A schema registry's frame around a protobuf message. What each part means is in proto/codec.h;
 * here it is read part by part, so that a producer that frames otherwise learns from the dead
 * letter where the two disagree. */
#include "proto/codec_forms.h"

enum {
    MAGIC = 0,
    INDEX_AT = 5,  /* behind the magic byte and the id */
    MAX_VARINT = 5 /* bytes that 32 bits take, 7 in each */
};

/* Reads a zigzag varint of 32 bits at *at, as Kafka's own protocol has them. */
static int read_zigzag(const unsigned char *p, size_t len, size_t *at, int32_t *value,
                       struct err *err)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < MAX_VARINT; i++) {
        if (*at + i == len)
            return err_set(err, ERR_FORMAT, "byte %zu: the message index is cut off", *at);
        unsigned char byte = p[*at + i];
        bits |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (byte < 0x80) {
            if (bits > UINT32_MAX)
                break;
            *at += i + 1;
            /* 0, 1, 2, 3 … stand for 0, -1, 1, -2 … */
            *value = (int32_t)((int64_t)(bits >> 1) ^ -(int64_t)(bits & 1));
            return 0;
        }
    }
    return err_set(err, ERR_FORMAT,
                   "byte %zu: the message index holds a varint of more than 32 bits", *at);
}

/* headline.proto nests no message, so an index has one number. */
static int read_message(const unsigned char *p, size_t len, size_t *at, enum message *message,
                        struct err *err)
{
    size_t begin = *at;
    int32_t n, index = 0;
    if (read_zigzag(p, len, at, &n, err) != 0)
        return -1;
    if (n < 0) /* the Python client's use.deprecated.format writes 1 so that it reads as -1 */
        return err_set(err, ERR_FORMAT,
                       "byte %zu: a message index of %d numbers: is it not in zigzag form?", begin,
                       (int)n);
    if (n > 1)
        return err_set(err, ERR_FORMAT,
                       "byte %zu: a message index of %d numbers: headline.proto has no message "
                       "inside another",
                       begin, (int)n);
    if (n == 1 && read_zigzag(p, len, at, &index, err) != 0)
        return -1;
    if (index < 0 || index >= MESSAGE_COUNT)
        return err_set(err, ERR_FORMAT,
                       "byte %zu: message index %d: the messages of headline.proto are 0 to %d",
                       begin, (int)index, MESSAGE_COUNT - 1);
    *message = (enum message)index;
    return 0;
}

static bool is_allowed(const struct codec *c, uint32_t id)
{
    for (size_t i = 0; i < c->n_allowed; i++)
        if (c->allowed[i] == id)
            return true;
    return false;
}

int codec_decode_confluent(struct codec *c, const unsigned char *value, size_t len, struct err *err)
{
    if (len == 0)
        return err_set(err, ERR_FORMAT, "no frame: the value has no bytes");
    if (value[0] != MAGIC)
        return err_set(err, ERR_FORMAT, "byte 0: magic byte %u, expected %d", value[0], MAGIC);
    if (len < INDEX_AT)
        return err_set(err, ERR_FORMAT, "byte 1: the schema id is cut off: %zu of 4 bytes",
                       len - 1);
    uint32_t id = (uint32_t)value[1] << 24 | (uint32_t)value[2] << 16 | (uint32_t)value[3] << 8 |
                  (uint32_t)value[4];
    if (!is_allowed(c, id))
        return err_set(err, ERR_FORMAT, "byte 1: schema id %lu is not in schema-ids-in",
                       (unsigned long)id);
    size_t at = INDEX_AT;
    enum message message = MESSAGE_RECORD;
    if (read_message(value, len, &at, &message, err) != 0)
        return -1;
    return codec_decode_protobuf(c, message, value, len, at, err);
}

void codec_encode_confluent(const struct category *cat, struct buf *out)
{
    /* Category is [1] in category.proto: one number, 1, both in zigzag form. */
    const unsigned char frame[] = {MAGIC,
                                   (unsigned char)(cat->schema_id >> 24),
                                   (unsigned char)(cat->schema_id >> 16),
                                   (unsigned char)(cat->schema_id >> 8),
                                   (unsigned char)cat->schema_id,
                                   2,
                                   2};
    buf_put(out, frame, sizeof frame);
    codec_encode_protobuf(cat, out);
}
