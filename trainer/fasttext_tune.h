/* A time-boxed search for fastText's arguments, as its own -autotune-duration: the first trial has the defaults, then
 * each changes the best so far by random steps that grow smaller with time.  Judged on titles that the trials
 * are not trained on; what the user set stays. */
#ifndef TRAINER_FASTTEXT_TUNE_H
#define TRAINER_FASTTEXT_TUNE_H

#include <stdio.h>

#include "trainer/fasttext_corpus.h"

/* What is searched; a fixed one stays as it is given. */
struct fasttext_choice {
    struct fasttext_args args; /* epoch too */
    double lr;
};
struct fasttext_fixed {
    bool dim, epoch, word_ngrams, subwords, bucket, lr;
};

struct fasttext_search {
    const struct dataset *train, *held; /* borrowed */
    const struct classes *classes;
    const struct words *words;
    struct fasttext_fixed fixed;
    double seconds;
    uint64_t seed;
    struct pool *pool;
    FILE *console;
    bool (*stop)(void); /* asked now and then; NULL: never */
};

/* *best: where to begin, then the best; *accuracy on held.  Fails when no trial came to an end. */
int fasttext_tune(const struct fasttext_search *s, struct fasttext_choice *best, double *accuracy,
                  struct err *err);

#endif
