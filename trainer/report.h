/* The figures of a classifier on labelled data, from a confusion matrix and a sum of losses.
 * Integers and one double, added in the order of the data, so that the same predictions always give
 * the same digits.
 *
 * precision = tp / (tp + fp), recall = tp / (tp + fn), f1 = 2 tp / (2 tp + fp + fn); a quotient 0 /
 * 0 is 0, as in scikit-learn's classification_report (zero_division=0). Macro averages run over the
 * classes that occur as label or as prediction; weighted averages are weighted by support. Accuracy
 * is the trace over the total, loss the mean of -ln p(label). */
#ifndef TRAINER_REPORT_H
#define TRAINER_REPORT_H

#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "models/model.h"

#define REPORT_BINS 10

/* Titles by the probability of their prediction: bin i holds those in [i, i + 1) / REPORT_BINS, the
 * last one 1 as well. */
struct report_bin {
    int64_t n, right;
    double confidence; /* sum of the probabilities */
};

struct report {
    int32_t classes;
    int64_t *confusion; /* [classes][classes], row: label, column: prediction; owned */
    int64_t n;
    double loss_sum;
    struct report_bin bins[REPORT_BINS];
};

struct scores {
    double precision, recall, f1;
    int64_t support;
};

void report_init(struct report *r, int32_t classes);
void report_done(struct report *r);

/* One title: p[0..classes) are its probabilities. The prediction is the first of the greatest. */
void report_add(struct report *r, int32_t label, const float *p);

double report_loss(const struct report *r); /* 0 when empty, as all figures are */
double report_accuracy(const struct report *r);
/* Expected calibration error: the distance between a bin's mean probability and its accuracy,
 * averaged over the titles. */
double report_calibration(const struct report *r);
int64_t report_count(const struct report *r, int32_t label, int32_t predicted);
struct scores report_class(const struct report *r, int32_t c);
struct scores report_macro(const struct report *r);
struct scores report_weighted(const struct report *r);

/* The console form: loss, accuracy, the table of classes, averages, confusion matrix.
 * names[classes] are UTF-8. */
void report_print(const struct report *r, const char *const *names, FILE *out);
/* One JSON object with `model` (NULL: without) as {"name", "version"}, `titles`, `accuracy`, `loss`, `macro_f1`, `macro`, `weighted`, `classes`,
 * `confusion` and `calibration_error`. */
void report_json(const struct report *r, const struct model_info *model, const char *const *names,
                 struct buf *out);

#endif
