/* fastText's supervised training (Joulin et al., arXiv:1607.01759): plain SGD, the rate falling to 0 over all
 * epochs, on a mean of rows; softmax, hierarchical softmax or one-vs-all.
 *
 * Unlike the program, whose threads write over one another, titles are taken in batches: the means of a batch's
 * rows are computed in parallel, its titles go through the output matrix one after the other, and rows get their
 * gradients in parallel, each from its own thread.  So the result depends on the seed alone, not on the
 * number of threads; a title's mean may miss what those before it in its batch have changed. */
#ifndef TRAINER_FASTTEXT_TRAIN_H
#define TRAINER_FASTTEXT_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/pool.h"
#include "data/batch.h"
#include "data/fasttext_dict.h"

/* Titles as rows of the input matrix. */
struct fasttext_lines {
    int32_t *rows, *start; /* start [n + 1] */
    int32_t *label;        /* among the dictionary's; -1: none, a teacher's word alone */
    int32_t *title;        /* in the data, which may have others that nothing is known of */
    int32_t *tokens;       /* as fastText counts them for its rate: words, "</s>" and the label */
    int32_t n;
};
void fasttext_lines_done(struct fasttext_lines *l);

struct fasttext_weights {
    float *input, *output; /* [rows, dim], [labels, dim] */
};
void fasttext_weights_done(struct fasttext_weights *w);

/* Asked now and then; true ends the training. */
struct fasttext_progress {
    double done;       /* 0 to 1 */
    double seconds;    /* so far */
    double words;      /* tokens seen so far, of all epochs */
    double rate, loss; /* loss: the mean so far */
};
typedef bool fasttext_watch(void *arg, const struct fasttext_progress *p);

/* teaching (NULL: labels alone): its taught is [titles of the data][the dictionary's labels]; softmax only.
 * Returns false when it was ended; *w is the caller's either way. */
bool fasttext_train(const struct fasttext_dict *d, const struct fasttext_lines *l,
                    const struct teaching *teaching, double lr, int32_t epochs, uint64_t seed,
                    struct pool *pool, fasttext_watch *watch, void *arg,
                    struct fasttext_weights *w);

#endif
