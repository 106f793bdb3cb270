/* Records to headlines, categories to records, in the four wire forms. Bytes from outside are
 * hostile: no length is trusted, memory per record is bounded by the decoder's limit, and nothing
 * here keeps state between records.
 *
 * protobuf: headline.proto (Headline, HeadlineBatch or HeadlineRecord). Unknown fields are ignored;
 * the fields of one headline beside a list are refused as ambiguous.
 *
 * json: one object {"id", "title", "published_unix_ms", "source", "url", "language"} of which only
 * title is required; or {"headlines": [object, …]}; or an array of objects; or several of these on
 * lines of their own. Unknown keys are ignored, null is as good as missing, an integer id is taken
 * as its digits; keys twice, or those of one headline beside "headlines", are refused.
 *
 * text: the whole value is one title; one trailing LF or CRLF is dropped.
 *
 * confluent: a Confluent Schema Registry frame around protobuf (the "wire format" of
 * https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/): a byte
 * 0; the schema's id, 4 bytes, big-endian; the message index: how many numbers, then the numbers,
 * as zigzag varints of at most 32 bits, one byte 0 standing for the list [0]; the message. No
 * registry is asked: the id must be one of those allowed, and the index names a message of
 * headline.proto by its place in that file ([0] Headline, [1] HeadlineBatch, [2] HeadlineRecord).
 * Unlike in plain protobuf it is known which of them was sent: a Headline without any field is one
 * headline with an empty title, a list in a Headline and the fields of one headline in a
 * HeadlineBatch are refused, because a reader that skipped them would lose headlines.
 *
 * A record without any headline (protobuf or JSON of no bytes, an empty list) is an empty batch;
 * text of no bytes is one headline with an empty title.
 *
 * One struct codec belongs to one thread at a time. */
#ifndef PROTO_CODEC_H
#define PROTO_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum wire { WIRE_PROTOBUF, WIRE_JSON, WIRE_TEXT, WIRE_CONFLUENT };

struct headline {
    /* Borrowed from the codec until its next decode; never NULL, len 0 when absent. */
    const char *id;
    size_t id_len;
    const char *title; /* not checked: run title_check */
    size_t title_len;
    int64_t published_unix_ms; /* 0 when absent */
    /* What is wrong with this one beside its title (an id that is not UTF-8, a JSON value of the
     * wrong type): it cannot be used, the others of its record can. NULL: nothing. A static string.
     */
    const char *fault;
};

/* max_memory bounds what decoding one record allocates. 64 times the largest record is enough for
 * anything sensible: a copy of it in protobuf, the parsed document in JSON. */
struct codec;
struct codec *codec_open(enum wire in, size_t max_headlines, size_t max_memory);
void codec_close(struct codec *c); /* NULL allowed */

/* The schema ids that confluent frames may have, instead of those before; ids is copied. Until then
 * there is none, and every frame is refused. The other forms do not look at it. */
void codec_allow(struct codec *c, const uint32_t *ids, size_t n);

/* Decodes value[0..len) into *items (borrowed, n of them). 0 with n == 0 is an empty batch. -1: the
 * record cannot be decoded; err says why and, where that can be known, at which byte or headline,
 * but never quotes the record. Text borrowed from value is not copied: value must live as long as
 * items. A headline that is wrong by itself says so in its fault; one without title, or in JSON
 * with one that is no string, comes out with title_len 0 and is judged by title_check like any
 * other. */
int codec_decode(struct codec *c, const void *value, size_t len, const struct headline **items,
                 size_t *n, struct err *err);

struct score {
    const char *label;
    uint32_t index;
    float probability;
};

struct category {
    const char *id;
    size_t id_len;
    struct score best;
    const struct score *top;
    size_t n_top;
    const char *model_name, *model_version;
    int64_t published_unix_ms, classified_unix_ms;
    uint32_t schema_id; /* confluent only: that of category.proto */
    const char *title;  /* NULL: left out */
    size_t title_len;
};

/* Appends one encoded category to out: protobuf, alone or in a confluent frame that names Category
 * of category.proto, or one JSON object without a newline. The JSON
 * keys are those of category.proto, probabilities with 6 significant digits; "top" is left out when
 * it is empty, "published_unix_ms" when it is 0, "title" when it is NULL. id and title must be
 * valid UTF-8: the caller has checked the title, and codec_decode refuses another id. */
void codec_encode(enum wire out_form, const struct category *cat, struct buf *out);

#endif
