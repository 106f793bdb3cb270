/* See vocab.h. A two-level table maps any code point to its id with the normalisation already
 * applied: encoding is one decode and two loads a character. Pages (256 code points) without
 * anything share page 0, so a table for Chinese takes about 150 KiB, of which a title touches a few
 * lines. */
#include "data/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "data/utf8.h"

#define PAGES 0x2000 /* covers all that utf8_next can give */
#define CODE_POINTS 0x110000
#define DROP (-1)
#define MAX_FILE_BYTES (CODE_POINTS * 6UL + 64) /* each character with CRLF, and the specials */

static const char *const specials[VOCAB_FIRST] = {"[PAD]", "[UNK]", "[SPACE]"};

struct vocab {
    uint16_t page_of[PAGES];
    int32_t (*pages)[256];
    int32_t n_pages;
    uint32_t *points; /* [size], the first VOCAB_FIRST unused */
    int32_t size;
};

static int32_t table_get(const struct vocab *v, uint32_t c)
{
    return v->pages[v->page_of[c >> 8]][c & 255];
}

static void table_put(struct vocab *v, uint32_t c, int32_t id)
{
    uint16_t *page = &v->page_of[c >> 8];
    if (!*page) {
        v->pages = xrealloc(v->pages, ((size_t)v->n_pages + 1) * sizeof *v->pages);
        for (int i = 0; i < 256; i++)
            v->pages[v->n_pages][i] = VOCAB_UNK;
        *page = (uint16_t)v->n_pages++;
    }
    v->pages[*page][c & 255] = id;
}

static void fold_range(struct vocab *v, uint32_t from, uint32_t to)
{
    for (uint32_t c = from; c < to; c++) {
        uint32_t f = utf8_fold(c);
        if (f == c && c != ' ')
            continue;
        int32_t id = f == ' ' ? VOCAB_SPACE : f == UTF8_DROP ? DROP : table_get(v, f);
        if (id != table_get(v, c))
            table_put(v, c, id);
    }
}

/* Takes points. They are unique; one that is not in folded form keeps its id but no title can reach
 * it. */
static struct vocab *make(uint32_t *points, int32_t size)
{
    struct vocab *v = xcalloc(1, sizeof *v);
    v->points = points;
    v->size = size;
    v->pages = xmalloc(sizeof *v->pages);
    v->n_pages = 1; /* page 0: nothing known */
    for (int i = 0; i < 256; i++)
        v->pages[0][i] = VOCAB_UNK;
    for (int32_t id = VOCAB_FIRST; id < size; id++)
        table_put(v, points[id], id);
    fold_range(v, 0, UTF8_FOLD_END);
    fold_range(v, UTF8_TAGS, UTF8_TAGS_END);
    return v;
}

/* The line at text[*pos..len) without its end; moves *pos behind it. */
static size_t take_line(const char *text, size_t len, size_t *pos, const char **line)
{
    *line = text + *pos;
    const char *end = memchr(*line, '\n', len - *pos);
    size_t n = end ? (size_t)(end - *line) : len - *pos;
    *pos += n + (end != NULL);
    return n && (*line)[n - 1] == '\r' ? n - 1 : n;
}

/* One character from a line. seen is a bit set over code points. */
static int parse_line(const char *line, size_t n, unsigned char *seen, uint32_t *c, struct err *err)
{
    if (!n)
        return err_set(err, ERR_FORMAT, "an empty line");
    size_t len = utf8_decode(line, n, c);
    if (!len || utf8_prefix(line, n) < n)
        return err_set(err, ERR_FORMAT, "invalid UTF-8 or a NUL");
    if (len < n)
        return err_set(err, ERR_FORMAT, "more than one character (%zu bytes)", n);
    if (utf8_is_space(*c) || utf8_fold(*c) == UTF8_DROP)
        return err_set(err, ERR_FORMAT, "U+%04X is white space or a control character", *c);
    if (seen[*c >> 3] & 1u << (*c & 7))
        return err_set(err, ERR_FORMAT, "U+%04X is repeated", *c);
    seen[*c >> 3] |= (unsigned char)(1u << (*c & 7));
    return 0;
}

static int parse(const char *text, size_t len, uint32_t **points, int32_t *size, size_t *number,
                 struct err *err)
{
    unsigned char *seen = xcalloc(CODE_POINTS / 8, 1);
    size_t pos = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0, cap = 8192;
    uint32_t *p = xmalloc(cap * sizeof *p);
    int rc = 0;
    *number = 0;
    while (rc == 0 && (pos < len || *number < VOCAB_FIRST)) {
        const char *line = "";
        size_t n = pos < len ? take_line(text, len, &pos, &line) : 0;
        size_t id = (*number)++;
        if (id == cap)
            p = xrealloc(p, (cap *= 2) * sizeof *p);
        p[id] = 0;
        if (id >= VOCAB_FIRST)
            rc = parse_line(line, n, seen, &p[id], err);
        else if (n != strlen(specials[id]) || memcmp(line, specials[id], n) != 0)
            rc = err_set(err, ERR_FORMAT, "expected %s", specials[id]);
    }
    free(seen);
    if (rc != 0) {
        free(p);
        return -1;
    }
    *points = p;
    *size = (int32_t)*number;
    return 0;
}

int vocab_read(const char *path, struct vocab **out, struct err *err)
{
    char *text;
    size_t len, number;
    if (file_read(path, MAX_FILE_BYTES, &text, &len, err) != 0)
        return -1;
    uint32_t *points;
    int32_t size;
    int rc;
    if (!len)
        rc = err_set(err, ERR_FORMAT, "%s: the file is empty", path);
    else if ((rc = parse(text, len, &points, &size, &number, err)) != 0)
        (void)err_prefix(err, "%s:%zu", path, number);
    else
        *out = make(points, size);
    free(text);
    return rc;
}

int vocab_write(const struct vocab *v, const char *path, struct err *err)
{
    struct buf b;
    buf_init(&b, MAX_FILE_BYTES);
    for (int32_t id = 0; id < v->size; id++) {
        char utf8[4];
        if (id < VOCAB_FIRST)
            buf_puts(&b, specials[id]);
        else
            buf_put(&b, utf8, utf8_encode(v->points[id], utf8));
        buf_puts(&b, "\n");
    }
    int rc = file_replace(path, b.data, b.len, err);
    buf_done(&b);
    return rc;
}

void vocab_close(struct vocab *v)
{
    if (!v)
        return;
    free(v->pages);
    free(v->points);
    free(v);
}

int32_t vocab_size(const struct vocab *v)
{
    return v->size;
}

int32_t vocab_id(const struct vocab *v, uint32_t c)
{
    int32_t id = c < CODE_POINTS ? table_get(v, c) : VOCAB_UNK;
    return id == DROP ? VOCAB_UNK : id;
}

int32_t vocab_encode(const struct vocab *v, const char *title, size_t n, int32_t *ids, int32_t max)
{
    const uint16_t *page_of = v->page_of;
    int32_t(*pages)[256] = v->pages;
    int32_t count = 0;
    bool space = false; /* white space was seen since the last character */
    for (size_t i = 0; i < n && count < max;) {
        uint32_t c = utf8_next(title, n, &i);
        int32_t id = pages[page_of[c >> 8]][c & 255];
        if (id == VOCAB_SPACE) {
            space = count > 0;
            continue;
        }
        if (id == DROP)
            continue;
        if (space) {
            space = false;
            ids[count++] = VOCAB_SPACE;
            if (count == max)
                break;
        }
        ids[count++] = id;
    }
    if (!count && max > 0)
        ids[count++] = VOCAB_UNK;
    return count;
}

struct vocab_builder {
    int64_t counts[CODE_POINTS]; /* of raw code points; folded at the end. Untouched pages cost no
                                    memory */
};

struct vocab_builder *vocab_builder_open(void)
{
    return xcalloc(1, sizeof(struct vocab_builder));
}

void vocab_builder_close(struct vocab_builder *b)
{
    free(b);
}

void vocab_builder_add(struct vocab_builder *b, const char *title, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t c = utf8_next(title, n, &i);
        if (c < CODE_POINTS)
            b->counts[c]++;
    }
}

struct counted {
    int64_t count;
    uint32_t point;
};

static int by_count(const void *a, const void *b)
{
    const struct counted *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return x->point < y->point ? -1 : x->point > y->point;
}

struct vocab *vocab_builder_finish(struct vocab_builder *b, long min_count, int32_t max_size)
{
    int64_t *folded = xcalloc(CODE_POINTS, sizeof *folded);
    size_t n = 0;
    for (uint32_t c = 0; c < CODE_POINTS; c++) {
        uint32_t f = b->counts[c] ? utf8_fold(c) : ' ';
        if (f == ' ' || f == UTF8_DROP)
            continue;
        n += folded[f] == 0;
        folded[f] += b->counts[c];
    }
    struct counted *kept = xmalloc(n * sizeof *kept);
    size_t k = 0;
    for (uint32_t c = 0; c < CODE_POINTS; c++)
        if (folded[c] && folded[c] >= min_count)
            kept[k++] = (struct counted){folded[c], c};
    free(folded);
    qsort(kept, k, sizeof *kept, by_count);
    if (max_size > 0) {
        size_t room = max_size > VOCAB_FIRST ? (size_t)(max_size - VOCAB_FIRST) : 0;
        k = k < room ? k : room;
    }
    uint32_t *points = xcalloc(k + VOCAB_FIRST, sizeof *points);
    for (size_t i = 0; i < k; i++)
        points[VOCAB_FIRST + i] = kept[i].point;
    free(kept);
    return make(points, (int32_t)k + VOCAB_FIRST);
}
