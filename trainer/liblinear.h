/* One-vs-rest support vector machines, L2-regularised with squared hinge loss, by LIBLINEAR (Fan et
 * al., JMLR 9, 2008): for each class c, with y = +1 for its rows and -1 for the others, min over
 * (w, b):  1/2 (w.w + b^2) + C sum_i max(0, 1 - y_i (w.x_i + b))^2 The only file that sees
 * LIBLINEAR. */
#ifndef TRAINER_LIBLINEAR_H
#define TRAINER_LIBLINEAR_H

#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"

struct sparse {
    int64_t rows, columns;
    const int64_t
        *start; /* [rows + 1]; row i has the entries start[i] .. start[i] + count[i] - 1 */
    const int32_t *count; /* [rows] */
    const int32_t *index; /* ascending in a row, from 0 */
    const float *value;
};

struct liblinear_options {
    double c, eps; /* eps: LIBLINEAR's stopping tolerance */
    /* Told when a class is done, in any order, never by two threads at a time; NULL allowed. */
    void (*done)(void *arg, int32_t label);
    void *arg;
};

/* weight[n_labels][columns] and bias[n_labels] are filled. Classes are trained by the pool's
 * threads; the result does not depend on their number. A label that no row has is an error. */
int liblinear_fit(const struct sparse *x, const int32_t *labels, int32_t n_labels,
                  const struct liblinear_options *opt, struct pool *pool, float *weight,
                  float *bias, struct err *err);

#endif
