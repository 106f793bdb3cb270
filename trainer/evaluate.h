/* Runs a model over a dataset. */
#ifndef TRAINER_EVALUATE_H
#define TRAINER_EVALUATE_H

#include "base/pool.h"
#include "data/dataset.h"
#include "models/model.h"
#include "trainer/progress.h"
#include "trainer/report.h"

/* Adds every title of d to *r in order (initialised with the model's number of labels). The sums do
 * not depend on the number of threads. */
void evaluate_model(const struct model *m, const struct dataset *d, struct pool *pool,
                    struct report *r);

/* [n][labels] of all titles, malloc'd.  bar (NULL allowed) is told how many are done. */
float *evaluate_probabilities(const struct model *m, const struct dataset *d, struct pool *pool,
                              struct progress *bar);

/* The same as evaluate_model() for a dataset with other labels: map[label] is the model's index of it, or -1 when the
 * model knows no such label. Titles of the latter are not added; returns how many there are. */
size_t evaluate_known(const struct model *m, const struct dataset *d, const int32_t *map,
                      struct pool *pool, struct report *r);

#endif
