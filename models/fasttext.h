/* fastText's classifier at inference (Joulin et al., arXiv:1607.01759): logits are W times the mean of a line's
 * rows.  The mean of products is the product of the mean, so every row is multiplied by W when a model is
 * opened, and a title is gathers, adds and one pass over its labels; where labels are more than
 * dimensions, rows stay as they are.  Probabilities are the fasttext program's to rounding, less the 1e-5 that
 * it adds to each (with hs: to each decision) before it takes a logarithm. */
#ifndef MODELS_FASTTEXT_H
#define MODELS_FASTTEXT_H

#include "models/fasttext_file.h"

struct fasttext;
/* From an open file, which may be closed afterwards; its dictionary and words are taken over, in any case. */
int fasttext_make(struct fasttext_file *f, struct words *words, struct fasttext **out,
                  struct err *err);
void fasttext_free(struct fasttext *m); /* NULL allowed */
const struct fasttext_dict *fasttext_dictionary(const struct fasttext *m);
/* As tokenizer_encode(): rows of the input matrix. */
int32_t fasttext_encode(const struct fasttext *m, const char *title, size_t n, int32_t *rows,
                        int32_t max, bool *cut);
/* p [labels]; scratch [fasttext_scratch()]. A title without a row gets what W gives for zeros. */
size_t fasttext_scratch(const struct fasttext *m);
void fasttext_probabilities(const struct fasttext *m, const int32_t *rows, int32_t n,
                            float *scratch, float *p);
int64_t fasttext_bytes(const struct fasttext *m);

/* A dictionary whose words are single characters, but for a few, is one of characters; others are of words. */
enum words_how fasttext_guess_words(const struct fasttext_dict *d);

#endif
