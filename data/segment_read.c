#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/file.h"
#include "data/segment_parts.h"
#include "data/utf8.h"

static const char state_names[] = "BMES";
static const double nothing = -3.14e100; /* a probability that a table does not have */
#define MAX_FILE ((size_t)256 << 20)

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
