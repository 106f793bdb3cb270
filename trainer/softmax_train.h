/* A linear student: softmax regression on sparse rows towards a teacher's probabilities (ops/softmax.h), by SGD whose
 * rate falls to 0.  One thread, rows in an order from (seed, epoch): the seed decides every bit.  Without a
 * penalty on the weights: soft targets hold them. */
#ifndef TRAINER_SOFTMAX_TRAIN_H
#define TRAINER_SOFTMAX_TRAIN_H

#include "data/batch.h"
#include "trainer/liblinear.h"

struct softmax_options {
    int32_t epochs;
    float rate;
    uint64_t seed;
    void (*done)(void *arg, int32_t epochs); /* told after each; NULL allowed */
    void *arg;
};

/* labels [rows], -1 where there is none; teaching->taught [rows][n_labels].  weight[n_labels][columns] and
 * bias[n_labels] are filled. */
void softmax_train(const struct sparse *x, const int32_t *labels, const struct teaching *teaching,
                   int32_t n_labels, const struct softmax_options *opt, float *weight, float *bias);

#endif
