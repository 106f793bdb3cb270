/* Private to the codec: its state, and one function per form. proto/codec.h is the contract. */
#ifndef PROTO_CODEC_FORMS_H
#define PROTO_CODEC_FORMS_H

#include <stdbool.h>

#include "proto/codec.h"

struct json_t;

struct codec {
    enum wire in;
    size_t max_headlines, max_memory;
    uint32_t *allowed; /* schema ids */
    size_t n_allowed;
    struct headline *items; /* of the last record */
    size_t n, cap;
    /* protobuf: one block of max_memory bytes, used from the front and forgotten as a whole at the
     * next record. Pages that no record ever needed are never touched. */
    char *block;
    size_t used;
    bool exhausted;
    struct json_t *documents; /* JSON: an array that owns what the items point to */
};

/* Appends h to the items; an error when there are max_headlines already. */
int codec_add(struct codec *c, const struct headline *h, struct err *err);

/* The messages of headline.proto in the order of that file, which is their message index in a
 * confluent frame; and what a plain record is, which may be any of them. */
enum message { MESSAGE_HEADLINE, MESSAGE_BATCH, MESSAGE_RECORD, MESSAGE_COUNT };

/* Each appends the headlines of value[0..len) to c->items, which is empty before. The protobuf
 * message begins at byte `begin` of the value; places in errors count from the value's start. */
int codec_decode_protobuf(struct codec *c, enum message message, const unsigned char *value,
                          size_t len, size_t begin, struct err *err);
int codec_decode_confluent(struct codec *c, const unsigned char *value, size_t len,
                           struct err *err);
int codec_decode_json(struct codec *c, const char *value, size_t len, struct err *err);
void codec_forget_json(struct codec *c); /* frees documents */

void codec_encode_confluent(const struct category *cat, struct buf *out);
void codec_encode_protobuf(const struct category *cat, struct buf *out);
void codec_encode_json(const struct category *cat, struct buf *out);

#endif
