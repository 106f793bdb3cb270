/* Titles a second of one tokenizer on one thread: make bench-tokenizers.
 * Usage: bench_tokenizers bert|xlnet|t5 DIR TITLES.  TITLES: a title a line, a tab and a label may
 * follow.  The best and the median of seven passes over all of them, at most 512 ids each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "data/tokenizer.h"

enum { MAX_IDS = 512, PASSES = 7, MAX_TITLES = 1 << 30 };

struct titles {
    char *text;
    size_t n, *start, *len; /* [n] */
};

static int read_titles(const char *path, struct titles *t, struct err *err)
{
    size_t size, lines = 1;
    if (file_read(path, MAX_TITLES, &t->text, &size, err) != 0)
        return -1;
    for (size_t i = 0; i < size; i++)
        lines += t->text[i] == '\n';
    t->start = xmalloc(lines * sizeof *t->start);
    t->len = xmalloc(lines * sizeof *t->len);
    t->n = 0;
    for (size_t at = 0; at < size;) {
        size_t n = strcspn(t->text + at, "\n");
        t->start[t->n] = at;
        t->len[t->n++] = strcspn(t->text + at, "\t\n");
        at += n + 1;
    }
    return t->n ? 0 : err_set(err, ERR_FORMAT, "%s: no titles", path);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static const char *const kinds[] = {"characters", "bert", "xlnet", "t5"};
    struct titles titles;
    struct tokenizer *t;
    struct err err;
    int kind = 3;
    int32_t ids[MAX_IDS];
    double seconds[PASSES];
    size_t total = 0;
    while (argc == 4 && kind > 0 && strcmp(argv[1], kinds[kind]) != 0)
        kind--;
    if (argc != 4 || kind == 0) {
        (void)fprintf(stderr, "usage: bench_tokenizers bert|xlnet|t5 DIR TITLES\n");
        return 2;
    }
    if (tokenizer_open(argv[2], (enum tokenizer_kind)kind, &t, &err) != 0 ||
        read_titles(argv[3], &titles, &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    for (int pass = 0; pass < PASSES; pass++) {
        int64_t start = clock_ns();
        for (size_t i = 0; i < titles.n; i++)
            total += (size_t)tokenizer_encode(t, titles.text + titles.start[i], titles.len[i], ids,
                                              MAX_IDS, NULL);
        seconds[pass] = (double)(clock_ns() - start) / 1e9;
    }
    qsort(seconds, PASSES, sizeof *seconds, by_value);
    double n = (double)titles.n;
    (void)printf("%-6s %zu titles, %.1f ids each: %.0f titles/s at best, %.0f in the median\n",
                 argv[1], titles.n, (double)total / (double)PASSES / n, n / seconds[0],
                 n / seconds[PASSES / 2]);
    free(titles.text);
    free(titles.start);
    free(titles.len);
    tokenizer_close(t);
    return 0;
}
