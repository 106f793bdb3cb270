/* jieba's dictionary and tables: an error, or words that together are the text. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "data/segment.h"

static const char text[] = "中国人民 abc1.5%\xe5\x9b\xbd\xff+#国家队央行";

static void check(void *arg, const char *s, size_t n)
{
    const char **at = arg;
    if (s != *at || n == 0)
        abort();
    *at += n;
}

static const char *const files[] = {"dict.txt", "prob_start.py", "prob_trans.py", "prob_emit.py"};
static char dir[] = "/tmp/rubric-fuzz-XXXXXX", *whole[4];
static size_t len[4];

static void put(int which, const void *data, size_t n)
{
    char *path = file_path("%s/%s", dir, files[which]);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0)
        abort();
    free(path);
}

static void clean(void)
{
    (void)file_remove_dir(dir, NULL);
}

static void begin(void)
{
    if (!mkdtemp(dir) || atexit(clean) != 0)
        abort();
    for (int i = 0; i < 4; i++) {
        char *path = file_path("tests/golden/segment/%s", files[i]);
        if (file_read(path, 1 << 20, &whole[i], &len[i], NULL) != 0)
            abort();
        put(i, whole[i], len[i]);
        free(path);
    }
}

/* The first byte says which of the four files the rest is. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct segmenter *s;
    struct err err;
    if (!whole[0])
        begin();
    if (n == 0)
        return 0;
    int which = data[0] % 4;
    put(which, data + 1, n - 1);
    if (segmenter_open(dir, &s, &err) == 0) {
        const char *at = text;
        segmenter_cut(s, text, sizeof text - 1, check, &at);
        if (at != text + sizeof text - 1)
            abort();
        segmenter_close(s);
    }
    put(which, whole[which], len[which]);
    return 0;
}
