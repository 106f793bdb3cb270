#include "trainer/text.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "data/utf8.h"

#define MAX_FILE ((size_t)4 << 30)

struct reading {
    struct dataset d;
    size_t room_text, len_text, room_titles;
    struct sha256 *hash;
    int32_t max;
    long skip_bad, skipped;
};

static void add(struct reading *r, const char *s, size_t n)
{
    struct dataset *d = &r->d;
    if (r->len_text + n > r->room_text) {
        r->room_text = 2 * (r->len_text + n) + 4096;
        d->text = xrealloc(d->text, r->room_text);
    }
    if (d->n + 2 > r->room_titles) {
        r->room_titles = 2 * d->n + 1024;
        d->offset = xrealloc(d->offset, r->room_titles * sizeof *d->offset);
    }
    memcpy(d->text + r->len_text, s, n);
    d->offset[d->n++] = r->len_text;
    r->len_text += n;
    d->offset[d->n] = r->len_text;
    sha256_add(r->hash, s, n);
    sha256_add(r->hash, "\n", 1);
}

static bool ends_sentence(uint32_t c)
{
    static const uint32_t ends[] = {'.', '!', '?', ';', 0x3002, 0xff01, 0xff1f, 0xff1b};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (ends[i] == c)
            return true;
    return false;
}

static bool is_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n;)
        if (!utf8_is_space(utf8_next(s, n, &i)))
            return false;
    return true;
}

/* A valid line as sequences. */
static void cut(struct reading *r, const char *s, size_t n)
{
    for (size_t from = 0; from < n;) {
        size_t i = from, end = 0;
        int32_t characters = 0;
        while (i < n && characters < r->max) {
            uint32_t c = utf8_next(s, n, &i);
            if (++characters > r->max / 2 && ends_sentence(c))
                end = i;
        }
        if (i == n || !end)
            end = i;
        if (!is_blank(s + from, end - from))
            add(r, s + from, end - from);
        from = end;
    }
}

static int read_line(struct reading *r, const char *path, size_t number, const char *s, size_t n,
                     struct err *err)
{
    const char *tab = memchr(s, '\t', n);
    size_t len = tab ? (size_t)(tab - s) : n, good = utf8_prefix(s, len);
    if (good == len) {
        cut(r, s, len);
        return 0;
    }
    const char *what = s[good] ? "invalid UTF-8" : "a NUL";
    if (r->skipped >= r->skip_bad)
        return err_set(err, ERR_FORMAT, "%s:%zu: %s at byte %zu", path, number, what, good + 1);
    r->skipped++;
    (void)fprintf(stderr, "left out: %s:%zu: %s at byte %zu\n", path, number, what, good + 1);
    return 0;
}

static int read_file(struct reading *r, const char *path, FILE *out, struct err *err)
{
    char *text;
    size_t len, before = r->d.n, number = 0;
    int rc = 0;
    if (file_read(path, MAX_FILE, &text, &len, err) != 0)
        return -1;
    r->skipped = 0;
    for (size_t at = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
         at < len && rc == 0;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = (end ? (size_t)(end - text) : len) - at, next = at + n + 1;
        n -= n && text[at + n - 1] == '\r';
        rc = read_line(r, path, ++number, text + at, n, err);
        at = next;
    }
    free(text);
    if (rc == 0 && r->d.n == before)
        rc = err_set(err, ERR_FORMAT, "%s: no text in it", path);
    if (rc == 0 && r->d.n > INT32_MAX / 2)
        rc = err_set(err, ERR_FORMAT, "%s: over %d sequences", path, INT32_MAX / 2);
    if (rc == 0)
        (void)fprintf(out, "%-12s %zu lines, %zu sequences\n", path, number, r->d.n - before);
    return rc;
}

int text_read(const char *const *paths, int n, int32_t max_characters, long skip_bad, FILE *out,
              struct dataset *d, char digest[SHA256_HEX], struct err *err)
{
    struct reading r = {.hash = sha256_open(), .max = max_characters, .skip_bad = skip_bad};
    int rc = 0;
    for (int i = 0; i < n && rc == 0; i++)
        rc = read_file(&r, paths[i], out, err);
    sha256_close(r.hash, digest);
    if (rc != 0) {
        dataset_done(&r.d);
        return -1;
    }
    r.d.labels = xcalloc(r.d.n, sizeof *r.d.labels);
    *d = r.d;
    return 0;
}
