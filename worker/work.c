#include "worker/work.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "data/title.h"

const char *reason_name(enum reason r)
{
    static const char *const names[REASON_COUNT] = {"none",      "null-value", "empty-batch",
                                                    "malformed", NULL,         NULL,
                                                    NULL,        NULL,         "output-too-large"};
    switch (r) {
    case REASON_INVALID_UTF8:
        return title_fault_name(TITLE_INVALID_UTF8);
    case REASON_NUL_IN_TITLE:
        return title_fault_name(TITLE_NUL);
    case REASON_EMPTY_TITLE:
        return title_fault_name(TITLE_EMPTY);
    case REASON_TITLE_TOO_LONG:
        return title_fault_name(TITLE_TOO_LONG);
    default:
        return names[r];
    }
}

static enum reason reason_of(enum title_fault fault)
{
    switch (fault) {
    case TITLE_OK:
        break;
    case TITLE_INVALID_UTF8:
        return REASON_INVALID_UTF8;
    case TITLE_NUL:
        return REASON_NUL_IN_TITLE;
    case TITLE_EMPTY:
        return REASON_EMPTY_TITLE;
    case TITLE_TOO_LONG:
        return REASON_TITLE_TOO_LONG;
    }
    return REASON_NONE;
}

void work_init(struct work *w)
{
    *w = (struct work){0};
    buf_init(&w->text, UINT32_MAX);
    buf_init(&w->notes, UINT32_MAX);
    buf_init(&w->out, SIZE_MAX / 2);
}

void work_done(struct work *w)
{
    buf_done(&w->text);
    buf_done(&w->notes);
    buf_done(&w->out);
    free(w->records);
    free(w->items);
}

void work_reset(struct work *w)
{
    buf_reset(&w->text);
    buf_reset(&w->notes);
    buf_reset(&w->out);
    w->n_records = w->n_items = 0;
    w->fill = (struct batch_fill){0};
    w->decode_ns = 0;
    w->closed = CLOSE_NOT;
    w->done = false;
    w->next = NULL;
}

static struct item *new_item(struct work *w, int32_t index)
{
    if (w->n_items == w->cap_items) {
        w->cap_items = w->cap_items ? 2 * w->cap_items : 512;
        w->items = xrealloc(w->items, w->cap_items * sizeof *w->items);
    }
    struct item *it = &w->items[w->n_items++];
    *it = (struct item){.record = (uint32_t)(w->n_records - 1), .index = index};
    return it;
}

/* Code points of valid UTF-8: what the title costs, at most; a word-piece tokeniser makes no more
 * of them. */
static int32_t count_tokens(const char *s, size_t n, int32_t max)
{
    int32_t points = 0;
    for (size_t i = 0; i < n && points < max; i++)
        points += ((unsigned char)s[i] & 0xC0) != 0x80;
    return points;
}

static void add_note(struct work *w, struct item *it, const char *note)
{
    it->reason = REASON_MALFORMED;
    it->title = (uint32_t)w->notes.len;
    buf_put(&w->notes, note, strlen(note) + 1);
}

static void add_headline(struct work *w, const struct headline *h, int32_t index,
                         const struct config *cfg, int32_t max_tokens)
{
    struct item *it = new_item(w, index);
    it->published_unix_ms = h->published_unix_ms;
    it->reason = reason_of(title_check(h->title, h->title_len, cfg->max_title_bytes, NULL));
    if (h->fault) {
        add_note(w, it, h->fault);
        return;
    }
    if (it->reason != REASON_NONE)
        return;
    it->id = (uint32_t)w->text.len;
    it->id_len = (uint32_t)h->id_len;
    buf_put(&w->text, h->id, h->id_len);
    it->title = (uint32_t)w->text.len;
    it->title_len = (uint32_t)h->title_len;
    buf_put(&w->text, h->title, h->title_len);
    w->fill.titles++;
    w->fill.tokens += count_tokens(h->title, h->title_len, max_tokens);
}

void work_add(struct work *w, const struct record *r, struct codec *codec, const struct config *cfg,
              int32_t max_tokens)
{
    if (w->fill.records == 0)
        w->fill.since_ns = clock_ns();
    if (w->n_records == w->cap_records) {
        w->cap_records = w->cap_records ? 2 * w->cap_records : 512;
        w->records = xrealloc(w->records, w->cap_records * sizeof *w->records);
    }
    w->records[w->n_records++] = *r;
    w->fill.records++;
    w->fill.bytes += r->len + r->key_len;
    if (!r->value) {
        new_item(w, 0)->reason = REASON_NULL_VALUE;
        return;
    }
    const struct headline *items;
    size_t n;
    struct err err;
    if (codec_decode(codec, r->value, r->len, &items, &n, &err) != 0) {
        add_note(w, new_item(w, 0), err.msg);
        return;
    }
    if (n == 0)
        new_item(w, 0)->reason = REASON_EMPTY_BATCH;
    for (size_t i = 0; i < n; i++)
        add_headline(w, &items[i], (int32_t)i, cfg, max_tokens);
}

const char *work_note(const struct work *w, const struct item *it)
{
    static const char *const notes[REASON_COUNT] = {
        [REASON_NULL_VALUE] = "the record has no value: a tombstone has no title",
        [REASON_EMPTY_BATCH] = "the batch holds no headline",
        [REASON_INVALID_UTF8] = "the title is not valid UTF-8",
        [REASON_NUL_IN_TITLE] = "the title holds a NUL character",
        [REASON_EMPTY_TITLE] = "the headline has no title, or only white space",
        [REASON_TITLE_TOO_LONG] = "the title is longer than max-title-bytes",
    };
    if (it->reason == REASON_MALFORMED)
        return w->notes.data + it->title;
    return notes[it->reason] ? notes[it->reason] : "";
}
