/* Any bytes as a title and as vocab.txt.  The first byte chooses: WordPiece with its switches, a
 * SentencePiece model of tests/golden/transformers (run from the root), or the rest as a vocabulary;
 * the second the room for ids.  What comes out are ids below the size, closing tokens last. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "data/sentencepiece.h"
#include "data/tokenizer.h"
#include "data/wordpiece.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define GOLDEN "tests/golden/transformers"

enum { MODELS = 3 };

static void require(int truth)
{
    if (!truth)
        abort();
}

/* The directory of one model, made once: a link beside no configuration. */
static struct tokenizer *open_model(const char *model, const char *name, enum tokenizer_kind kind)
{
    char dir[] = "/tmp/rubric-fuzz-XXXXXX", from[4096], to[64];
    struct tokenizer *t;
    struct err err;
    require(mkdtemp(dir) && getcwd(from, sizeof from - 100));
    (void)snprintf(from + strlen(from), 100, "/" GOLDEN "/%s", model);
    (void)snprintf(to, sizeof to, "%s/%s", dir, name);
    require(symlink(from, to) == 0);
    if (tokenizer_open(dir, kind, &t, &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        abort();
    }
    require(unlink(to) == 0 && rmdir(dir) == 0);
    return t;
}

static void check_ids(const int32_t *ids, int32_t n, int32_t max, int32_t size)
{
    require(n >= 1 && n <= max);
    for (int32_t i = 0; i < n; i++)
        require(ids[i] >= 0 && ids[i] < size);
}

static void run_model(int which, const char *text, size_t n, int32_t max)
{
    static struct tokenizer *models[MODELS];
    if (!models[0]) {
        models[0] = open_model("bert/vocab.txt", "vocab.txt", TOKENIZER_BERT);
        models[1] = open_model("xlnet/spiece.model", "spiece.model", TOKENIZER_XLNET);
        models[2] = open_model("t5/spiece.model", "spiece.model", TOKENIZER_T5);
    }
    int32_t *ids = malloc((size_t)max * sizeof *ids),
            *again = malloc((size_t)max * 4 * sizeof *ids);
    bool cut, cut_again;
    int32_t got = tokenizer_encode(models[which], text, n, ids, max, &cut);
    check_ids(ids, got, max, tokenizer_size(models[which]));
    int32_t more = tokenizer_encode(models[which], text, n, again, 4 * max, &cut_again);
    check_ids(again, more, 4 * max, tokenizer_size(models[which]));
    require(ids[got - 1] == again[more - 1] && more >= got && (cut || !cut_again));
    require(cut || (more == got && memcmp(ids, again, (size_t)got * sizeof *ids) == 0));
    free(again);
    free(ids);
}

static int memory_file(const void *data, size_t n, char path[64])
{
    int fd = memfd_create("vocab", 0);
    require(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    (void)snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static void run_options(int bits, const char *text, size_t n, int32_t max)
{
    static struct wordpiece *all[8];
    struct wordpiece_options opt = {bits & 1, bits & 2, bits & 4};
    struct err err;
    if (!all[bits])
        require(wordpiece_open(GOLDEN "/bert/vocab.txt", &opt, &all[bits], &err) == 0);
    int32_t *ids = malloc((size_t)max * sizeof *ids);
    int32_t got = wordpiece_encode(all[bits], text, n, ids, max, NULL);
    check_ids(ids, got, max, wordpiece_size(all[bits]));
    require(ids[0] == wordpiece_id(all[bits], "[CLS]") &&
            ids[got - 1] == wordpiece_id(all[bits], "[SEP]"));
    free(ids);
}

/* Opening judges 65,536 characters: the special tokens are added where they lack, so that more than
 * refusals is run. */
static void run_vocabulary(const char *bytes, size_t n, bool whole, int32_t max)
{
    static const char specials[] = "\n[UNK]\n[CLS]\n[SEP]\n";
    struct wordpiece_options opt = {true, true, true};
    struct wordpiece *w = NULL;
    struct err err = {0};
    char path[64], *text = malloc(n + sizeof specials);
    memcpy(text, bytes, n);
    memcpy(text + n, specials, sizeof specials - 1);
    int fd = memory_file(text, whole ? n + sizeof specials - 1 : n, path);
    if (wordpiece_open(path, &opt, &w, &err) != 0) {
        require(!w && !whole && err.code == ERR_FORMAT);
        require(strncmp(err.msg, path, strlen(path)) == 0);
    } else {
        int32_t *ids = malloc((size_t)max * sizeof *ids);
        check_ids(ids, wordpiece_encode(w, bytes, n, ids, max, NULL), max, wordpiece_size(w));
        free(ids);
    }
    wordpiece_close(w);
    (void)close(fd);
    free(text);
}

static void run_sentencepiece_file(const char *bytes, size_t n)
{
    struct sentencepiece_model *sp = NULL;
    struct err err = {0};
    char path[64];
    int fd = memory_file(bytes, n, path);
    if (sentencepiece_open(path, &sp, &err) != 0)
        require(!sp && err.code == ERR_FORMAT && strncmp(err.msg, path, strlen(path)) == 0);
    sentencepiece_close(sp);
    (void)close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    int32_t max = 2 + data[1] % 62;
    size_t n = size - 2;
    char *text = malloc(n ? n : 1); /* a block of its own, so that one byte too many is seen */
    memcpy(text, data + 2, n);
    int what = data[0] % 32;
    if (what < 16)
        run_model(what % MODELS, text, n, max);
    else if (what < 24)
        run_options(what - 16, text, n, max);
    else if (what < 30)
        run_options(what % 8, text, n, max);
    else if (what == 30)
        run_vocabulary(text, n, data[1] & 1, max);
    else
        run_sentencepiece_file(text, n);
    free(text);
    return 0;
}
