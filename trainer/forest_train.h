/* Growing a random forest (Breiman, Machine Learning 45, 2001) on sparse rows.
 *
 * A tree sees a bootstrap sample of the titles. At every question max_features of all features are drawn, at least one of
 * them that occurs in its titles, and the question that lowers the Gini impurity most is asked: x <= threshold. Values are put
 * into FOREST_BINS bins first (absent, and quantiles of each feature's values), so thresholds are the bins' edges.
 * A tree ends where titles are of one class, fewer than 2 * min_leaf, max_depth questions deep, or where nothing drawn
 * lowers the impurity.
 *
 * Tree t is a function of the data, the options and (seed, t): the number of threads changes no bit. */
#ifndef TRAINER_FOREST_TRAIN_H
#define TRAINER_FOREST_TRAIN_H

#include "base/pool.h"
#include "models/forest.h"
#include "trainer/liblinear.h"

enum { FOREST_BINS = 4 };

struct forest_options {
    int32_t trees, max_depth /* 0: any */, min_leaf, max_features /* 0: the root of all */;
    uint64_t seed;
    bool bootstrap; /* false: every tree sees all titles */
    /* Told when another tree is done, by one thread at a time; NULL allowed. */
    void (*done)(void *arg, int32_t trees);
    void *arg;
};

/* *out_of_bag: share of the titles (of those that some tree did not see) whose label the trees that did not
 * see them find; NAN without such titles. */
void forest_train(const struct sparse *x, const int32_t *labels, int32_t n_labels,
                  const struct forest_options *opt, struct pool *pool, struct forest *out,
                  double *out_of_bag);

#endif
