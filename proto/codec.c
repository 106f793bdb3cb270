#include "proto/codec.h"

#include <stdlib.h>
#include <string.h>

#include "proto/codec_forms.h"

struct codec *codec_open(enum wire in, size_t max_headlines, size_t max_memory)
{
    struct codec *c = xcalloc(1, sizeof *c);
    c->in = in;
    c->max_headlines = max_headlines;
    c->max_memory = max_memory;
    if (in == WIRE_PROTOBUF || in == WIRE_CONFLUENT)
        c->block = xmalloc(max_memory);
    return c;
}

void codec_close(struct codec *c)
{
    if (!c)
        return;
    codec_forget_json(c);
    free(c->block);
    free(c->allowed);
    free(c->items);
    free(c);
}

void codec_allow(struct codec *c, const uint32_t *ids, size_t n)
{
    c->allowed = xrealloc(c->allowed, n * sizeof *ids);
    if (n)
        memcpy(c->allowed, ids, n * sizeof *ids);
    c->n_allowed = n;
}

int codec_add(struct codec *c, const struct headline *h, struct err *err)
{
    if (c->n == c->max_headlines)
        return err_set(err, ERR_FORMAT, "more than %zu headlines", c->max_headlines);
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 16;
        c->items = xrealloc(c->items, c->cap * sizeof *c->items);
    }
    c->items[c->n++] = *h;
    return 0;
}

static int decode_text(struct codec *c, const char *value, size_t len, struct err *err)
{
    if (len && value[len - 1] == '\n') {
        len--;
        if (len && value[len - 1] == '\r')
            len--;
    }
    const struct headline h = {.id = "", .title = len ? value : "", .title_len = len};
    return codec_add(c, &h, err);
}

int codec_decode(struct codec *c, const void *value, size_t len, const struct headline **items,
                 size_t *n, struct err *err)
{
    static const char *const names[] = {"protobuf", "JSON", "text", "confluent"};
    int rc = -1;
    c->n = 0;
    switch (c->in) {
    case WIRE_PROTOBUF:
        rc = codec_decode_protobuf(c, MESSAGE_RECORD, value, len, 0, err);
        break;
    case WIRE_JSON:
        rc = codec_decode_json(c, value, len, err);
        break;
    case WIRE_TEXT:
        rc = decode_text(c, value, len, err);
        break;
    case WIRE_CONFLUENT:
        rc = codec_decode_confluent(c, value, len, err);
        break;
    }
    if (rc != 0)
        return err_prefix(err, "%s", names[c->in]);
    *items = c->items;
    *n = c->n;
    return 0;
}

void codec_encode(enum wire out_form, const struct category *cat, struct buf *out)
{
    if (out_form == WIRE_JSON)
        codec_encode_json(cat, out);
    else if (out_form == WIRE_CONFLUENT)
        codec_encode_confluent(cat, out);
    else
        codec_encode_protobuf(cat, out);
}
