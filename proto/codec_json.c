#include "proto/codec_forms.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static const char *const headline_keys[] = {"id",     "title", "published_unix_ms",
                                            "source", "url",   "language"};
enum { N_KEYS = sizeof headline_keys / sizeof *headline_keys };

void codec_forget_json(struct codec *c)
{
    json_decref(c->documents);
    c->documents = NULL;
}

/* null stands for a missing key: many writers put it. */
static const json_t *member(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_null(v) ? NULL : v;
}

/* An id is text; a number is taken as the digits it is written with. */
static void read_id(struct codec *c, const json_t *id, struct headline *h)
{
    if (json_is_integer(id)) {
        json_t *digits = json_sprintf("%lld", (long long)json_integer_value(id));
        (void)json_array_append_new(c->documents, digits);
        id = digits;
    }
    if (!json_is_string(id)) {
        h->fault = "\"id\": expected a string";
        return;
    }
    h->id = json_string_value(id);
    h->id_len = json_string_length(id);
}

static int add_object(struct codec *c, const json_t *obj, struct err *err)
{
    struct headline h = {.id = "", .title = ""};
    if (!json_is_object(obj))
        h.fault = "expected an object";
    const json_t *id = member(obj, "id"), *title = member(obj, "title"),
                 *published = member(obj, "published_unix_ms");
    if (id)
        read_id(c, id, &h);
    if (json_is_string(title)) {
        h.title = json_string_value(title);
        h.title_len = json_string_length(title);
    }
    if (published) {
        h.published_unix_ms = json_integer_value(published);
        if (!json_is_integer(published))
            h.fault = "\"published_unix_ms\": expected an integer";
    }
    return codec_add(c, &h, err);
}

static int add_list(struct codec *c, const json_t *list, struct err *err)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (add_object(c, json_array_get(list, i), err) != 0)
            return -1;
    return 0;
}

static int add_document(struct codec *c, const json_t *doc, struct err *err)
{
    if (json_is_array(doc))
        return add_list(c, doc, err);
    const json_t *list = member(doc, "headlines");
    if (!list)
        return add_object(c, doc, err);
    if (!json_is_array(list))
        return err_set(err, ERR_FORMAT, "\"headlines\": expected an array");
    for (int i = 0; i < N_KEYS; i++)
        if (member(doc, headline_keys[i]))
            return err_set(err, ERR_FORMAT, "ambiguous: both \"%s\" and \"headlines\" are set",
                           headline_keys[i]);
    return add_list(c, list, err);
}

/* Moves past white space; true when a line ended in it. */
static bool skip_space(const char *s, size_t len, size_t *at)
{
    bool line = false;
    for (; *at < len && strchr(" \t\r\n", s[*at]) && s[*at]; ++*at)
        line |= s[*at] == '\n';
    return line;
}

/* The parser quotes what stands near the fault; its place is said here instead, so that no title
 * gets into messages. */
static int syntax_fault(size_t at, json_error_t *je, struct err *err)
{
    char *near = strstr(je->text, " near ");
    if (near)
        *near = '\0';
    size_t behind = je->position > 0 ? (size_t)je->position : 0;
    return err_set(err, ERR_FORMAT, "byte %zu: %s", at + behind, je->text);
}

int codec_decode_json(struct codec *c, const char *value, size_t len, struct err *err)
{
    codec_forget_json(c);
    size_t cost = json_cost(value, len), at = 0;
    if (cost > c->max_memory)
        return err_set(err, ERR_FORMAT, "decoding it could take %zu bytes of memory, at most %zu",
                       cost, c->max_memory);
    c->documents = json_array();
    (void)skip_space(value, len, &at);
    bool own_line = true;
    while (at < len) {
        json_error_t je;
        if (!own_line)
            return err_set(err, ERR_FORMAT, "byte %zu: expected the end, or a line of its own", at);
        /* NUL is let through for title_check to find. */
        json_t *doc =
            json_loadb(value + at, len - at,
                       JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &je);
        if (!doc)
            return syntax_fault(at, &je, err);
        (void)json_array_append_new(c->documents, doc);
        if (add_document(c, doc, err) != 0)
            return -1;
        at += (size_t)je.position;
        own_line = skip_space(value, len, &at);
    }
    return 0;
}

static void put_key(struct buf *out, const char *key)
{
    buf_puts(out, out->len && out->data[out->len - 1] == '{' ? "\"" : ",\"");
    buf_puts(out, key);
    buf_puts(out, "\":");
}

static void put_text(struct buf *out, const char *key, const char *s, size_t n)
{
    put_key(out, key);
    buf_put(out, "\"", 1);
    buf_put_json(out, s, n);
    buf_put(out, "\"", 1);
}

static void put_integer(struct buf *out, const char *key, int64_t value)
{
    char digits[24];
    put_key(out, key);
    buf_put(out, digits, (size_t)snprintf(digits, sizeof digits, "%lld", (long long)value));
}

static void put_score(struct buf *out, const struct score *s)
{
    char digits[32];
    put_text(out, "label", s->label, strlen(s->label));
    put_integer(out, "index", s->index);
    put_key(out, "probability");
    if (isfinite(s->probability))
        buf_put(out, digits,
                (size_t)snprintf(digits, sizeof digits, "%.6g", (double)s->probability));
    else
        buf_puts(out, "null"); /* JSON has no other word for it */
}

void codec_encode_json(const struct category *cat, struct buf *out)
{
    buf_put(out, "{", 1);
    put_text(out, "id", cat->id, cat->id_len);
    put_score(out, &cat->best);
    if (cat->n_top) {
        put_key(out, "top");
        for (size_t i = 0; i < cat->n_top; i++) {
            buf_puts(out, i ? ",{" : "[{");
            put_score(out, &cat->top[i]);
            buf_put(out, "}", 1);
        }
        buf_put(out, "]", 1);
    }
    put_text(out, "model_name", cat->model_name, strlen(cat->model_name));
    put_text(out, "model_version", cat->model_version, strlen(cat->model_version));
    if (cat->published_unix_ms)
        put_integer(out, "published_unix_ms", cat->published_unix_ms);
    put_integer(out, "classified_unix_ms", cat->classified_unix_ms);
    if (cat->title)
        put_text(out, "title", cat->title, cat->title_len);
    buf_put(out, "}", 1);
}
