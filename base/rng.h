/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as
 * 1, 2, 3", SC 2011). The value depends on (seed, stream, counter) alone, so a result is the same
 * on any number of threads and a resumed run continues by its counter. Pure functions. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

void rng_block(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]);
uint64_t rng_u64(uint64_t seed, uint64_t stream, uint64_t counter);
double rng_uniform(uint64_t seed, uint64_t stream, uint64_t counter); /* [0, 1) with 53 bits */
double rng_normal(uint64_t seed, uint64_t stream,
                  uint64_t counter); /* mean 0, variance 1 (Box–Muller) */
/* Fisher–Yates over idx[0..n), from (seed, stream). */
void rng_shuffle(uint32_t *idx, size_t n, uint64_t seed, uint64_t stream);

#endif
