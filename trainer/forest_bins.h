/* Sparse rows with their values in FOREST_BINS bins a feature: 0 is absent, the others hold equal shares of the
 * feature's values. */
#ifndef TRAINER_FOREST_BINS_H
#define TRAINER_FOREST_BINS_H

#include "base/pool.h"
#include "trainer/forest_train.h"

struct forest_bins {
    int32_t rows, features;
    int64_t *start; /* [rows + 1] */
    uint32_t *cell; /* feature * FOREST_BINS + bin, ascending in a row */
    float *edge;    /* [features][FOREST_BINS - 2]: the largest value of bins 1, 2, … */
};
void forest_bins_make(struct forest_bins *b, const struct sparse *x);
void forest_bins_done(struct forest_bins *b);

/* The bin of a row's value. */
uint32_t forest_bins_of(const struct forest_bins *b, int32_t row, int32_t feature);
/* The threshold between bin and the one above it. */
float forest_bins_edge(const struct forest_bins *b, int32_t feature, int32_t bin);

#endif
