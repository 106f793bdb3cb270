/* fastText's files: an error, or a model that classifies any title without leaving its tables. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "models/fasttext.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char title[] = "abc 中国 abc 股市\xff";
    static int fd = -1;
    char path[40];
    struct fasttext_file f;
    struct fasttext *m;
    struct err err;
    int32_t ids[512];
    if (fd < 0)
        fd = memfd_create("fasttext", 0);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, n, 0) != (ssize_t)n)
        abort();
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fasttext_file_open(path, &f, &err) != 0)
        return 0;
    struct words *words;
    if (words_open(n % 2 ? WORDS_SPACES : WORDS_CHARACTERS, NULL, NULL, &words, &err) != 0)
        abort();
    if (fasttext_make(&f, words, &m, &err) == 0) {
        int32_t labels = fasttext_dictionary(m)->n_labels,
                got = fasttext_encode(m, title, sizeof title - 1, ids, 512, NULL);
        float *p = xcalloc((size_t)labels, sizeof *p),
              *scratch = xcalloc(fasttext_scratch(m), sizeof *scratch);
        fasttext_probabilities(m, ids, got, scratch, p);
        for (int32_t i = 0; i < labels; i++)
            if (!(p[i] >= 0 && p[i] <= 1.001f))
                abort();
        free(p);
        free(scratch);
        fasttext_free(m);
    }
    fasttext_file_close(&f);
    return 0;
}
