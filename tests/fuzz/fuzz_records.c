/* Any bytes as a record in each form: refused with a message, or headlines whose text lies where it
 * may; and what was decoded is encoded again, in JSON that can be read back. The first byte chooses
 * form and bounds. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "proto/codec.h"

static struct codec *codecs[3][2];
static struct buf out;

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

static void encode(const struct headline *h)
{
    json_t *title = json_stringn(h->title, h->title_len); /* NULL when it is not UTF-8 */
    const struct score top[] = {{"sports", 7, 0.75f}, {"finance", 0, 0.25f}};
    const struct category cat = {.id = h->id,
                                 .id_len = h->id_len,
                                 .best = top[0],
                                 .top = top,
                                 .n_top = 2,
                                 .model_name = "m",
                                 .model_version = "v",
                                 .published_unix_ms = h->published_unix_ms,
                                 .classified_unix_ms = 1,
                                 .title = title ? h->title : NULL,
                                 .title_len = h->title_len};
    buf_reset(&out);
    codec_encode(WIRE_JSON, &cat, &out);
    json_t *back = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    const json_t *id = json_object_get(back, "id");
    require(back && json_string_length(id) == h->id_len &&
            memcmp(json_string_value(id), h->id, h->id_len) == 0);
    require(json_integer_value(json_object_get(back, "published_unix_ms")) == h->published_unix_ms);
    require(!title || json_equal(title, json_object_get(back, "title")));
    json_decref(back);
    json_decref(title);
    buf_reset(&out);
    codec_encode(WIRE_PROTOBUF, &cat, &out);
    require(!out.full);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum wire forms[] = {WIRE_PROTOBUF, WIRE_JSON, WIRE_TEXT};
    if (size == 0)
        return 0;
    if (!codecs[0][0]) {
        buf_init(&out, SIZE_MAX / 2);
        for (int i = 0; i < 3; i++) {
            codecs[i][0] = codec_open(forms[i], 1000, 1 << 22);
            codecs[i][1] = codec_open(forms[i], 3, 3000);
        }
    }
    struct codec *c = codecs[data[0] % 3][data[0] / 3 % 2];
    const struct headline *items = NULL;
    size_t n = 0;
    struct err err = {0};
    if (codec_decode(c, data + 1, size - 1, &items, &n, &err) != 0) {
        require(!items && err.code == ERR_FORMAT && strlen(err.msg) > 6);
        return 0;
    }
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++) {
        require(items[i].id && items[i].title);
        sum += touch(items[i].id, items[i].id_len) + touch(items[i].title, items[i].title_len);
        if (!items[i].fault) /* the worker does not classify the others */
            encode(&items[i]);
    }
    (void)sum;
    return 0;
}
