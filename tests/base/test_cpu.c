#include "tests/base/scratch.h"

#include <limits.h>
#include <sched.h>

#include "base/cpu.h"

static void quota(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int cpus;
    } table[] = {
        {"200000 100000", 2},
        {"200000 100000\n", 2},
        {"150000 100000\n", 2}, /* rounded up */
        {"1000 100000", 1},
        {"100001 100000", 2},
        {"max 100000", 0},
        {"-1\n 100000\n", 0}, /* version 1 writes "none" so */
        {"0 100000", 0},
        {"100000 0", 0},
        {"100000 -5", 0},
        {"100000", 0},
        {"", 0},
        {"9223372036854775807 1", INT_MAX},
        {"9223372036854775807 9223372036854775807", 1},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        assert_int_equal(cpu_quota(table[i].text), table[i].cpus);
}

static void count_follows_the_affinity_mask(void **state)
{
    (void)state;
    cpu_set_t old, one;
    assert_int_equal(sched_getaffinity(0, sizeof old, &old), 0);
    assert_in_range(cpu_count(), 1, CPU_COUNT(&old));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &old)) {
            CPU_SET(i, &one);
            break;
        }
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(cpu_count(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof old, &old), 0);
}

static void isa_can_only_be_lowered(void **state)
{
    (void)state;
    assert_int_equal(unsetenv("RUBRIC_ISA"), 0);
    enum cpu_isa best = cpu_isa();
    static const enum cpu_isa all[] = {CPU_BASE, CPU_AVX2, CPU_AVX512};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(setenv("RUBRIC_ISA", cpu_isa_name(all[i]), 1), 0);
        assert_int_equal(cpu_isa(), all[i] < best ? all[i] : best);
    }
    assert_int_equal(setenv("RUBRIC_ISA", "sse9", 1), 0);
    assert_int_equal(cpu_isa(), best);
    assert_int_equal(unsetenv("RUBRIC_ISA"), 0);
    assert_string_equal(cpu_isa_name(CPU_BASE), "base");
    assert_string_equal(cpu_isa_name(CPU_AVX2), "avx2");
    assert_string_equal(cpu_isa_name(CPU_AVX512), "avx512");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quota),
        cmocka_unit_test(count_follows_the_affinity_mask),
        cmocka_unit_test(isa_can_only_be_lowered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
