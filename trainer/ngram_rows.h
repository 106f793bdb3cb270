/* The TF-IDF rows of a batch of titles (models/linear.h), made by all threads. */
#ifndef TRAINER_NGRAM_ROWS_H
#define TRAINER_NGRAM_ROWS_H

#include "base/pool.h"
#include "data/batch.h"
#include "models/linear.h"
#include "trainer/liblinear.h"

struct ngram_rows {
    struct sparse x; /* a view of the rest */
    int64_t *start;
    int32_t *count, *index;
    float *value;
};
void ngram_rows_make(struct ngram_rows *r, const struct ngrams *g, const struct batch *b,
                     struct pool *pool);
void ngram_rows_done(struct ngram_rows *r);

#endif
