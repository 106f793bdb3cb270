#include "base/cpu.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <xmmintrin.h>

/* Asked of the processor itself: clang 14's __builtin_cpu_supports does not know the name. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

int cpu_quota(const char *cpu_max)
{
    long quota = 0, period = 0;
    if (sscanf(cpu_max, "%ld %ld", &quota, &period) != 2 || quota <= 0 || period <= 0)
        return 0;
    long whole = quota / period + (quota % period != 0);
    return whole > INT_MAX ? INT_MAX : (int)whole;
}

/* Reads the quota of one cgroup directory; 0 when there is none. */
static int quota_at(const char *dir)
{
    static const char *const v2 = "cpu.max";
    char *path = file_path("%s/%s", dir, v2), *text = NULL;
    int n = 0;
    if (file_read(path, 4096, &text, NULL, NULL) == 0)
        n = cpu_quota(text);
    free(text);
    free(path);
    return n;
}

/* cgroup v2: the limit of every ancestor counts, so walk from our own group up to the root of the
 * mount. */
static int cgroup_v2_quota(void)
{
    char *text = NULL;
    int best = 0;
    if (file_read("/proc/self/cgroup", 65536, &text, NULL, NULL) != 0)
        return 0;
    char *own = strstr(text, "0::/");
    if (own) {
        own += 3;
        own[strcspn(own, "\n")] = '\0';
        for (;;) {
            char *dir = file_path("/sys/fs/cgroup%s", own);
            int n = quota_at(dir);
            free(dir);
            if (n && (!best || n < best))
                best = n;
            char *slash = strrchr(own, '/');
            if (!slash || !own[0])
                break;
            *slash = '\0';
        }
    }
    free(text);
    return best;
}

static int cgroup_v1_quota(void)
{
    char *quota = NULL, *period = NULL;
    int n = 0;
    if (file_read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", 64, &quota, NULL, NULL) == 0 &&
        file_read("/sys/fs/cgroup/cpu/cpu.cfs_period_us", 64, &period, NULL, NULL) == 0) {
        char line[160];
        (void)snprintf(line, sizeof line, "%.64s %.64s", quota, period);
        n = cpu_quota(line);
    }
    free(quota);
    free(period);
    return n;
}

int cpu_count(void)
{
    cpu_set_t set;
    int n = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    int quota = cgroup_v2_quota();
    if (!quota)
        quota = cgroup_v1_quota();
    if (quota && quota < n)
        n = quota;
    return n < 1 ? 1 : n;
}

enum cpu_isa cpu_isa(void)
{
    enum cpu_isa best = CPU_BASE;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        best = CPU_AVX2;
    if (best == CPU_AVX2 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        best = CPU_AVX512;
#endif
    const char *want = getenv("RUBRIC_ISA");
    for (int i = CPU_BASE; want && i <= CPU_AVX512; i++)
        if (strcmp(want, cpu_isa_name((enum cpu_isa)i)) == 0 && (enum cpu_isa)i < best)
            best = (enum cpu_isa)i;
    return best;
}

static bool isa_is_forced(void)
{
    const char *want = getenv("RUBRIC_ISA");
    for (int i = CPU_BASE; want && i <= CPU_AVX512; i++)
        if (strcmp(want, cpu_isa_name((enum cpu_isa)i)) == 0)
            return true;
    return false;
}

/* Leaf 7: VNNI is ECX bit 11 of subleaf 0, BF16 is EAX bit 5 of subleaf 1 (Intel's manual, volume
 * 2, CPUID). */
static bool has_leaf7(unsigned subleaf, bool in_ecx, unsigned bit)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    return cpu_isa() == CPU_AVX512 && !isa_is_forced() &&
           __get_cpuid_count(7, subleaf, &a, &b, &c, &d) && ((in_ecx ? c : a) >> bit & 1u);
#else
    (void)subleaf;
    (void)in_ecx;
    (void)bit;
    return false;
#endif
}

bool cpu_has_vnni(void)
{
    return has_leaf7(0, true, 11);
}

bool cpu_has_bf16(void)
{
    return has_leaf7(1, false, 5);
}

const char *cpu_isa_name(enum cpu_isa isa)
{
    static const char *const names[] = {"base", "avx2", "avx512"};
    return names[isa];
}

unsigned cpu_flush_denormals(void)
{
#if defined(__x86_64__)
    const unsigned to_zero = 0x8040; /* MXCSR's FTZ and DAZ */
    unsigned flags = _mm_getcsr();
    _mm_setcsr(flags | to_zero);
    return flags;
#else
    return 0;
#endif
}

void cpu_restore_denormals(unsigned flags)
{
#if defined(__x86_64__)
    _mm_setcsr(flags);
#else
    (void)flags;
#endif
}
