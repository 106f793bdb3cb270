/* Teachers of a student: what models say of every training title, computed once and kept on disk
 * (Hinton et al., arXiv:1503.02531). */
#ifndef TRAINER_TEACHER_H
#define TRAINER_TEACHER_H

#include <stdint.h>
#include <stdio.h>

#include "base/pool.h"
#include "base/sha256.h"
#include "data/batch.h"
#include "data/dataset.h"

struct teacher {
    float *taught; /* [titles, labels] probabilities at the temperature */
    int32_t labels;
    float temperature, part;
    char digest[SHA256_HEX]; /* of all that it depends on */
};

/* models: directories with commas between, each perhaps with "=weight" behind it; together they say
 * softmax(sum of weight · ln p), weights normed to 1.  cache: directory of scores, made when missing; those of the same
 * models and titles are read from there.  Refused: other labels than classes. */
int teacher_open(struct teacher *t, const char *models, const struct dataset *titles,
                 const struct classes *classes, float temperature, float part, const char *cache,
                 int threads, FILE *console, struct err *err);
void teacher_close(struct teacher *t); /* safe on a zeroed one */

/* Rows of the titles pick[0..n) into taught, and *out about them. */
void teacher_pick(const struct teacher *t, const uint32_t *pick, int32_t n, float *taught,
                  struct teaching *out);

#endif
