#include "data/pieces.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "data/sentencepiece.h"
#include "data/utf8.h"

enum { MAX_SPECIALS = 12, MAX_SPECIAL = 20 };

/* A special token written in the text is itself, not pieces. */
struct special {
    char text[MAX_SPECIAL];
    size_t len;
    int32_t id;
    bool strip_left; /* white space before it is dropped */
};

struct pieces {
    struct pieces_options opt;
    struct sentencepiece_model *sp;
    bool prepare; /* XLNet's and ALBERT's cleaning */
    struct special specials[MAX_SPECIALS];
    int n_specials;
    int32_t first, last[2]; /* -1: none */
};

/* Id of a special token that the model must have, or -1 with the reason. */
static int need(const struct pieces *t, const char *path, const char *name, int32_t *id,
                struct err *err)
{
    *id = sentencepiece_id(t->sp, name, strlen(name));
    return *id >= 0 ? 0
                    : err_set(err, ERR_FORMAT, "%s: none of its %d pieces is %s", path,
                              (int)sentencepiece_size(t->sp), name);
}

static void add_specials(struct pieces *t, const char *const *names)
{
    for (; *names; names++) {
        struct special *s = &t->specials[t->n_specials];
        s->len = strlen(*names);
        memcpy(s->text, *names, s->len);
        s->id = sentencepiece_id(t->sp, *names, s->len);
        s->strip_left = strstr(*names, "mask") != NULL || strstr(*names, "MASK") != NULL;
        t->n_specials += s->id >= 0;
    }
}

static int open_kind(struct pieces *t, const char *path, struct err *err)
{
    static const char *const xlnet[] = {"<s>",   "</s>",   "<unk>", "<sep>", "<pad>",
                                        "<cls>", "<mask>", "<eop>", "<eod>", NULL},
                             *const t5[] = {"</s>", "<unk>", "<pad>", NULL},
                             *const albert[] = {"[CLS]", "[SEP]", "<unk>", "<pad>", "[MASK]", NULL};
    switch (t->opt.kind) {
    case PIECES_T5:
        add_specials(t, t5);
        return need(t, path, "</s>", &t->last[0], err);
    case PIECES_XLNET:
        add_specials(t, xlnet);
        return need(t, path, "<sep>", &t->last[0], err) != 0
                   ? -1
                   : need(t, path, "<cls>", &t->last[1], err);
    default:
        add_specials(t, albert);
        return need(t, path, "[CLS]", &t->first, err) != 0
                   ? -1
                   : need(t, path, "[SEP]", &t->last[0], err);
    }
}

int pieces_open(const char *path, const struct pieces_options *opt, struct pieces **out,
                struct err *err)
{
    struct pieces *t = xcalloc(1, sizeof *t);
    t->opt = *opt;
    t->prepare = opt->kind != PIECES_T5;
    t->first = t->last[0] = t->last[1] = -1;
    if (sentencepiece_open(path, &t->sp, err) != 0 || open_kind(t, path, err) != 0) {
        pieces_close(t);
        return -1;
    }
    *out = t;
    return 0;
}

void pieces_close(struct pieces *t)
{
    if (!t)
        return;
    sentencepiece_close(t->sp);
    free(t);
}

int32_t pieces_size(const struct pieces *t)
{
    return sentencepiece_size(t->sp) + t->opt.extra_ids;
}

struct writer {
    const struct pieces *p;
    int32_t *ids, n, max; /* max: room before the last ones */
    bool cut;
};

static bool put(struct writer *w, int32_t id)
{
    if (w->n < w->max)
        w->ids[w->n++] = id;
    else
        w->cut = true;
    return !w->cut;
}

static bool put_piece(void *arg, int32_t id, const char *piece, size_t n)
{
    (void)piece;
    (void)n;
    return put(arg, id);
}

#define UNDERLINE "\xe2\x96\x81" /* U+2581, a blank within pieces */
enum { UNDERLINE_BYTES = 3 };

/* The pieces of a number without its comma, as they stand behind another piece. */
struct rest {
    struct writer *w;
    bool first, inside; /* inside: the number had no blank before it */
};

static bool put_rest(void *arg, int32_t id, const char *piece, size_t n)
{
    struct rest *r = arg;
    bool first = r->first;
    r->first = false;
    if (first && r->inside && n >= UNDERLINE_BYTES &&
        memcmp(piece, UNDERLINE, UNDERLINE_BYTES) == 0) {
        if (n == UNDERLINE_BYTES)
            return true;
        id = sentencepiece_id(r->w->p->sp, piece + UNDERLINE_BYTES, n - UNDERLINE_BYTES);
        id = id < 0 ? sentencepiece_unknown(r->w->p->sp) : id;
    }
    return put(r->w, id);
}

/* XLNet's and ALBERT's: "9," is "9" and ",", whatever the model says. */
static bool put_number(void *arg, int32_t id, const char *piece, size_t n)
{
    struct writer *w = arg;
    size_t before = n - 1;
    if (n < 2 || piece[n - 1] != ',')
        return put(w, id);
    while (before > 1 && ((unsigned char)piece[before - 1] & 0xc0) == 0x80)
        before--;
    uint32_t digit = 0;
    if (!utf8_decode(piece + before - 1, n - before, &digit) || !utf8_is_digit(digit))
        return put(w, id);
    char *text = xmalloc(n);
    size_t len = 0;
    for (size_t i = 0; i + 1 < n;) {
        if (n - 1 - i >= UNDERLINE_BYTES && memcmp(piece + i, UNDERLINE, UNDERLINE_BYTES) == 0)
            i += UNDERLINE_BYTES;
        else
            text[len++] = piece[i++];
    }
    struct rest r = {w, true,
                     n < UNDERLINE_BYTES || memcmp(piece, UNDERLINE, UNDERLINE_BYTES) != 0};
    sentencepiece_encode(w->p->sp, text, len, put_rest, &r);
    free(text);
    int32_t comma = sentencepiece_id(w->p->sp, ",", 1);
    return put(w, comma < 0 ? sentencepiece_unknown(w->p->sp) : comma);
}

/* White space squeezed, none at the ends; `` and '' as ". */
static void squeeze(const struct pieces *t, const char *s, size_t n, struct buf *b)
{
    bool blank = false;
    for (size_t i = 0; i < n;) {
        size_t at = i;
        uint32_t c = utf8_next(s, n, &i);
        if (t->opt.remove_space && (utf8_is_space(c) || (c >= 0x1c && c <= 0x1f))) {
            blank = b->len > 0;
            continue;
        }
        if (blank)
            buf_puts(b, " ");
        blank = false;
        if ((c == '`' || c == '\'') && i < n && s[i] == (char)c) {
            buf_puts(b, "\"");
            i++;
        } else {
            buf_put(b, s + at, i - at);
        }
    }
}

static void encode_text(struct writer *w, const char *s, size_t n)
{
    const struct pieces *t = w->p;
    if (n == 0)
        return;
    if (!t->prepare) {
        sentencepiece_encode(t->sp, s, n, put_piece, w);
        return;
    }
    struct buf b;
    buf_init(&b, 4 * n + 16);
    squeeze(t, s, n, &b);
    size_t len = b.len;
    char *text = buf_take(&b);
    if (text && !t->opt.keep_accents) {
        char *bare = utf8_bare(text, len, &len);
        free(text);
        text = bare;
    }
    if (text && t->opt.lower_case) {
        char *lower = utf8_lower_text(text, len, &len);
        free(text);
        text = lower;
    }
    if (text)
        sentencepiece_encode(t->sp, text, len, put_number, w);
    free(text);
}

/* A special token found in the text: the white space beside some of them goes with them. */
struct found {
    size_t len; /* 0: there is none */
    int32_t id;
    bool strip_left, strip_right;
};

/* <extra_id_n>: T5's, counted down from the last id. */
static struct found extra_at(const struct pieces *t, const char *s, size_t n)
{
    static const char begin[] = "<extra_id_";
    size_t at = sizeof begin - 1;
    int value = 0, digits = 0;
    if (n < at || memcmp(s, begin, at) != 0)
        return (struct found){0};
    while (at < n && s[at] >= '0' && s[at] <= '9' && value < t->opt.extra_ids &&
           !(digits == 1 && value == 0)) {
        value = 10 * value + (s[at++] - '0');
        digits++;
    }
    if (!digits || value >= t->opt.extra_ids || at == n || s[at] != '>')
        return (struct found){0};
    return (struct found){at + 1, sentencepiece_size(t->sp) + t->opt.extra_ids - 1 - value, true,
                          true};
}

static struct found special_at(const struct pieces *t, const char *s, size_t n)
{
    if (*s != '<' && *s != '[')
        return (struct found){0};
    for (int i = 0; i < t->n_specials; i++) {
        const struct special *p = &t->specials[i];
        if (n >= p->len && memcmp(s, p->text, p->len) == 0)
            return (struct found){p->len, p->id, p->strip_left, false};
    }
    return extra_at(t, s, n);
}

static bool is_blank(uint32_t c)
{
    return utf8_is_space(c) || (c >= 0x1c && c <= 0x1f);
}

/* Bytes of white space that s[0..n) begins with; how much of it is left before white space. */
static size_t blank_before(const char *s, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n; at = i)
        if (!is_blank(utf8_next(s, n, &i)))
            break;
    return at;
}

static size_t without_blank_behind(const char *s, size_t n)
{
    size_t end = 0;
    for (size_t i = 0; i < n;)
        if (!is_blank(utf8_next(s, n, &i)))
            end = i;
    return end;
}

static void encode_pieces(struct writer *w, const char *s, size_t n)
{
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        struct found f = special_at(w->p, s + i, n - i);
        if (!f.len)
            continue;
        encode_text(w, s + from,
                    f.strip_left ? without_blank_behind(s + from, i - from) : i - from);
        (void)put(w, f.id);
        from = i + f.len;
        if (f.strip_right)
            from += blank_before(s + from, n - from);
        i = from - 1;
    }
    encode_text(w, s + from, n - from);
}

/* In lower case, but for special tokens: then <SEP> is one too. */
static char *lower_around(const struct pieces *t, const char *s, size_t n, size_t *len)
{
    char *text = xmalloc(2 * n + 4); /* as utf8_lower_text() */
    size_t to = 0;
    for (size_t i = 0; i < n;) {
        size_t special = special_at(t, s + i, n - i).len;
        if (special) {
            memcpy(text + to, s + i, special);
            to += special;
            i += special;
            continue;
        }
        uint32_t lower[UTF8_MAX_LOWER], c = utf8_next(s, n, &i);
        int m = utf8_lower(c, lower);
        for (int k = 0; k < m; k++)
            to += utf8_encode(lower[k] & 0x1fffff, text + to);
    }
    *len = to;
    return text;
}

static void encode_title(struct writer *w, const char *title, size_t n)
{
    if (!w->p->opt.lower_case) {
        encode_pieces(w, title, n);
        return;
    }
    size_t len;
    char *text = lower_around(w->p, title, n, &len);
    encode_pieces(w, text, len);
    free(text);
}

int32_t pieces_encode(const struct pieces *t, const char *title, size_t n, int32_t *ids,
                      int32_t max, bool *cut)
{
    int32_t tail = 1 + (t->last[1] >= 0);
    struct writer w = {t, ids, 0, max - tail, false};
    if (t->first >= 0)
        (void)put(&w, t->first);
    encode_title(&w, title, n);
    /* T5's closing token is not written twice. */
    bool closed = t->opt.kind == PIECES_T5 && w.n > 0 && ids[w.n - 1] == t->last[0];
    for (int i = 0; i < tail && !closed; i++)
        ids[w.n++] = t->last[i];
    if (cut)
        *cut = w.cut;
    return w.n;
}
