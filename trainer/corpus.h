/* The labelled titles that a verb works on: read with progress shown, checked against class names,
 * packed as ids. */
#ifndef TRAINER_CORPUS_H
#define TRAINER_CORPUS_H

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"
#include "base/sha256.h"
#include "data/batch.h"
#include "data/dataset.h"
#include "data/vocab.h"

struct corpus_rules {
    long skip_bad; /* this many bad lines of a file are left out, at most */
    bool spaced;   /* blanks of __label__ lines stand between words (data/dataset.h) */
};

/* Reads one file, a bar or a line on out (NULL: silent). Bad lines let through are
 * named on stderr. A file without titles is refused. */
int corpus_read_file(const char *path, const struct classes *c, struct corpus_rules rules,
                     FILE *out, struct dataset *d, struct err *err);

/* When class.txt lies beside the file, it must name the same classes in the same order: an index
 * would otherwise mean another class without anybody noticing. */
int corpus_same_classes(const char *file, const struct classes *c, struct err *err);

struct corpus {
    struct classes classes;
    struct dataset train, dev, test; /* dev.n, test.n == 0: there is none */
    char digest[SHA256_HEX]; /* over classes, titles and labels of train and dev, for --resume */
};

/* Reads DIR/class.txt, train, dev (which may be missing unless need_dev) and, when there is one,
 * test. Nothing is kept on failure. */
int corpus_read(const char *dir, bool need_dev, struct corpus_rules rules, FILE *out,
                struct corpus *c, struct err *err);
void corpus_done(struct corpus *c); /* safe on a zeroed one */
int corpus_write_classes(const char *dir, const struct classes *c,
                         struct err *err); /* DIR/class.txt */

/* The vocabulary of the training titles: characters seen at least min_count times.  Refused: none. */
int corpus_vocab(const struct dataset *train, long min_count, struct vocab **out, struct err *err);

/* All titles of a dataset as one batch (labels borrowed from d). */
struct packed {
    int32_t *ids, *start;
    struct batch batch;
};
/* encode writes at most max (>= 2) ids of a title and returns how many, at most bytes + extra. */
typedef int32_t packed_encode(const void *arg, const char *title, size_t n, int32_t *ids,
                              int32_t max);
int packed_make(struct packed *p, const struct dataset *d, packed_encode *encode, const void *arg,
                int32_t extra, int32_t max_tokens, struct err *err);
int32_t packed_by_vocab(const void *vocab, const char *title, size_t n, int32_t *ids, int32_t max);
int32_t packed_by_tokenizer(const void *tokenizer, const char *title, size_t n, int32_t *ids,
                            int32_t max);
void packed_done(struct packed *p);
/* Copies the titles named by pick[0..n) into the arrays of a batch: ids (room for n * max_tokens),
 * start [n + 1], labels [n]. */
void packed_pick(const struct packed *p, const uint32_t *pick, int32_t n, int32_t *ids,
                 int32_t *start, int32_t *labels);

#endif
