/* A batch of titles as packed rows: the ids of all titles one after another, no padding, no mask.
 * Title b has the ids ids[start[b]] .. ids[start[b + 1] - 1]; every title has at least one.
 * Borrowed, plain data. */
#ifndef DATA_BATCH_H
#define DATA_BATCH_H

#include <stdint.h>

/* What a teacher says of a batch's titles (ops/softmax.h). */
struct teaching {
    const float *taught; /* [n, labels] probabilities at the temperature */
    float temperature, part;
};

struct batch {
    const int32_t *ids;    /* [start[n]] */
    const int32_t *start;  /* [n + 1], start[0] == 0 */
    const int32_t *labels; /* [n], or NULL when unknown; -1: this title has none (with teaching) */
    int32_t n;
    const struct teaching *teaching; /* NULL: labels alone */
};

#endif
