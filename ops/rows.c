#include "ops/rows.h"

#include <pthread.h>

extern const struct rows rows_base;
#if defined(__x86_64__)
extern const struct rows rows_avx2, rows_avx512;
#endif

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const struct rows *chosen;

const struct rows *rows_of(enum cpu_isa isa)
{
    if (isa > cpu_isa())
        return NULL;
#if defined(__x86_64__)
    if (isa == CPU_AVX512)
        return &rows_avx512;
    if (isa == CPU_AVX2)
        return &rows_avx2;
#endif
    return isa == CPU_BASE ? &rows_base : NULL;
}

static void choose(void)
{
    for (int i = CPU_AVX512; !chosen; i--)
        chosen = rows_of((enum cpu_isa)i);
}

const struct rows *rows(void)
{
    (void)pthread_once(&once, choose);
    return chosen;
}
