#include "data/segment.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "data/utf8.h"

enum { HAN_FIRST = 0x4e00, HAN_END = 0x9fd6, HAN = HAN_END - HAN_FIRST };
enum state { BEGIN, MIDDLE, END, SINGLE, STATES };
static const char state_names[] = "BMES";
static const double nothing = -3.14e100; /* a probability that a table does not have */
#define MAX_FILE ((size_t)256 << 20)

/* A word, or the beginning of one (frequency 0). */
struct word {
    uint64_t hash;
    uint32_t at, len; /* in text; len 0: the slot is free */
    double weight;    /* ln(frequency or 1) - ln(total) */
    int64_t frequency;
};

struct segmenter {
    char *text; /* dict.txt */
    struct word *words;
    uint32_t mask, n;
    double total; /* ln of it */
    double start[STATES], trans[STATES][STATES], emit[STATES][HAN];
};

#define HASH_START 14695981039346656037ULL /* FNV-1a */

static uint64_t hash_more(uint64_t h, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 1099511628211ULL;
    return h;
}

static uint32_t slot_of(const struct segmenter *s, const char *word, size_t n, uint64_t hash)
{
    uint32_t at = (uint32_t)(hash ^ hash >> 32) & s->mask;
    while (s->words[at].len && (s->words[at].hash != hash || s->words[at].len != n ||
                                memcmp(s->text + s->words[at].at, word, n) != 0))
        at = (at + 1) & s->mask;
    return at;
}

static const struct word *find(const struct segmenter *s, const char *word, size_t n, uint64_t hash)
{
    const struct word *w = &s->words[slot_of(s, word, n, hash)];
    return w->len ? w : NULL;
}

static void grow(struct segmenter *s)
{
    struct word *old = s->words;
    uint32_t slots = s->mask + 1;
    s->mask = 2 * slots - 1;
    s->words = xcalloc((size_t)2 * slots, sizeof *s->words);
    for (uint32_t i = 0; i < slots; i++)
        if (old[i].len) {
            uint32_t at = (uint32_t)(old[i].hash ^ old[i].hash >> 32) & s->mask;
            while (s->words[at].len)
                at = (at + 1) & s->mask;
            s->words[at] = old[i];
        }
    free(old);
}

/* A word's frequency is the last that a line gives it; a beginning's is 0 unless it is a word too. */
static void put(struct segmenter *s, size_t at, size_t n, uint64_t hash, int64_t frequency,
                bool is_word)
{
    struct word *w = &s->words[slot_of(s, s->text + at, n, hash)];
    if (!w->len) {
        *w = (struct word){hash, (uint32_t)at, (uint32_t)n, 0, frequency};
        s->n++;
    } else if (is_word) {
        w->frequency = frequency;
    }
    if (s->n > s->mask / 2)
        grow(s);
}

static int read_line(struct segmenter *s, const char *path, size_t number, size_t at, size_t end,
                     int64_t *total, struct err *err)
{
    char *line = s->text + at, *space = memchr(line, ' ', end - at), *rest = NULL;
    size_t n = space ? (size_t)(space - line) : 0;
    int64_t frequency = n ? strtoll(space + 1, &rest, 10) : -1;
    if (!n || rest == space + 1 || rest > s->text + end || frequency < 0 ||
        frequency > (int64_t)1 << 40)
        return err_set(err, ERR_FORMAT, "%s:%zu: expected a word, a space and its frequency", path,
                       number);
    if (utf8_prefix(line, n) != n)
        return err_set(err, ERR_FORMAT, "%s:%zu: invalid UTF-8", path, number);
    uint64_t hash = HASH_START;
    for (size_t i = 0; i < n;) {
        size_t from = i;
        (void)utf8_next(line, n, &i);
        hash = hash_more(hash, line + from, i - from);
        if (i < n)
            put(s, at, i, hash, 0, false);
    }
    put(s, at, n, hash, frequency, true);
    *total += frequency;
    return 0;
}

static int read_dict(struct segmenter *s, const char *path, struct err *err)
{
    size_t len, number = 0;
    int64_t total = 0;
    int rc = file_read(path, MAX_FILE, &s->text, &len, err);
    s->mask = (1u << 16) - 1;
    s->words = xcalloc((size_t)s->mask + 1, sizeof *s->words);
    for (size_t at = 0; rc == 0 && at < len;) {
        char *newline = memchr(s->text + at, '\n', len - at);
        size_t end = newline ? (size_t)(newline - s->text) : len, next = end + 1;
        while (end > at && (s->text[end - 1] == '\r' || s->text[end - 1] == ' '))
            end--;
        number++;
        if (end > at)
            rc = read_line(s, path, number, at, end, &total, err);
        at = next;
    }
    if (rc == 0 && total == 0)
        rc = err_set(err, ERR_FORMAT, "%s: no word in it", path);
    s->total = rc == 0 ? log((double)total) : 0;
    for (uint32_t i = 0; rc == 0 && i <= s->mask; i++) {
        struct word *w = &s->words[i];
        w->weight = log((double)(w->frequency ? w->frequency : 1)) - s->total;
    }
    return rc;
}

/* A table: P={'B': number, …} or P={'B': {key: number, …}, …}. */
struct table {
    const char *path, *p;
    struct err *err;
};

static int fault(const struct table *t, const char *start, const char *expected)
{
    size_t line = 1;
    for (const char *p = start; p < t->p; p++)
        line += *p == '\n';
    return err_set(t->err, ERR_FORMAT, "%s:%zu: expected %s", t->path, line, expected);
}

static char skip(struct table *t)
{
    while (*t->p == ' ' || *t->p == '\n' || *t->p == '\r' || *t->p == '\t')
        t->p++;
    return *t->p;
}

static bool take(struct table *t, char c)
{
    if (skip(t) != c)
        return false;
    t->p++;
    return true;
}

/* 'x' or '\uxxxx', one character. */
static bool take_key(struct table *t, uint32_t *c)
{
    size_t n = 0;
    if (!take(t, '\''))
        return false;
    if (t->p[0] == '\\' && t->p[1] == 'u') {
        char digits[5] = "";
        char *end;
        for (int i = 0; i < 4 && t->p[2 + i]; i++)
            digits[i] = t->p[2 + i];
        *c = (uint32_t)strtoul(digits, &end, 16);
        n = end == digits + 4 ? 6 : 0;
    } else {
        n = utf8_decode(t->p, strnlen(t->p, 4), c);
    }
    t->p += n;
    return n && take(t, '\'') && take(t, ':');
}

static bool take_number(struct table *t, double *x)
{
    char *end;
    (void)skip(t);
    *x = strtod(t->p, &end);
    if (end == t->p || !isfinite(*x))
        return false;
    t->p = end;
    return true;
}

/* One state's entries into trans (of states) or emit (of characters). */
static bool read_entries(struct table *t, double *trans, double *emit)
{
    uint32_t key;
    double x;
    if (!take(t, '{'))
        return false;
    while (!take(t, '}')) {
        if (!take_key(t, &key) || !take_number(t, &x))
            return false;
        const char *state = key < 128 ? strchr(state_names, (int)key) : NULL;
        if (trans && (!state || !*state))
            return false;
        if (trans)
            trans[state - state_names] = x;
        else if (key >= HAN_FIRST && key < HAN_END)
            emit[key - HAN_FIRST] = x;
        if (!take(t, ',') && skip(t) != '}')
            return false;
    }
    return true;
}

enum table_kind { TABLE_START, TABLE_TRANS, TABLE_EMIT };
static const char *const table_files[] = {"prob_start.py", "prob_trans.py", "prob_emit.py"};

static bool read_states(struct segmenter *s, struct table *t, enum table_kind kind, unsigned *met)
{
    uint32_t key;
    if (!take(t, '{'))
        return false;
    while (!take(t, '}')) {
        const char *state;
        if (!take_key(t, &key) || key >= 128 || !(state = strchr(state_names, (int)key)) || !*state)
            return false;
        size_t i = (size_t)(state - state_names);
        *met |= 1u << i;
        if (kind == TABLE_START
                ? !take_number(t, &s->start[i])
                : !read_entries(t, kind == TABLE_TRANS ? s->trans[i] : NULL, s->emit[i]))
            return false;
        if (!take(t, ',') && skip(t) != '}')
            return false;
    }
    return true;
}

static int read_table(struct segmenter *s, const char *path, enum table_kind kind, struct err *err)
{
    char *text;
    unsigned met = 0;
    if (file_read(path, MAX_FILE, &text, NULL, err) != 0)
        return -1;
    struct table t = {path, strstr(text, "P="), err};
    int rc = 0;
    if (!t.p)
        rc = err_set(err, ERR_FORMAT, "%s: no \"P=\" in it", path);
    if (rc == 0) {
        t.p += 2;
        if (!read_states(s, &t, kind, &met))
            rc = fault(&t, text, "a table of probabilities by states B, M, E, S");
    }
    if (rc == 0 && met != (1u << STATES) - 1)
        rc = fault(&t, text, "all of the states B, M, E, S");
    free(text);
    return rc;
}

static char *table_path(const char *dir, int kind)
{
    char *path = file_path("%s/finalseg/%s", dir, table_files[kind]);
    if (file_exists(path))
        return path;
    free(path);
    return file_path("%s/%s", dir, table_files[kind]);
}

int segmenter_open(const char *dir, struct segmenter **out, struct err *err)
{
    struct segmenter *s = xcalloc(1, sizeof *s);
    char *path = file_path("%s/dict.txt", dir);
    for (int i = 0; i < STATES; i++) {
        s->start[i] = nothing;
        for (int k = 0; k < STATES; k++)
            s->trans[i][k] = nothing;
        for (int k = 0; k < HAN; k++)
            s->emit[i][k] = nothing;
    }
    int rc = read_dict(s, path, err);
    free(path);
    for (int kind = TABLE_START; kind <= TABLE_EMIT && rc == 0; kind++) {
        path = table_path(dir, kind);
        rc = read_table(s, path, (enum table_kind)kind, err);
        free(path);
    }
    if (rc != 0) {
        segmenter_close(s);
        return -1;
    }
    *out = s;
    return 0;
}

void segmenter_close(struct segmenter *s)
{
    if (!s)
        return;
    free(s->text);
    free(s->words);
    free(s);
}

int segmenter_copy_files(const char *dir, const char *to, struct err *err)
{
    char *from = file_path("%s/dict.txt", dir), *copy = file_path("%s/dict.txt", to);
    int rc = file_copy(from, copy, err);
    free(from);
    free(copy);
    for (int kind = TABLE_START; kind <= TABLE_EMIT && rc == 0; kind++) {
        from = table_path(dir, kind);
        copy = file_path("%s/%s", to, table_files[kind]);
        rc = file_copy(from, copy, err);
        free(from);
        free(copy);
    }
    return rc;
}

/* A stretch of text being cut; characters by number, at[i] is where the i-th begins. */
struct cut {
    const struct segmenter *s;
    const char *text;
    size_t *at; /* [characters + 1] */
    double *best;
    size_t *next;  /* [characters]: where the word that begins here ends */
    uint8_t *back; /* [characters][STATES] */
    segment_word *word;
    void *arg;
};

static void tell(const struct cut *c, size_t from, size_t to)
{
    c->word(c->arg, c->text + c->at[from], c->at[to] - c->at[from]);
}

static uint32_t code_at(const struct cut *c, size_t i)
{
    size_t at = 0;
    return utf8_next(c->text + c->at[i], c->at[i + 1] - c->at[i], &at);
}

static bool is_han(uint32_t c)
{
    return c >= HAN_FIRST && c < HAN_END;
}

static bool is_alnum(uint32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* What words are made of; the rest stands alone. */
static bool is_inner(uint32_t c)
{
    return is_han(c) || is_alnum(c) || (c < 128 && c && strchr("+#&._%-", (int)c));
}

/* From the back, each character's best way to the end; among equals the longest word. */
static void find_route(const struct cut *c, size_t from, size_t to)
{
    c->best[to] = 0;
    for (size_t i = to; i-- > from;) {
        uint64_t hash = HASH_START;
        double most = 0;
        bool any = false;
        for (size_t k = i; k < to; k++) {
            hash = hash_more(hash, c->text + c->at[k], c->at[k + 1] - c->at[k]);
            const struct word *w = find(c->s, c->text + c->at[i], c->at[k + 1] - c->at[i], hash);
            if (!w)
                break;
            if (!w->frequency)
                continue;
            double p = w->weight + c->best[k + 1];
            if (!any || p >= most) {
                most = p;
                c->next[i] = k + 1;
            }
            any = true;
        }
        if (!any) {
            most = 0.0 - c->s->total + c->best[i + 1];
            c->next[i] = i + 1;
        }
        c->best[i] = most;
    }
}

/* Viterbi over ideographs from .. to; ties go to the state whose letter is later. */
static void cut_new_words(const struct cut *c, size_t from, size_t to)
{
    static const uint8_t before[STATES][2] = {[BEGIN] = {END, SINGLE},
                                              [MIDDLE] = {BEGIN, MIDDLE},
                                              [END] = {BEGIN, MIDDLE},
                                              [SINGLE] = {END, SINGLE}};
    double v[STATES] = {0}, now[STATES];
    for (size_t i = from; i < to; i++) {
        uint32_t x = code_at(c, i) - HAN_FIRST;
        for (int y = 0; y < STATES; y++) {
            const double *emit = c->s->emit[y];
            if (i == from) {
                now[y] = c->s->start[y] + emit[x];
                continue;
            }
            int a = before[y][0], b = before[y][1];
            double pa = v[a] + c->s->trans[a][y] + emit[x], pb = v[b] + c->s->trans[b][y] + emit[x];
            bool second = pb >= pa; /* the later letter stands second */
            now[y] = second ? pb : pa;
            c->back[i * STATES + (size_t)y] = (uint8_t)(second ? b : a);
        }
        memcpy(v, now, sizeof v);
    }
    /* From the end back, the places where words end are noted. */
    int state = v[SINGLE] >= v[END] ? SINGLE : END;
    for (size_t i = to; i-- > from;) {
        int was = state;
        if (i > from)
            state = c->back[i * STATES + (size_t)was];
        c->back[i * STATES] = was == END || was == SINGLE;
    }
    size_t begin = from;
    for (size_t i = from; i < to; i++)
        if (c->back[i * STATES]) {
            tell(c, begin, i + 1);
            begin = i + 1;
        }
    if (begin < to)
        tell(c, begin, to);
}

/* Letters and digits with what belongs to a number; what lies between them whole. */
static void cut_signs(const struct cut *c, size_t from, size_t to)
{
    size_t between = from;
    for (size_t i = from; i < to;) {
        if (!is_alnum(code_at(c, i))) {
            i++;
            continue;
        }
        size_t end = i;
        while (end < to && is_alnum(code_at(c, end)))
            end++;
        if (end + 1 < to && code_at(c, end) == '.') {
            size_t digits = end + 1;
            while (digits < to && code_at(c, digits) >= '0' && code_at(c, digits) <= '9')
                digits++;
            if (digits > end + 1)
                end = digits;
        }
        if (end < to && code_at(c, end) == '%')
            end++;
        if (between < i)
            tell(c, between, i);
        tell(c, i, end);
        between = i = end;
    }
    if (between < to)
        tell(c, between, to);
}

/* Characters that the dictionary leaves alone, one behind the other. */
static void cut_rest(const struct cut *c, size_t from, size_t to)
{
    size_t n = c->at[to] - c->at[from];
    const char *text = c->text + c->at[from];
    const struct word *w =
        to - from > 1 ? find(c->s, text, n, hash_more(HASH_START, text, n)) : NULL;
    if (to - from == 1 || (w && w->frequency)) {
        for (size_t i = from; i < to; i++)
            tell(c, i, i + 1);
        return;
    }
    for (size_t i = from; i < to;) {
        bool han = is_han(code_at(c, i));
        size_t end = i;
        while (end < to && is_han(code_at(c, end)) == han)
            end++;
        (han ? cut_new_words : cut_signs)(c, i, end);
        i = end;
    }
}

static void cut_block(const struct cut *c, size_t from, size_t to)
{
    size_t alone = from;
    find_route(c, from, to);
    for (size_t i = from; i < to; i = c->next[i]) {
        if (c->next[i] == i + 1)
            continue;
        if (alone < i)
            cut_rest(c, alone, i);
        tell(c, i, c->next[i]);
        alone = c->next[i];
    }
    if (alone < to)
        cut_rest(c, alone, to);
}

void segmenter_cut(const struct segmenter *s, const char *text, size_t n, segment_word *word,
                   void *arg)
{
    char *room = xmalloc((n + 1) * (sizeof(size_t) * 2 + sizeof(double) + STATES));
    struct cut c = {.s = s, .text = text, .word = word, .arg = arg};
    size_t count = 0;
    c.at = (size_t *)(void *)room;
    c.next = c.at + n + 1;
    c.best = (double *)(void *)(c.next + n + 1);
    c.back = (uint8_t *)(c.best + n + 1);
    for (size_t i = 0; i < n; count++) {
        c.at[count] = i;
        (void)utf8_next(text, n, &i);
    }
    c.at[count] = n;
    for (size_t i = 0; i < count;) {
        size_t end = i;
        while (end < count && is_inner(code_at(&c, end)))
            end++;
        if (end > i) {
            cut_block(&c, i, end);
            i = end;
        } else {
            /* "\r\n" is one. */
            end =
                i + 1 < count && text[c.at[i]] == '\r' && text[c.at[i + 1]] == '\n' ? i + 2 : i + 1;
            tell(&c, i, end);
            i = end;
        }
    }
    free(room);
}
