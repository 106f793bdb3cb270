#include "data/dataset_forms.h"

#include <string.h>
#include <strings.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

int dataset_tab_line(const char *line, size_t n, struct span *title, struct span *label,
                     struct err *err)
{
    const char *tab = memrchr(line, '\t', n);
    if (!tab)
        return err_set(err, ERR_FORMAT, "no tab between title and label");
    *title = (struct span){line, (size_t)(tab - line)};
    *label = (struct span){tab + 1, n - title->n - 1};
    return 0;
}

static const char mark[] = "__label__";
enum { MARK = sizeof mark - 1 };

bool dataset_is_fasttext(const char *line, size_t n)
{
    return n >= MARK && memcmp(line, mark, MARK) == 0;
}

/* Whether the single blank at s[i] stands between two words and not between two characters that
 * were spaced. */
static bool keeps_blank(const char *s, size_t n, size_t i)
{
    if (i == 0 || i + 1 >= n || !is_word(s[i - 1]) || !is_word(s[i + 1]))
        return false;
    return (i >= 2 && is_word(s[i - 2])) || (i + 2 < n && is_word(s[i + 2]));
}

int dataset_fasttext_line(const char *line, size_t n, bool spaced, char *scratch,
                          struct span *title, struct span *label, struct err *err)
{
    if (!dataset_is_fasttext(line, n))
        return err_set(err, ERR_FORMAT, "does not begin with %s", mark);
    size_t i = MARK;
    while (i < n && !is_blank(line[i]))
        i++;
    *label = (struct span){line + MARK, i - MARK};
    while (i < n && is_blank(line[i]))
        i++;
    const char *s = line + i;
    n -= i;
    if (dataset_is_fasttext(s, n))
        return err_set(err, ERR_FORMAT, "more than one label");
    size_t used = 0;
    for (i = 0; i < n; i++) {
        if (!is_blank(s[i])) {
            scratch[used++] = s[i];
            continue;
        }
        size_t run = 1;
        while (i + run < n && is_blank(s[i + run]))
            run++;
        if (spaced || run > 1 || keeps_blank(s, n, i))
            scratch[used++] = ' ';
        i += run - 1;
    }
    *title = (struct span){scratch, used};
    return 0;
}

bool dataset_csv_record(const char *s, size_t n, size_t *length)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < n && (s[i] != '\n' || quoted); i++)
        quoted ^= s[i] == '"'; /* a doubled quote closes and opens again */
    *length = i;
    return !quoted;
}

/* Takes the field at s[*i..n) into scratch[*used..], and the comma behind it; *more says whether
 * there was one. */
static int take_field(const char *s, size_t n, size_t *i, char *scratch, size_t *used, bool *more,
                      struct err *err)
{
    size_t p = *i, out = *used;
    if (p < n && s[p] == '"') {
        for (p++;; p++) {
            if (p == n)
                return err_set(err, ERR_FORMAT, "a quote that is not closed within %d bytes",
                               DATASET_MAX_LINE);
            if (s[p] == '"' && (p + 1 == n || s[p + 1] != '"'))
                break;
            p += s[p] == '"';
            scratch[out++] = s[p];
        }
        p++;
        if (p < n && s[p] != ',')
            return err_set(err, ERR_FORMAT, "text after a closing quote (byte %zu)", p + 1);
    } else {
        for (; p < n && s[p] != ','; p++) {
            if (s[p] == '"')
                return err_set(err, ERR_FORMAT,
                               "a quote inside a field that has none around it (byte %zu)", p + 1);
            scratch[out++] = s[p];
        }
    }
    *more = p < n;
    *i = p + *more;
    *used = out;
    return 0;
}

static int take_record(const char *s, size_t n, char *scratch,
                       struct span fields[DATASET_MAX_COLUMNS], size_t *count, struct err *err)
{
    size_t i = 0, used = 0;
    *count = 0;
    for (bool more = true; more;) {
        if (*count == DATASET_MAX_COLUMNS)
            return err_set(err, ERR_FORMAT, "more than %d columns", DATASET_MAX_COLUMNS);
        size_t from = used;
        if (take_field(s, n, &i, scratch, &used, &more, err) != 0)
            return -1;
        fields[(*count)++] = (struct span){scratch + from, used - from};
    }
    return 0;
}

static int find_column(const struct span *fields, size_t n, const char *name, size_t *column,
                       struct err *err)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        struct span f = fields[i];
        while (f.n && is_blank(f.s[0]))
            f = (struct span){f.s + 1, f.n - 1};
        while (f.n && is_blank(f.s[f.n - 1]))
            f.n--;
        if (f.n == strlen(name) && strncasecmp(f.s, name, f.n) == 0) {
            *column = i;
            found++;
        }
    }
    if (found == 1)
        return 0;
    return err_set(err, ERR_FORMAT,
                   found ? "two columns \"%s\" in the header" : "no column \"%s\" in the header",
                   name);
}

int dataset_csv_header(const char *record, size_t n, char *scratch, struct csv_columns *columns,
                       struct err *err)
{
    struct span fields[DATASET_MAX_COLUMNS];
    if (take_record(record, n, scratch, fields, &columns->n, err) != 0 ||
        find_column(fields, columns->n, "title", &columns->title, err) != 0 ||
        find_column(fields, columns->n, "label", &columns->label, err) != 0)
        return -1;
    return 0;
}

int dataset_csv_line(const char *record, size_t n, const struct csv_columns *columns, char *scratch,
                     struct span *title, struct span *label, struct err *err)
{
    struct span fields[DATASET_MAX_COLUMNS];
    size_t count;
    if (take_record(record, n, scratch, fields, &count, err) != 0)
        return -1;
    if (count != columns->n)
        return err_set(err, ERR_FORMAT, "%zu columns, the header has %zu", count, columns->n);
    *title = fields[columns->title];
    *label = fields[columns->label];
    return 0;
}
