/* Helpers of the model tests: golden tensors by name, a vocabulary of a given size, model
 * directories in the scratch folder. */
#ifndef TESTS_MODELS_GOLDEN_H
#define TESTS_MODELS_GOLDEN_H

#include "tests/base/scratch.h"

#include <math.h>

#include "data/batch.h"
#include "data/dataset.h"
#include "data/vocab.h"
#include "models/safetensors.h"

static inline struct safetensors *golden_open(const char *path)
{
    struct err err;
    struct safetensors *st;
    if (safetensors_open(path, &st, &err) != 0)
        fail_msg("%s", err.msg);
    return st;
}

static inline const struct tensor *golden_tensor(const struct safetensors *st, const char *name)
{
    const struct tensor *t = tensor_set_find(safetensors_tensors(st), name);
    if (!t)
        fail_msg("no tensor %s", name);
    return t;
}

/* A copy with the type's own alignment, malloc'd. */
static inline void *golden_copy(const struct safetensors *st, const char *name, enum dtype dtype,
                                int32_t *n)
{
    const struct tensor *t = golden_tensor(st, name);
    assert_int_equal(t->dtype, dtype);
    void *p = xmalloc(t->bytes);
    memcpy(p, t->data, t->bytes);
    if (n)
        *n = (int32_t)(t->bytes / dtype_size(dtype));
    return p;
}

/* ids, start and, where labels is not NULL, labels; freed by golden_batch_done. */
static inline struct batch golden_batch(const struct safetensors *st, const char *ids,
                                        const char *start, const char *labels)
{
    struct batch b = {.ids = golden_copy(st, ids, DT_I32, NULL)};
    b.start = golden_copy(st, start, DT_I32, &b.n);
    b.labels = labels ? golden_copy(st, labels, DT_I32, NULL) : NULL;
    b.n--;
    return b;
}

static inline void golden_batch_done(struct batch *b)
{
    free((void *)(uintptr_t)b->ids);
    free((void *)(uintptr_t)b->start);
    free((void *)(uintptr_t)b->labels);
}

/* [PAD] [UNK] [SPACE] and then the characters from U+4E00 on, so that id 3 is U+4E00. */
static inline struct vocab *golden_vocab(int32_t size)
{
    struct vocab_builder *b = vocab_builder_open();
    for (int32_t i = VOCAB_FIRST; i < size; i++) {
        unsigned c = 0x4E00u + (unsigned)(i - VOCAB_FIRST);
        const char utf8[3] = {(char)(0xE0 | c >> 12), (char)(0x80 | (c >> 6 & 0x3F)),
                              (char)(0x80 | (c & 0x3F))};
        vocab_builder_add(b, utf8, 3);
    }
    struct vocab *v = vocab_builder_finish(b, 1, size);
    vocab_builder_close(b);
    assert_int_equal(vocab_size(v), size);
    return v;
}

static char *golden_names[] = {"finance", "realty", "stocks", "education", "science"};
static inline struct classes golden_classes(int32_t n)
{
    return (struct classes){golden_names, n};
}

/* Changes one key of DIR/config.json; value NULL takes it out. */
static inline void golden_edit(const char *key, const char *value)
{
    char *path = scratch_file("config.json"), *text, *at;
    size_t len;
    if (file_read(path, 1 << 20, &text, &len, NULL) != 0)
        abort();
    char *quoted = file_path("\n  \"%s\": ", key);
    at = strstr(text, quoted);
    if (!at)
        fail_msg("no key %s in config.json", key);
    size_t value_at = strlen(quoted), depth = 0;
    char *end = at + value_at;
    for (; depth || (*end != ',' && *end != '\n'); end++)
        depth += (*end == '[' || *end == '{') ? 1 : (*end == ']' || *end == '}') ? (size_t)-1 : 0;
    char *edited = value ? file_path("%.*s%s%s%s", (int)(at - text), text, quoted, value, end)
                         : file_path("%.*s%s", (int)(at - text), text, *end == ',' ? end + 1 : end);
    free(scratch_write("config.json", edited, strlen(edited)));
    free(edited);
    free(quoted);
    free(text);
    free(path);
}

#endif
