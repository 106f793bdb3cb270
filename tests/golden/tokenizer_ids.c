/* The ids of each line of standard input. Usage: tokenizer_ids DIR bert|xlnet|t5 MAX */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer.h"

int main(int argc, char **argv)
{
    struct tokenizer *t;
    struct err err;
    if (argc != 4)
        return 64;
    enum tokenizer_kind kind = strcmp(argv[2], "bert") == 0    ? TOKENIZER_BERT
                               : strcmp(argv[2], "xlnet") == 0 ? TOKENIZER_XLNET
                                                               : TOKENIZER_T5;
    int max = atoi(argv[3]);
    if (max < 2 || tokenizer_open(argv[1], kind, &t, &err) != 0) {
        (void)fprintf(stderr, "%s\n", max < 2 ? "MAX is 2 at least" : err.msg);
        return 65;
    }
    int32_t *ids = xcalloc((size_t)max, sizeof *ids);
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0;) {
        n -= line[n - 1] == '\n';
        int32_t got = tokenizer_encode(t, line, (size_t)n, ids, max, NULL);
        for (int32_t i = 0; i < got; i++)
            (void)printf(i ? " %d" : "%d", (int)ids[i]);
        (void)putchar('\n');
    }
    free(line);
    free(ids);
    tokenizer_close(t);
    return 0;
}
