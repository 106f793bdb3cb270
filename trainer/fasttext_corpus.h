/* Labelled titles as fastText has them: its dictionary of them, and their rows. */
#ifndef TRAINER_FASTTEXT_CORPUS_H
#define TRAINER_FASTTEXT_CORPUS_H

#include "data/dataset.h"
#include "trainer/fasttext_train.h"

#define FASTTEXT_LABEL (DATASET_MAX_CLASS_NAME + 16)
/* "__label__" and the class's name, or its number where the name has a blank. */
void fasttext_corpus_label(const struct classes *c, int32_t i, char out[FASTTEXT_LABEL]);
/* Refused: two classes of one label (one is called as the other is numbered). */
int fasttext_corpus_check_labels(const struct classes *c, struct err *err);

/* Words seen at least args->min_count times and labels, each by falling counts.  *d and *l are the caller's, after a failure too. */
int fasttext_corpus_make(const struct dataset *titles, const struct classes *classes,
                         const struct fasttext_args *args, const struct words *words,
                         struct fasttext_dict *d, struct fasttext_lines *l, struct err *err);

/* Other titles by the same dictionary: those that it knows something of. */
int fasttext_corpus_lines(const struct dataset *titles, const struct classes *classes,
                          const struct words *words, const struct fasttext_dict *d,
                          struct fasttext_lines *l, struct err *err);

/* Numbers of the classes' labels among the dictionary's; the first class that has none, or -1. */
int32_t fasttext_corpus_labels(const struct classes *classes, const struct fasttext_dict *d,
                               int32_t *label);

#endif
