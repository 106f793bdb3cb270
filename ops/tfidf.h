/* TF-IDF of n-grams, as scikit-learn's TfidfVectorizer(sublinear_tf=True, smooth_idf=True,
 * norm="l2") has it:
 *
 *     idf   = ln((1 + n) / (1 + df)) + 1
 *     value = (1 + ln tf) idf / Euclidean norm of the title's values
 *
 * An n-gram of 1 to 3 characters is one 63-bit key: (id + 1) of each, 21 bits each, the last one
 * lowest, so shorter n-grams have smaller keys and zero is no n-gram.
 * No allocation, cannot fail. */
#ifndef OPS_TFIDF_H
#define OPS_TFIDF_H

#include <stdint.h>

#define TFIDF_ID_BITS 21
#define TFIDF_MAX_ID ((1 << TFIDF_ID_BITS) - 2)
#define TFIDF_NGRAM 3

double tfidf_idf(int64_t n, int64_t df);

/* Keys of all n-grams of ids[0..n), in order of their last character, repeats included: at most 3 n
 * of them are written to keys, their number returned.  An id equal to `unknown` breaks n-grams. */
int32_t tfidf_keys(const int32_t *ids, int32_t n, int32_t unknown, int64_t *keys);

/* Whether key is an n-gram of ids below vocab_size, none of them `unknown`. */
int tfidf_key_valid(int64_t key, int32_t vocab_size, int32_t unknown);

/* value[i] = (1 + ln tf[i]) idf[i] / norm.  n = 0 is a no-op. */
void tfidf_weigh(float *value, const int32_t *tf, const float *idf, int32_t n);

#endif
