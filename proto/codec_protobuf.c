#include "proto/codec_forms.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "category.pb-c.h"
#include "headline.pb-c.h"

static void *take(void *arg, size_t size)
{
    struct codec *c = arg;
    size_t need = (size + 15) & ~(size_t)15;
    if (size > c->max_memory || need > c->max_memory - c->used) {
        c->exhausted = true;
        return NULL;
    }
    void *p = c->block + c->used;
    c->used += need;
    return p;
}

static void give(void *arg, void *p)
{
    (void)arg;
    (void)p; /* the whole block is forgotten at once */
}

/* Well-formed UTF-8, table 3-7 of the Unicode Standard: no overlong forms, no surrogates, at most
 * U+10FFFF. (data/ has this and more, but proto/ stands beside it, not on it.) */
static bool is_utf8(const unsigned char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        unsigned char c = s[i++];
        if (c < 0x80)
            continue;
        unsigned char low = 0x80, high = 0xBF; /* of the second byte */
        size_t more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
        if (c < 0xC2 || c > 0xF4 || more > n - i)
            return false;
        if (c == 0xE0)
            low = 0xA0;
        else if (c == 0xED)
            high = 0x9F;
        else if (c == 0xF0)
            low = 0x90;
        else if (c == 0xF4)
            high = 0x8F;
        for (; more; more--, i++, low = 0x80, high = 0xBF)
            if (s[i] < low || s[i] > high)
                return false;
    }
    return true;
}

/* Reads a varint at *at; false when it is cut off or longer than ten bytes. */
static bool read_varint(const unsigned char *p, size_t len, size_t *at, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 70 && *at < len; shift += 7) {
        unsigned char byte = p[(*at)++];
        *value |= shift < 64 ? (uint64_t)(byte & 0x7F) << shift : 0;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* The parser only says that a record is none. This walk over the refused bytes finds out where and
 * why; base is their place in the record. Returns false when it finds nothing. */
static bool find_fault(const ProtobufCMessageDescriptor *desc, const unsigned char *p, size_t len,
                       size_t base, struct err *err)
{
    for (size_t at = 0; at < len;) {
        size_t begin = at;
        uint64_t tag, size = 0;
        if (!read_varint(p, len, &at, &tag)) {
            (void)err_set(err, ERR_FORMAT, "byte %zu: a field's tag is cut off", base + begin);
            return true;
        }
        unsigned type = (unsigned)(tag & 7), number = (unsigned)(tag >> 3);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(desc, number);
        unsigned expected = field && field->type == PROTOBUF_C_TYPE_INT64 ? 0 : 2;
        const char *what = NULL;
        if (tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF)
            what = "its number is none";
        else if (field && type != expected)
            what = "not of the type that headline.proto gives it";
        else if (type == 0 ? !read_varint(p, len, &at, &size)
                           : type == 2 && !read_varint(p, len, &at, &size))
            what = "cut off";
        else if (type == 3 || type == 4 || type > 5)
            what = "of a wire type that is not supported";
        size = type == 1 ? 8 : type == 5 ? 4 : type == 2 ? size : 0;
        if (!what && size > len - at)
            what = "longer than what holds it";
        if (what) {
            (void)err_set(err, ERR_FORMAT, "byte %zu: field %u: %s", base + begin, number, what);
            return true;
        }
        if (field && field->type == PROTOBUF_C_TYPE_MESSAGE &&
            find_fault(field->descriptor, p + at, (size_t)size, base + at, err))
            return true;
        at += (size_t)size;
    }
    return false;
}

static int refuse(const struct codec *c, const unsigned char *p, size_t len, size_t base,
                  struct err *err)
{
    if (c->exhausted)
        return err_set(err, ERR_FORMAT, "decoding it takes more than %zu bytes of memory",
                       c->max_memory);
    if (find_fault(&rubric__v1__headline_record__descriptor, p, len, base, err))
        return -1;
    return err_set(err, ERR_FORMAT, "not a HeadlineRecord");
}

static int add(struct codec *c, const ProtobufCBinaryData *id, const ProtobufCBinaryData *title,
               int64_t published, struct err *err)
{
    struct headline h = {.id = id->len ? (const char *)id->data : "",
                         .id_len = id->len,
                         .title = title->len ? (const char *)title->data : "",
                         .title_len = title->len,
                         .published_unix_ms = published};
    if (!is_utf8(id->data, id->len))
        h.fault = "id is not UTF-8";
    return codec_add(c, &h, err);
}

int codec_decode_protobuf(struct codec *c, enum message message, const unsigned char *value,
                          size_t len, size_t begin, struct err *err)
{
    ProtobufCAllocator allocator = {.alloc = take, .free = give, .allocator_data = c};
    c->used = 0;
    c->exhausted = false;
    if (len > INT_MAX) /* the parser counts in unsigned int */
        return err_set(err, ERR_FORMAT, "record of %zu bytes", len);
    const Rubric__V1__HeadlineRecord *r =
        rubric__v1__headline_record__unpack(&allocator, len - begin, value + begin);
    if (!r)
        return refuse(c, value + begin, len - begin, begin, err);
    bool single = r->has_id || r->has_title || r->has_published_unix_ms || r->has_source ||
                  r->has_url || r->has_language;
    if (single && r->n_headlines)
        return err_set(err, ERR_FORMAT, "ambiguous: fields of one headline beside a list of %zu",
                       r->n_headlines);
    if (message == MESSAGE_HEADLINE && r->n_headlines)
        return err_set(err, ERR_FORMAT, "a Headline with a list of %zu headlines", r->n_headlines);
    if (message == MESSAGE_BATCH && single)
        return err_set(err, ERR_FORMAT, "a HeadlineBatch with the fields of one headline");
    if (single || message == MESSAGE_HEADLINE)
        return add(c, &r->id, &r->title, r->published_unix_ms, err);
    for (size_t i = 0; i < r->n_headlines; i++) {
        const Rubric__V1__Headline *h = r->headlines[i];
        if (add(c, &h->id, &h->title, h->published_unix_ms, err) != 0)
            return -1;
    }
    return 0;
}

/* The message is only read, so what is const stays so. */
static ProtobufCBinaryData borrow(const char *s, size_t n)
{
    return (ProtobufCBinaryData){.len = n, .data = (uint8_t *)(uintptr_t)s};
}

/* As proto3 does it: what is empty or zero is not sent. */
static void fill_score(Rubric__V1__Score *m, const struct score *s)
{
    rubric__v1__score__init(m);
    m->label = borrow(s->label, strlen(s->label));
    m->has_label = m->label.len != 0;
    m->index = s->index;
    m->has_index = s->index != 0;
    m->probability = s->probability;
    m->has_probability = s->probability != 0;
}

static void pack(const Rubric__V1__Category *m, struct buf *out)
{
    enum { USUAL = 2048 };
    uint8_t small[USUAL];
    size_t size = rubric__v1__category__get_packed_size(m);
    uint8_t *p = size <= USUAL ? small : xmalloc(size);
    (void)rubric__v1__category__pack(m, p);
    buf_put(out, p, size);
    if (p != small)
        free(p);
}

void codec_encode_protobuf(const struct category *cat, struct buf *out)
{
    enum { USUAL = 16 };
    Rubric__V1__Score few[USUAL], *scores = few, *few_at[USUAL], **at = few_at;
    Rubric__V1__Category m = RUBRIC__V1__CATEGORY__INIT;
    if (cat->n_top > USUAL) {
        scores = xcalloc(cat->n_top, sizeof *scores);
        at = xcalloc(cat->n_top, sizeof *at);
    }
    for (size_t i = 0; i < cat->n_top; i++) {
        fill_score(&scores[i], &cat->top[i]);
        at[i] = &scores[i];
    }
    m.n_top = cat->n_top;
    m.top = at;
    m.id = borrow(cat->id, cat->id_len);
    m.has_id = cat->id_len != 0;
    m.label = borrow(cat->best.label, strlen(cat->best.label));
    m.has_label = m.label.len != 0;
    m.index = cat->best.index;
    m.has_index = m.index != 0;
    m.probability = cat->best.probability;
    m.has_probability = m.probability != 0;
    m.model_name = borrow(cat->model_name, strlen(cat->model_name));
    m.has_model_name = m.model_name.len != 0;
    m.model_version = borrow(cat->model_version, strlen(cat->model_version));
    m.has_model_version = m.model_version.len != 0;
    m.published_unix_ms = cat->published_unix_ms;
    m.has_published_unix_ms = cat->published_unix_ms != 0;
    m.classified_unix_ms = cat->classified_unix_ms;
    m.has_classified_unix_ms = cat->classified_unix_ms != 0;
    m.title = borrow(cat->title, cat->title_len);
    m.has_title = cat->title && cat->title_len;
    pack(&m, out);
    if (scores != few) {
        free(scores);
        free(at);
    }
}
