/* See dataset.h. The bytes are cut into records, each record is checked, split by its form and
 * appended; a bad one is refused or, while skip_bad lasts, left out. */
#include "data/dataset.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "data/dataset_forms.h"
#include "data/title.h"
#include "data/utf8.h"

#define PROGRESS_BYTES (256 * 1024)

enum form { FORM_TAB, FORM_CSV, FORM_FASTTEXT };

struct reader {
    const char *name, *data;
    size_t len, pos, line; /* line: the number of the record's first line */
    const struct classes *classes;
    struct dataset_options opt;
    enum form form;
    struct csv_columns columns;
    bool torn; /* the last record did not split into fields: where it ends is not to be trusted */
    struct dataset d;
    size_t used, room; /* of d.text (bytes), of d.labels (rows) */
};

static bool only_line_ends(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] != '\n' && s[i] != '\r')
            return false;
    return true;
}

static size_t line_length(const char *s, size_t n)
{
    const char *end = memchr(s, '\n', n);
    return end ? (size_t)(end - s) : n;
}

static size_t without_cr(const char *s, size_t n)
{
    return n && s[n - 1] == '\r' ? n - 1 : n;
}

static struct span trimmed(struct span t)
{
    while (t.n && utf8_is_space((unsigned char)t.s[0]) && (unsigned char)t.s[0] < 0x80)
        t = (struct span){t.s + 1, t.n - 1};
    while (t.n && utf8_is_space((unsigned char)t.s[t.n - 1]) && (unsigned char)t.s[t.n - 1] < 0x80)
        t.n--;
    return t;
}

static int check_bytes(const char *s, size_t n, struct err *err)
{
    if (n > DATASET_MAX_LINE)
        return err_set(err, ERR_FORMAT, "a line of more than %d bytes", DATASET_MAX_LINE);
    size_t good = utf8_prefix(s, n);
    if (good == n)
        return 0;
    return err_set(err, ERR_FORMAT, s[good] ? "invalid UTF-8 (byte %zu)" : "a NUL (byte %zu)",
                   good + 1);
}

/* A label that nobody knows, shown without what could disturb a terminal. */
static int unknown_label(struct span label, struct err *err)
{
    char shown[80];
    size_t n = 0;
    for (size_t i = 0; i < label.n && n < 60; i++) {
        unsigned char c = (unsigned char)label.s[i];
        if (n > 50 && (c & 0xc0) != 0x80)
            break; /* cut before a character, never inside one */
        shown[n++] = c < 0x20 || c == 0x7f ? '?' : (char)c;
    }
    return err_set(err, ERR_FORMAT, "unknown label \"%.*s\"%s", (int)n, shown,
                   n < label.n ? " (shortened)" : "");
}

static void append(struct reader *r, struct span title, int32_t label)
{
    struct dataset *d = &r->d;
    if (d->n == r->room) {
        r->room = r->room ? 2 * r->room : 1024;
        d->labels = xrealloc(d->labels, r->room * sizeof *d->labels);
        d->offset = xrealloc(d->offset, (r->room + 1) * sizeof *d->offset);
    }
    memmove(d->text + r->used, title.s, title.n); /* it may stand in the scratch at text + used */
    r->used += title.n;
    d->labels[d->n++] = label;
    d->offset[d->n] = r->used;
}

static int take_record(struct reader *r, const char *s, size_t n, struct err *err)
{
    struct span title, label;
    /* What was appended came from bytes before s, so n bytes are free behind it. */
    char *scratch = r->d.text + r->used;
    r->torn = false;
    if (check_bytes(s, n, err) != 0)
        return -1;
    int rc = r->form == FORM_CSV ? dataset_csv_line(s, n, &r->columns, scratch, &title, &label, err)
             : r->form == FORM_FASTTEXT
                 ? dataset_fasttext_line(s, n, r->opt.spaced, scratch, &title, &label, err)
                 : dataset_tab_line(s, n, &title, &label, err);
    r->torn = rc != 0;
    if (rc != 0)
        return -1;
    title = trimmed(title);
    label = trimmed(label);
    if (title_check(title.s, title.n, DATASET_MAX_LINE, NULL) != TITLE_OK)
        return err_set(err, ERR_FORMAT, "the title is empty");
    int32_t index = classes_find(r->classes, label.s, label.n);
    if (index < 0)
        return unknown_label(label, err);
    append(r, title, index);
    return 0;
}

/* The length of the record at pos without its line end; a CSV record may span lines. One that is
 * over the bound or never closes its quote is cut at its first line's end, so that reading can go
 * on with the next line. */
static size_t record_length(const struct reader *r)
{
    const char *s = r->data + r->pos;
    size_t left = r->len - r->pos, n;
    size_t window =
        left < DATASET_MAX_LINE + 2 ? left : DATASET_MAX_LINE + 2; /* the bound and CRLF */
    if (r->form == FORM_CSV && dataset_csv_record(s, window, &n) && (n < window || n == left))
        return n;
    return line_length(s, left);
}

static void advance(struct reader *r, size_t n)
{
    for (size_t i = 0; i < n && r->form == FORM_CSV; i++)
        r->line += r->data[r->pos + i] == '\n';
    r->pos += n;
    if (r->pos < r->len) {
        r->pos++;
        r->line++;
    }
}

static int read_header(struct reader *r, struct err *err)
{
    if (r->pos == r->len)
        return 0;
    size_t n = record_length(r), kept = without_cr(r->data + r->pos, n);
    if (check_bytes(r->data + r->pos, kept, err) != 0 ||
        dataset_csv_header(r->data + r->pos, kept, r->d.text, &r->columns, err) != 0)
        return err_prefix(err, "%s:%zu", r->name, r->line);
    advance(r, n);
    return 0;
}

/* A bad record: 0 when it may be left out. */
static int skip(struct reader *r, struct err *err)
{
    (void)err_prefix(err, "%s:%zu", r->name, r->line);
    if (r->opt.skip_bad <= 0)
        return -1;
    if (r->d.skipped >= (size_t)r->opt.skip_bad) {
        size_t n = strlen(err->msg);
        (void)snprintf(err->msg + n, sizeof err->msg - n,
                       " (one bad line more than the %ld that may be skipped)", r->opt.skip_bad);
        return -1;
    }
    r->d.skipped++;
    if (r->opt.bad)
        r->opt.bad(r->opt.progress_arg, err->msg);
    return 0;
}

static int read_all(struct reader *r, struct err *err)
{
    size_t told = 0;
    if (r->form == FORM_CSV && read_header(r, err) != 0)
        return -1;
    while (r->pos < r->len) {
        const char *s = r->data + r->pos;
        size_t n = record_length(r), kept = without_cr(s, n);
        if (!kept && only_line_ends(s, r->len - r->pos))
            break;
        struct err bad = {0};
        if (take_record(r, s, kept, &bad) != 0 && skip(r, &bad) != 0) {
            if (err)
                *err = bad;
            return -1;
        }
        advance(r, r->torn ? line_length(s, r->len - r->pos) : n);
        if (r->opt.progress && r->pos - told >= PROGRESS_BYTES) {
            told = r->pos;
            r->opt.progress(r->opt.progress_arg, r->pos, r->len);
        }
    }
    if (r->opt.progress)
        r->opt.progress(r->opt.progress_arg, r->len, r->len);
    return 0;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcasecmp(s + n - m, end) == 0;
}

int dataset_parse(const char *name, const char *data, size_t len, const struct classes *c,
                  const struct dataset_options *opt, struct dataset *d, struct err *err)
{
    struct reader r = {.name = name, .data = data, .len = len, .line = 1, .classes = c};
    if (opt)
        r.opt = *opt;
    if (len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0)
        r.pos = 3;
    if (ends_with(name, ".csv"))
        r.form = FORM_CSV;
    else if (dataset_is_fasttext(data + r.pos, len - r.pos))
        r.form = FORM_FASTTEXT;
    r.d.text = xmalloc(len);
    r.d.offset = xcalloc(1, sizeof *r.d.offset);
    if (read_all(&r, err) != 0) {
        dataset_done(&r.d);
        return -1;
    }
    r.d.text = xrealloc(r.d.text, r.used);
    *d = r.d;
    return 0;
}

int dataset_read(const char *path, const struct classes *c, const struct dataset_options *opt,
                 struct dataset *d, struct err *err)
{
    struct file_map m;
    if (file_map_open(&m, path, err) != 0)
        return -1;
    int rc = dataset_parse(path, m.data ? (const char *)m.data : "", m.len, c, opt, d, err);
    file_map_close(&m);
    return rc;
}

void dataset_done(struct dataset *d)
{
    free(d->text);
    free(d->offset);
    free(d->labels);
    *d = (struct dataset){0};
}

char *dataset_find(const char *dir, const char *name)
{
    static const char *const endings[] = {"txt", "tsv", "csv"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char *path = file_path("%s/%s.%s", dir, name, endings[i]);
        if (file_exists(path))
            return path;
        free(path);
    }
    return NULL;
}
