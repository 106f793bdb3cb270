#include "data/wordpiece.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "data/utf8.h"

enum {
    MAX_FILE = 1 << 28,
    MAX_LINES = 1 << 24,
    MAX_WORD = 100, /* characters; longer words are unknown */
    MAX_BYTES = 4 * MAX_WORD,
    TABLE = 0x10000, /* characters judged once, at open */
};

/* What becomes of a character: its kind and the character it turns into, or that it turns into
 * several or wants its neighbours to be known. */
enum fate { FATE_DROP, FATE_SPACE, FATE_ALONE, FATE_WORD, FATE_SEVERAL, FATE_CONTEXT };
#define FATE(f, c) ((uint32_t)(f) << 24 | (c))
#define FATE_OF(e) ((enum fate)((e) >> 24))
#define CHARACTER_OF(e) ((e)&0xffffff)

/* A piece without its "##". */
struct slot {
    uint32_t hash, at; /* of its bytes in the text of the vocabulary */
    uint16_t len;
    bool inside; /* was written "##x" */
    int32_t id;  /* -1: the slot is free */
};

struct wordpiece {
    struct wordpiece_options opt;
    char *text;
    struct slot *slots;
    uint32_t mask;
    int32_t n;
    size_t longest; /* bytes of a piece */
    int32_t unk, cls, sep;
    struct {
        const char *name;
        size_t len;
        int32_t id;
    } specials[5];
    uint32_t *fates; /* [TABLE] */
    int32_t *alone;  /* [TABLE]: the id of a character that is a word of its own */
};

static uint32_t hash_of(const char *s, size_t n, bool inside)
{
    uint32_t h = inside ? 0x9e3779b9u : 0x811c9dc5u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 0x01000193u;
    return h ^ h >> 15;
}

static struct slot *find(const struct wordpiece *w, const char *s, size_t n, bool inside)
{
    uint32_t h = hash_of(s, n, inside);
    for (uint32_t i = h & w->mask;; i = (i + 1) & w->mask) {
        struct slot *slot = &w->slots[i];
        if (slot->id < 0 || (slot->hash == h && slot->len == n && slot->inside == inside &&
                             memcmp(w->text + slot->at, s, n) == 0))
            return slot;
    }
}

static void add(struct wordpiece *w, size_t at, size_t n, int32_t id)
{
    bool inside = n > 2 && memcmp(w->text + at, "##", 2) == 0;
    at += inside ? 2 : 0;
    n -= inside ? 2 : 0;
    if (n > UINT16_MAX)
        return; /* no word is as long */
    struct slot *slot = find(w, w->text + at, n, inside);
    *slot = (struct slot){hash_of(w->text + at, n, inside), (uint32_t)at, (uint16_t)n, inside, id};
    if (n > w->longest)
        w->longest = n;
}

int32_t wordpiece_id(const struct wordpiece *w, const char *piece)
{
    size_t n = strlen(piece);
    bool inside = n > 2 && memcmp(piece, "##", 2) == 0;
    return inside ? find(w, piece + 2, n - 2, true)->id : find(w, piece, n, false)->id;
}

static int read_lines(struct wordpiece *w, const char *path, struct err *err)
{
    size_t len, lines = 0, at = 0;
    if (file_read(path, MAX_FILE, &w->text, &len, err) != 0)
        return -1;
    for (const char *p = w->text; (p = memchr(p, '\n', len - (size_t)(p - w->text))) != NULL; p++)
        lines++;
    lines += len > 0 && w->text[len - 1] != '\n';
    if (lines > MAX_LINES)
        return err_set(err, ERR_FORMAT, "%s: over %d lines", path, MAX_LINES);
    uint32_t slots = 16;
    while (slots < 2 * lines)
        slots *= 2;
    w->mask = slots - 1;
    w->slots = xmalloc(slots * sizeof *w->slots);
    for (uint32_t i = 0; i < slots; i++)
        w->slots[i].id = -1;
    while (at < len) {
        const char *end = memchr(w->text + at, '\n', len - at);
        size_t n = (end ? (size_t)(end - w->text) : len) - at, next = at + n + 1;
        n -= n && w->text[at + n - 1] == '\r';
        add(w, at, n, w->n++);
        at = next;
    }
    return 0;
}

static int find_specials(struct wordpiece *w, const char *path, struct err *err)
{
    static const char *const names[] = {"[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"};
    for (int i = 0; i < 5; i++) {
        w->specials[i].name = names[i];
        w->specials[i].len = strlen(names[i]);
        w->specials[i].id = wordpiece_id(w, names[i]);
        if (w->specials[i].id < 0 && (i < 2 || i == 3))
            return err_set(err, ERR_FORMAT, "%s: none of its %d lines is %s", path, (int)w->n,
                           names[i]);
    }
    w->unk = w->specials[0].id;
    w->sep = w->specials[1].id;
    w->cls = w->specials[3].id;
    return 0;
}

/* The characters that c turns into, marks and controls still among them. */
static int turn(const struct wordpiece *w, uint32_t c,
                uint32_t out[UTF8_MAX_LOWER * UTF8_MAX_DECOMPOSED])
{
    uint32_t lower[UTF8_MAX_LOWER] = {c};
    int n = w->opt.lower_case ? utf8_lower(c, lower) : 1, total = 0;
    for (int i = 0; i < n; i++)
        total += utf8_decompose(lower[i], !w->opt.strip_accents, out + total);
    return total;
}

/* What one character that was turned into c is to words. */
static uint32_t judge(const struct wordpiece *w, uint32_t c)
{
    switch (utf8_kind(c)) {
    case UTF8_CONTROL:
        return FATE(FATE_DROP, 0);
    case UTF8_SPACE:
        return FATE(FATE_SPACE, ' ');
    case UTF8_MARK:
        return w->opt.strip_accents ? FATE(FATE_DROP, 0) : FATE(FATE_WORD, c);
    case UTF8_PUNCTUATION:
        return FATE(FATE_ALONE, c);
    case UTF8_LETTER:
        break;
    }
    return FATE(w->opt.split_ideographs && utf8_is_ideograph(c) ? FATE_ALONE : FATE_WORD, c);
}

static uint32_t fate(const struct wordpiece *w, uint32_t c)
{
    uint32_t out[UTF8_MAX_LOWER * UTF8_MAX_DECOMPOSED];
    if (utf8_kind(c) == UTF8_CONTROL)
        return FATE(FATE_DROP, 0);
    if (utf8_needs_context(c, !w->opt.strip_accents))
        return FATE(FATE_CONTEXT, 0);
    return turn(w, c, out) == 1 ? judge(w, out[0]) : FATE(FATE_SEVERAL, c);
}

int wordpiece_open(const char *path, const struct wordpiece_options *opt, struct wordpiece **out,
                   struct err *err)
{
    struct wordpiece *w = xcalloc(1, sizeof *w);
    w->opt = *opt;
    if (read_lines(w, path, err) != 0 || find_specials(w, path, err) != 0) {
        wordpiece_close(w);
        return -1;
    }
    w->fates = xmalloc(TABLE * sizeof *w->fates);
    w->alone = xmalloc(TABLE * sizeof *w->alone);
    for (uint32_t c = 0; c < TABLE; c++) {
        char bytes[4];
        bool surrogate = c >= 0xd800 && c < 0xe000;
        w->fates[c] = surrogate ? FATE(FATE_DROP, 0) : fate(w, c);
        int32_t id = surrogate || !c ? -1 : find(w, bytes, utf8_encode(c, bytes), false)->id;
        w->alone[c] = id < 0 ? w->unk : id;
    }
    *out = w;
    return 0;
}

void wordpiece_close(struct wordpiece *w)
{
    if (!w)
        return;
    free(w->text);
    free(w->slots);
    free(w->fates);
    free(w->alone);
    free(w);
}

int32_t wordpiece_size(const struct wordpiece *w)
{
    return w->n;
}

void wordpiece_roles(const struct wordpiece *w, uint8_t *role)
{
    memset(role, PIECE_BEGINS, (size_t)w->n);
    for (uint32_t i = 0; i <= w->mask; i++)
        if (w->slots[i].id >= 0 && w->slots[i].inside)
            role[w->slots[i].id] = PIECE_CONTINUES;
    for (int i = 0; i < 5; i++)
        if (w->specials[i].id >= 0)
            role[w->specials[i].id] = PIECE_SPECIAL;
}

/* The ids so far and the word being read. */
struct reader {
    const struct wordpiece *w;
    int32_t *ids, n, max; /* max: room before [SEP] */
    bool cut;
    int points; /* of the word; above MAX_WORD nothing more is kept */
    size_t len;
    char word[MAX_BYTES + 4];
};

static void put(struct reader *r, int32_t id)
{
    if (r->n < r->max)
        r->ids[r->n++] = id;
    else
        r->cut = true;
}

/* The longest piece that word[at..) begins with; its length in *len. */
static int32_t longest(const struct reader *r, size_t at, size_t *len)
{
    const struct wordpiece *w = r->w;
    size_t left = r->len - at, n = left < w->longest ? left : w->longest;
    for (; n > 0; n--) {
        /* Only whole characters. */
        if (at + n < r->len && ((unsigned char)r->word[at + n] & 0xc0) == 0x80)
            continue;
        int32_t id = find(w, r->word + at, n, at > 0)->id;
        if (id >= 0) {
            *len = n;
            return id;
        }
    }
    return -1;
}

static void end_word(struct reader *r)
{
    int32_t pieces[MAX_WORD];
    int n = 0;
    if (!r->points)
        return;
    bool known = r->points <= MAX_WORD;
    for (size_t at = 0, len = 0; known && at < r->len; at += len) {
        int32_t id = longest(r, at, &len);
        known = id >= 0;
        if (known)
            pieces[n++] = id;
    }
    if (!known) {
        n = 1;
        pieces[0] = r->w->unk;
    }
    for (int i = 0; i < n; i++)
        put(r, pieces[i]);
    r->points = 0;
    r->len = 0;
}

static void add_to_word(struct reader *r, uint32_t c)
{
    if (r->points++ < MAX_WORD)
        r->len += utf8_encode(c, r->word + r->len);
}

static void follow(struct reader *r, uint32_t entry)
{
    uint32_t c = CHARACTER_OF(entry);
    switch (FATE_OF(entry)) {
    case FATE_WORD:
        add_to_word(r, c);
        break;
    case FATE_ALONE:
        end_word(r);
        if (c < TABLE) {
            put(r, r->w->alone[c]);
        } else {
            add_to_word(r, c);
            end_word(r);
        }
        break;
    case FATE_SPACE:
        end_word(r);
        break;
    default:
        break;
    }
}

/* A character that turns into several: each is judged by itself. */
static void follow_several(struct reader *r, uint32_t c)
{
    uint32_t out[UTF8_MAX_LOWER * UTF8_MAX_DECOMPOSED];
    int n = turn(r->w, c, out);
    for (int i = 0; i < n; i++)
        follow(r, judge(r->w, out[i]));
}

/* The special token that s[0..n) begins with, or -1. */
static int special_at(const struct wordpiece *w, const char *s, size_t n)
{
    for (int i = 0; i < 5; i++)
        if (w->specials[i].id >= 0 && n >= w->specials[i].len &&
            memcmp(s, w->specials[i].name, w->specials[i].len) == 0)
            return i;
    return -1;
}

/* Text without special tokens; false when it wants its context to be known first. */
static bool read_text(struct reader *r, const char *s, size_t n)
{
    const struct wordpiece *w = r->w;
    for (size_t i = 0; i < n;) {
        uint32_t c = utf8_next(s, n, &i);
        uint32_t entry = c < TABLE ? w->fates[c] : fate(w, c);
        if (FATE_OF(entry) == FATE_CONTEXT)
            return false;
        if (FATE_OF(entry) == FATE_SEVERAL)
            follow_several(r, c);
        else
            follow(r, entry);
    }
    end_word(r);
    return true;
}

/* Text in which marks compose or change places: made lower case, cleaned and normalised as a whole.
 * Reading the result changes nothing more, and every character can be judged by itself. */
static void read_in_context(struct reader *r, const char *s, size_t n)
{
    const struct wordpiece *w = r->w;
    struct buf b;
    char bytes[4];
    buf_init(&b, 16 * n + 64);
    for (size_t i = 0; i < n;) {
        uint32_t c = utf8_next(s, n, &i), lower[UTF8_MAX_LOWER] = {c};
        int m = w->opt.lower_case ? utf8_lower(c, lower) : 1;
        for (int k = 0; k < m; k++) {
            enum utf8_kind kind = utf8_kind(lower[k]);
            if (kind == UTF8_CONTROL)
                continue;
            bool alone = w->opt.split_ideographs && utf8_is_ideograph(lower[k]);
            if (alone)
                buf_puts(&b, " ");
            buf_put(&b, bytes,
                    kind == UTF8_SPACE ? utf8_encode(' ', bytes) : utf8_encode(lower[k], bytes));
            if (alone)
                buf_puts(&b, " ");
        }
    }
    size_t len;
    char *text = utf8_normalize(b.data ? b.data : "", b.len, !w->opt.strip_accents, &len);
    for (size_t i = 0; i < len;)
        follow(r, judge(w, utf8_next(text, len, &i)));
    end_word(r);
    free(text);
    buf_done(&b);
}

static void read_piece(struct reader *r, const char *s, size_t n)
{
    int32_t before = r->n;
    bool cut = r->cut;
    if (read_text(r, s, n))
        return;
    r->n = before;
    r->cut = cut;
    r->points = 0;
    r->len = 0;
    read_in_context(r, s, n);
}

int32_t wordpiece_encode(const struct wordpiece *w, const char *text, size_t n, int32_t *ids,
                         int32_t max, bool *cut)
{
    struct reader r;
    r.w = w;
    r.ids = ids;
    r.n = 1;
    r.max = max - 1;
    r.cut = false;
    r.points = 0;
    r.len = 0;
    ids[0] = w->cls;
    size_t from = 0;
    for (const char *p = text; (p = memchr(p, '[', n - (size_t)(p - text))) != NULL; p++) {
        size_t at = (size_t)(p - text);
        int s = at < from ? -1 : special_at(w, p, n - at);
        if (s < 0)
            continue;
        read_piece(&r, text + from, at - from);
        put(&r, w->specials[s].id);
        from = at + w->specials[s].len;
    }
    read_piece(&r, text + from, n - from);
    ids[r.n++] = w->sep;
    if (cut)
        *cut = r.cut;
    return r.n;
}
