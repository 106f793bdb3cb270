/* What steps of every family share: the learning rate of a step, the order of an epoch, the moving
 * average of weights.  Functions of options and counts alone, so that neither threads nor an
 * interruption change a bit. */
#ifndef TRAINER_STEPPING_H
#define TRAINER_STEPPING_H

#include <stddef.h>
#include <stdint.h>

#include "base/options.h"
#include "base/pool.h"
#include "data/dataset.h"
#include "trainer/checkpoint.h"

/* --lr in iteration (from 0) of total: rising over warmup iterations, then as --schedule says. */
float stepping_rate(const struct options *o, int64_t iteration, int64_t warmup, int64_t total);
/* How many of the n titles have a label; those that only a teacher knows have -1. */
int32_t stepping_labelled(const struct dataset *d, const uint32_t *titles, int32_t n);
/* order[0..n) of an epoch's titles, from (seed, epoch). */
void stepping_order(uint32_t *order, size_t n, uint64_t seed, int64_t epoch);
/* c->ema after c->iteration steps, where there is one: a short memory at first, so that the start is
 * forgotten. */
void stepping_average(struct checkpoint *c, double decay, struct pool *pool);

#endif
