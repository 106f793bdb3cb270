#include "ops/tfidf.h"

#include <math.h>

#define ID_MASK (((uint64_t)1 << TFIDF_ID_BITS) - 1)

double tfidf_idf(int64_t n, int64_t df)
{
    return log((1.0 + (double)n) / (1.0 + (double)df)) + 1.0;
}

int32_t tfidf_keys(const int32_t *ids, int32_t n, int32_t unknown, int64_t *keys)
{
    int32_t found = 0, run = 0; /* run: characters since the last unknown one */
    uint64_t last = 0;
    for (int32_t i = 0; i < n; i++) {
        if (ids[i] == unknown) {
            run = 0;
            continue;
        }
        last = (last << TFIDF_ID_BITS | (uint64_t)(ids[i] + 1)) & INT64_MAX; /* three characters */
        run++;
        keys[found++] = (int64_t)(last & ID_MASK);
        if (run >= 2)
            keys[found++] = (int64_t)(last & (ID_MASK << TFIDF_ID_BITS | ID_MASK));
        if (run >= 3)
            keys[found++] = (int64_t)last;
    }
    return found;
}

int tfidf_key_valid(int64_t key, int32_t vocab_size, int32_t unknown)
{
    if (key <= 0)
        return 0;
    for (; key; key >>= TFIDF_ID_BITS) { /* the last character first; a zero before a further
                                            character is a hole */
        int64_t id = (int64_t)((uint64_t)key & ID_MASK) - 1;
        if (id < 0 || id >= vocab_size || id == unknown)
            return 0;
    }
    return 1;
}

void tfidf_weigh(float *value, const int32_t *tf, const float *idf, int32_t n)
{
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++) {
        float weight = tf[i] == 1 ? idf[i] : (float)((1.0 + log((double)tf[i])) * (double)idf[i]);
        value[i] = weight;
        sum += (double)weight * (double)weight;
    }
    float scale = sum > 0.0 ? (float)(1.0 / sqrt(sum)) : 0.0f;
    for (int32_t i = 0; i < n; i++)
        value[i] *= scale;
}
