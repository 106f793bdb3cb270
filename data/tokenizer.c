#include "data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "data/sentencepiece.h"
#include "data/utf8.h"
#include "data/vocab.h"
#include "data/wordpiece.h"

enum { MAX_CONFIG = 16 << 20, MAX_SPECIALS = 12, EXTRA_IDS = 100, MAX_SPECIAL = 20 };

/* A special token written in the text is itself, not pieces. */
struct special {
    char text[MAX_SPECIAL];
    size_t len;
    int32_t id;
    bool strip_left; /* white space before it is dropped */
};

struct tokenizer {
    enum tokenizer_kind kind;
    struct vocab *vocab;
    struct wordpiece *wordpiece;
    struct sentencepiece_model *sp;
    bool prepare; /* XLNet's and ALBERT's cleaning */
    bool lower_case, keep_accents, remove_space;
    struct special specials[MAX_SPECIALS];
    int n_specials;
    int32_t first, last[2]; /* -1: none */
};

static int read_config(const char *dir, json_t **out, struct err *err)
{
    char *path = file_path("%s/tokenizer_config.json", dir);
    int rc = 0;
    *out = NULL;
    if (file_exists(path)) {
        /* transformers writes a "model_max_length" of 10^30 where there is no limit. */
        *out = json_parse_file_as_reals(path, MAX_CONFIG, err);
        rc = *out ? 0 : -1;
        if (*out && !json_is_object(*out))
            rc = err_set(err, ERR_FORMAT, "%s: expected an object", path);
    }
    free(path);
    return rc;
}

/* A switch; null counts as not given. */
static int flag(const json_t *config, const char *key, bool *value, struct err *err)
{
    const json_t *given = config ? json_object_get(config, key) : NULL;
    if (!given || json_is_null(given))
        return 0;
    return json_get_bool(config, key, value, err) != 0 ? err_prefix(err, "tokenizer_config.json")
                                                       : 0;
}

static int open_wordpiece(struct tokenizer *t, const char *path, const json_t *config,
                          struct err *err)
{
    struct wordpiece_options opt = {true, true, true};
    if (flag(config, "do_lower_case", &opt.lower_case, err) != 0)
        return -1;
    opt.strip_accents = opt.lower_case;
    if (flag(config, "strip_accents", &opt.strip_accents, err) != 0 ||
        flag(config, "tokenize_chinese_chars", &opt.split_ideographs, err) != 0)
        return -1;
    return wordpiece_open(path, &opt, &t->wordpiece, err);
}

/* Id of a special token that the model must have, or -1 with the reason. */
static int need(const struct tokenizer *t, const char *path, const char *name, int32_t *id,
                struct err *err)
{
    *id = sentencepiece_id(t->sp, name, strlen(name));
    return *id >= 0 ? 0
                    : err_set(err, ERR_FORMAT, "%s: none of its %d pieces is %s", path,
                              (int)sentencepiece_size(t->sp), name);
}

static void add_specials(struct tokenizer *t, const char *const *names)
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

static int open_sentencepiece(struct tokenizer *t, const char *path, const json_t *config,
                              struct err *err)
{
    static const char *const xlnet[] = {"<s>",   "</s>",   "<unk>", "<sep>", "<pad>",
                                        "<cls>", "<mask>", "<eop>", "<eod>", NULL},
                             *const t5[] = {"</s>", "<unk>", "<pad>", NULL},
                             *const albert[] = {"[CLS]", "[SEP]", "<unk>", "<pad>", "[MASK]", NULL};
    t->prepare = t->kind != TOKENIZER_T5;
    t->lower_case = t->kind == TOKENIZER_BERT;
    t->remove_space = true;
    if (sentencepiece_open(path, &t->sp, err) != 0 ||
        flag(config, "do_lower_case", &t->lower_case, err) != 0 ||
        flag(config, "keep_accents", &t->keep_accents, err) != 0 ||
        flag(config, "remove_space", &t->remove_space, err) != 0)
        return -1;
    add_specials(t, t->kind == TOKENIZER_T5 ? t5 : t->kind == TOKENIZER_XLNET ? xlnet : albert);
    switch (t->kind) {
    case TOKENIZER_T5:
        return need(t, path, "</s>", &t->last[0], err);
    case TOKENIZER_XLNET:
        return need(t, path, "<sep>", &t->last[0], err) != 0
                   ? -1
                   : need(t, path, "<cls>", &t->last[1], err);
    default:
        return need(t, path, "[CLS]", &t->first, err) != 0
                   ? -1
                   : need(t, path, "[SEP]", &t->last[0], err);
    }
}

static int open_files(struct tokenizer *t, const char *dir, const json_t *config, struct err *err)
{
    char *words = file_path("%s/vocab.txt", dir), *pieces = file_path("%s/spiece.model", dir);
    int rc;
    if (t->kind == TOKENIZER_CHARACTERS)
        rc = vocab_read(words, &t->vocab, err);
    else if (t->kind == TOKENIZER_BERT && (file_exists(words) || !file_exists(pieces)))
        rc = open_wordpiece(t, words, config, err);
    else
        rc = open_sentencepiece(t, pieces, config, err);
    free(words);
    free(pieces);
    return rc;
}

int tokenizer_open(const char *dir, enum tokenizer_kind kind, struct tokenizer **out,
                   struct err *err)
{
    struct tokenizer *t = xcalloc(1, sizeof *t);
    json_t *config = NULL;
    t->kind = kind;
    t->first = t->last[0] = t->last[1] = -1;
    int rc = kind == TOKENIZER_CHARACTERS ? 0 : read_config(dir, &config, err);
    if (rc == 0)
        rc = open_files(t, dir, config, err);
    json_decref(config);
    if (rc != 0) {
        tokenizer_close(t);
        return -1;
    }
    *out = t;
    return 0;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    vocab_close(t->vocab);
    wordpiece_close(t->wordpiece);
    sentencepiece_close(t->sp);
    free(t);
}

int32_t tokenizer_size(const struct tokenizer *t)
{
    if (t->vocab)
        return vocab_size(t->vocab);
    if (t->wordpiece)
        return wordpiece_size(t->wordpiece);
    return sentencepiece_size(t->sp) + (t->kind == TOKENIZER_T5 ? EXTRA_IDS : 0);
}

struct writer {
    const struct tokenizer *t;
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
        id = sentencepiece_id(r->w->t->sp, piece + UNDERLINE_BYTES, n - UNDERLINE_BYTES);
        id = id < 0 ? sentencepiece_unknown(r->w->t->sp) : id;
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
    sentencepiece_encode(w->t->sp, text, len, put_rest, &r);
    free(text);
    int32_t comma = sentencepiece_id(w->t->sp, ",", 1);
    return put(w, comma < 0 ? sentencepiece_unknown(w->t->sp) : comma);
}

/* White space squeezed, none at the ends; `` and '' as ". */
static void squeeze(const struct tokenizer *t, const char *s, size_t n, struct buf *b)
{
    bool blank = false;
    for (size_t i = 0; i < n;) {
        size_t at = i;
        uint32_t c = utf8_next(s, n, &i);
        if (t->remove_space && (utf8_is_space(c) || (c >= 0x1c && c <= 0x1f))) {
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
    const struct tokenizer *t = w->t;
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
    if (text && !t->keep_accents) {
        char *bare = utf8_bare(text, len, &len);
        free(text);
        text = bare;
    }
    if (text && t->lower_case) {
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
static struct found extra_at(const struct tokenizer *t, const char *s, size_t n)
{
    static const char begin[] = "<extra_id_";
    size_t at = sizeof begin - 1;
    int value = 0, digits = 0;
    if (t->kind != TOKENIZER_T5 || n < at || memcmp(s, begin, at) != 0)
        return (struct found){0};
    while (at < n && digits < 2 && s[at] >= '0' && s[at] <= '9' && !(digits == 1 && value == 0)) {
        value = 10 * value + (s[at++] - '0');
        digits++;
    }
    if (!digits || at == n || s[at] != '>')
        return (struct found){0};
    return (struct found){at + 1, sentencepiece_size(t->sp) + EXTRA_IDS - 1 - value, true, true};
}

static struct found special_at(const struct tokenizer *t, const char *s, size_t n)
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
        struct found f = special_at(w->t, s + i, n - i);
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

/* Are there more than max characters?  Asked of long titles only. */
static bool goes_on(const struct vocab *v, const char *title, size_t n, int32_t max)
{
    int32_t *more = xmalloc(((size_t)max + 1) * sizeof *more);
    bool on = vocab_encode(v, title, n, more, max + 1) > max;
    free(more);
    return on;
}

/* In lower case, but for special tokens: then <SEP> is one too. */
static char *lower_around(const struct tokenizer *t, const char *s, size_t n, size_t *len)
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
    if (!w->t->lower_case) {
        encode_pieces(w, title, n);
        return;
    }
    size_t len;
    char *text = lower_around(w->t, title, n, &len);
    encode_pieces(w, text, len);
    free(text);
}

int32_t tokenizer_encode(const struct tokenizer *t, const char *title, size_t n, int32_t *ids,
                         int32_t max, bool *cut)
{
    if (t->vocab) {
        int32_t got = vocab_encode(t->vocab, title, n, ids, max);
        if (cut)
            *cut = got == max && goes_on(t->vocab, title, n, max);
        return got;
    }
    if (t->wordpiece)
        return wordpiece_encode(t->wordpiece, title, n, ids, max, cut);
    int32_t tail = 1 + (t->last[1] >= 0);
    struct writer w = {t, ids, 0, max - tail, false};
    if (t->first >= 0)
        (void)put(&w, t->first);
    encode_title(&w, title, n);
    /* T5's closing token is not written twice. */
    bool closed = t->kind == TOKENIZER_T5 && w.n > 0 && ids[w.n - 1] == t->last[0];
    for (int i = 0; i < tail && !closed; i++)
        ids[w.n++] = t->last[i];
    if (cut)
        *cut = w.cut;
    return w.n;
}
