#include "models/registry_chunks.h"

#include <stdlib.h>
#include <string.h>

#define MOST_BYTES ((size_t)4 << 20)

/* Digits up to `end`, or -1. */
static int64_t number(const char **s, const char *limit, char end)
{
    int64_t v = 0;
    const char *p = *s;
    while (p < limit && *p >= '0' && *p <= '9' && v < INT64_C(1) << 40)
        v = v * 10 + (*p++ - '0');
    if (p == *s || p == limit || *p != end)
        return -1;
    *s = p + 1;
    return v;
}

static int parse_line(struct chunk *c, const char **s, const char *limit)
{
    int64_t file = number(s, limit, ' ');
    if (file < 0 || limit - *s < SHA256_HEX)
        return -1;
    memcpy(c->sha256, *s, SHA256_HEX - 1);
    c->sha256[SHA256_HEX - 1] = '\0';
    if (strspn(c->sha256, "0123456789abcdef") != SHA256_HEX - 1 || (*s)[SHA256_HEX - 1] != ' ')
        return -1;
    *s += SHA256_HEX;
    int64_t bytes = number(s, limit, '\n');
    if (bytes < 1 || (size_t)bytes > MOST_BYTES)
        return -1;
    c->file = (size_t)file;
    c->bytes = (size_t)bytes;
    return 0;
}

/* Every file's chunks add up to it. */
static int check(const struct chunks *c, const struct manifest *m, const char *where,
                 struct err *err)
{
    size_t at = 0;
    for (size_t i = 0; i < m->n; i++) {
        int64_t sum = 0;
        for (; at < c->n && c->list[at].file == i; at++)
            sum += (int64_t)c->list[at].bytes;
        if (sum != m->files[i].bytes)
            return err_set(err, ERR_FORMAT, "%s: the chunks of %s have %lld bytes instead of %lld",
                           where, m->files[i].name, (long long)sum, (long long)m->files[i].bytes);
    }
    if (at < c->n)
        return err_set(err, ERR_FORMAT, "%s: chunk %zu: of file %zu, out of turn or not there",
                       where, at, c->list[at].file);
    return 0;
}

int chunks_parse(struct chunks *c, const struct manifest *m, const char *where, const char *text,
                 size_t len, struct err *err)
{
    const char *s = text, *limit = text + len;
    size_t cap = 0;
    *c = (struct chunks){0};
    if (len > CHUNKS_MAX_TEXT)
        return err_set(err, ERR_FORMAT, "%s: %zu bytes of chunk lines", where, len);
    while (s < limit) {
        if (c->n == cap) {
            cap = cap ? 2 * cap : 64;
            c->list = xrealloc(c->list, cap * sizeof *c->list);
        }
        if (parse_line(&c->list[c->n], &s, limit) != 0) {
            (void)err_set(err, ERR_FORMAT, "%s: chunk line %zu: expected FILE SHA256 BYTES", where,
                          c->n + 1);
            chunks_done(c);
            return -1;
        }
        c->n++;
    }
    if (check(c, m, where, err) != 0) {
        chunks_done(c);
        return -1;
    }
    return 0;
}

void chunks_done(struct chunks *c)
{
    free(c->list);
    *c = (struct chunks){0};
}
