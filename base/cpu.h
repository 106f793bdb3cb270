/* What the process may use: processors (affinity and the cgroup's CPU quota) and vector
 * instructions. */
#ifndef BASE_CPU_H
#define BASE_CPU_H

#include <stdbool.h>

/* min(processors in the affinity mask, ceil(cgroup v2 cpu.max or v1 cfs quota)), at least 1. */
int cpu_count(void);
/* The quota in `cpu.max` text ("200000 100000" -> 2, "max 100000" -> 0 = none), rounded up. For
 * cpu_count and its test. */
int cpu_quota(const char *cpu_max);

enum cpu_isa { CPU_BASE, CPU_AVX2, CPU_AVX512 };
/* The best set this processor has; the environment variable RUBRIC_ISA=base|avx2|avx512 lowers
 * (never raises) it. AVX2 implies FMA and F16C. */
enum cpu_isa cpu_isa(void);
const char *cpu_isa_name(enum cpu_isa isa);
/* AVX-512's later instructions for products of bytes and of bfloat16; false whenever RUBRIC_ISA
 * names a set, so that RUBRIC_ISA=avx512 is AVX-512 without them. */
bool cpu_has_vnni(void);
bool cpu_has_bf16(void);

/* The calling thread's arithmetic takes subnormal numbers for zero from here on (they cost a
 * hundred times as much as others); returns what cpu_restore_denormals() wants. */
unsigned cpu_flush_denormals(void);
void cpu_restore_denormals(unsigned flags);

#endif
