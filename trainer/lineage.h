/* lineage.json: where a model comes from, kept in its directory and so in its version. It holds what
 * the result depends on and no clock, host or path, so that the same data and options give the same
 * version again:
 *
 *   {"format": 1, "trainer": "rubric-trainer 0.1.0", "arch": "linear",
 *    "data": {"sha256": …, "train": 180000, "dev": 10000}, "dev_accuracy": 0.9213,
 *    "options": {"seed": "1", …}} */
#ifndef TRAINER_LINEAGE_H
#define TRAINER_LINEAGE_H

#include "trainer/fit.h"

#define LINEAGE_FILE "lineage.json"

/* Replaces dir/lineage.json by what f->o and f->corpus say. */
int lineage_write(const char *dir, const struct fit *f, double dev_accuracy, struct err *err);

/* The dev accuracy of a model when it was made; -1 when dir has no lineage.json (made by hand) or
 * that does not say. Refused with the path: no JSON object, another format, no number of 0 .. 1. */
int lineage_read(const char *dir, double *dev_accuracy, struct err *err);

#endif
