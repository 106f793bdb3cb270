/* What models say of the same titles: one before it was made smaller and after, side by side. */
#ifndef TRAINER_COMPARISON_H
#define TRAINER_COMPARISON_H

#include "base/pool.h"
#include "data/dataset.h"
#include "models/model.h"
#include "trainer/report.h"

/* What one model says of titles. */
struct said {
    struct report r;
    float *p; /* [n][labels] */
    double seconds;
    int64_t bytes; /* in memory */
    enum precision precision;
};
int said_by(const char *model, enum precision precision, const struct dataset *d, struct pool *pool,
            struct said *out, struct err *err);
void said_done(struct said *s); /* safe on a zeroed one */

/* Over the first n titles: the mean Kullback-Leibler divergence of b from a, and how often their answers are one. */
double said_divergence(const struct said *a, const struct said *b, size_t n);
double said_agreement(const struct said *a, const struct said *b, size_t n);

/* Labelled titles of a file, whose classes must be the model's labels. */
int comparison_read(const char *model, const char *path, struct dataset *d, struct err *err);
/* Prints size, accuracy, loss, answers, rate and F1 of each class: before in fp32 and as it would run, and after. */
int comparison_print(const char *before, const char *after, const char *path,
                     const struct dataset *d, struct pool *pool, struct err *err);
/* MB of a model's weights as they lie in its directory, or of a bare file. */
double comparison_mb(const char *model);

#endif
