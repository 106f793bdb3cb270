/* Words of each line of standard input as this project cuts them, with U+2060 between. Usage: segment_words DIR */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/segment.h"

static void put(void *arg, const char *s, size_t n)
{
    int *first = arg;
    if (!*first)
        (void)fputs("\xe2\x81\xa0", stdout);
    *first = 0;
    (void)fwrite(s, 1, n, stdout);
}

int main(int argc, char **argv)
{
    struct segmenter *s;
    struct err err;
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    if (argc != 2 || segmenter_open(argv[1], &s, &err) != 0) {
        (void)fprintf(stderr, "segment_words: %s\n",
                      argc == 2 ? err.msg : "usage: segment_words DIR");
        return 1;
    }
    while ((n = getline(&line, &room, stdin)) > 0) {
        int first = 1;
        n -= line[n - 1] == '\n';
        segmenter_cut(s, line, (size_t)n, put, &first);
        (void)putchar('\n');
    }
    free(line);
    segmenter_close(s);
    return 0;
}
