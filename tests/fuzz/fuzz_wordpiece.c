/* Any bytes as a title, with any options: ids within the vocabulary, [CLS] and [SEP] at the ends, nothing
 * read outside. The first byte chooses options, the second the room. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/wordpiece.h"

enum { OPTIONS = 8, MAX = 64 };

static struct wordpiece *open_with(unsigned options)
{
    static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\n##b\nab\n##"
                                "abc\n新\n闻\n1\n##2\n.\ni\n##\xcc\x87\n";
    char path[] = "/tmp/rubric-fuzz-XXXXXX";
    struct wordpiece_options opt = {options & 1, options & 2, options & 4};
    struct wordpiece *w = NULL;
    struct err err;
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, vocab, sizeof vocab - 1) != (ssize_t)sizeof vocab - 1 ||
        wordpiece_open(path, &opt, &w, &err) != 0)
        abort();
    (void)close(fd);
    (void)unlink(path);
    return w;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wordpiece *all[OPTIONS];
    if (size < 2)
        return 0;
    unsigned options = data[0] % OPTIONS;
    if (!all[options])
        all[options] = open_with(options);
    const struct wordpiece *w = all[options];
    int32_t max = 2 + data[1] % (MAX - 2), ids[MAX];
    size_t n = size - 2;
    char *text = malloc(n + !n);
    if (!text)
        abort();
    memcpy(text, data + 2, n);
    bool cut;
    int32_t got = wordpiece_encode(w, text, n, ids, max, &cut);
    if (got < 2 || got > max || ids[0] != 2 || ids[got - 1] != 3 || (cut && got != max))
        abort();
    for (int32_t i = 0; i < got; i++)
        if (ids[i] < 0 || ids[i] >= wordpiece_size(w))
            abort();
    free(text);
    return 0;
}
