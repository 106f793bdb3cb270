/* Dataset lines in all three forms (the first byte chooses the file's name), class files' look-ups
 * and what is done with the titles: whatever comes in, what comes out is sound. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset.h"
#include "data/stats.h"
#include "data/title.h"
#include "data/utf8.h"
#include "data/vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
    if (!truth)
        abort();
}

static void encode_all(const struct dataset *d)
{
    struct vocab_builder *b = vocab_builder_open();
    for (size_t i = 0; i < d->n; i++)
        vocab_builder_add(b, d->text + d->offset[i], d->offset[i + 1] - d->offset[i]);
    struct vocab *v = vocab_builder_finish(b, 1, 0);
    vocab_builder_close(b);
    int32_t ids[64];
    for (size_t i = 0; i < d->n; i++) {
        int32_t n =
            vocab_encode(v, d->text + d->offset[i], d->offset[i + 1] - d->offset[i], ids, 64);
        require(n >= 1 && n <= 64);
        for (int32_t k = 0; k < n;
             k++) /* every character was counted: only a title without any is unknown */
            require((ids[k] > VOCAB_UNK && ids[k] < vocab_size(v)) ||
                    (n == 1 && ids[k] == VOCAB_UNK));
    }
    vocab_close(v);
}

static void check_sound(const struct dataset *d, const struct classes *c, size_t size)
{
    require(d->offset[0] == 0 && d->offset[d->n] <= size);
    for (size_t i = 0; i < d->n; i++) {
        require(d->offset[i] < d->offset[i + 1]);
        require(d->labels[i] >= 0 && d->labels[i] < c->n);
        require(title_check(d->text + d->offset[i], d->offset[i + 1] - d->offset[i],
                            DATASET_MAX_LINE, NULL) == TITLE_OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const files[] = {"f.txt", "f.csv"};
    static char *names[] = {"a", "b", "10"};
    static const struct classes classes = {names, 3};
    static unsigned long runs;
    if (!size)
        return 0;
    const char *name = files[data[0] & 1], *text = (const char *)data + 1;
    struct dataset_options opt = {.skip_bad = data[0] >> 1};
    struct dataset d;
    struct err err = {0};
    size--;
    if (dataset_parse(name, text, size, &classes, &opt, &d, &err) != 0) {
        require(err.code == ERR_FORMAT && strncmp(err.msg, name, strlen(name)) == 0);
        return 0;
    }
    check_sound(&d, &classes, size);
    require(d.skipped <= (size_t)opt.skip_bad);
    struct stats s;
    stats_init(&s, &d, &classes);
    require(s.distinct <= s.titles && s.two_labels <= s.distinct);
    stats_done(&s);
    if (d.n && runs++ % 64 == 0) /* a vocabulary walks all code points: too slow for every input */
        encode_all(&d);
    dataset_done(&d);
    return 0;
}
