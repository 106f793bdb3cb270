/* Helpers of the op tests: reproducible numbers, comparison with a reason, every instruction set.
 */
#ifndef TESTS_OPS_NUMBERS_H
#define TESTS_OPS_NUMBERS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/rng.h"
#include "ops/rows.h"

/* n normal numbers of the given size, malloc'd to exactly n so that a sanitizer sees one read too
 * many. */
static inline float *numbers(size_t n, uint64_t stream, double size)
{
    float *x = xmalloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(size * rng_normal(42, stream, i));
    return x;
}

static inline void assert_near(double got, double expected, double tolerance)
{
    if (!(fabs(got - expected) <= tolerance))
        fail_msg("got %.9g, expected %.9g, off by %.3g, allowed %.3g", got, expected,
                 fabs(got - expected), tolerance);
}

/* Calls fn for every table this processor has. */
static inline void each_isa(void (*fn)(const struct rows *r))
{
    int seen = 0;
    for (int i = CPU_BASE; i <= CPU_AVX512; i++) {
        const struct rows *r = rows_of((enum cpu_isa)i);
        if (r) {
            fn(r);
            seen++;
        }
    }
    assert_true(seen > 0);
}

#endif
