/* Known answers: Random123's kat_vectors, philox4x32-10. */
#include "tests/base/scratch.h"

#include <math.h>

#include "base/rng.h"

static void known_answers(void **state)
{
    (void)state;
    static const struct {
        uint64_t counter, stream, seed;
        uint32_t out[4];
    } kat[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x85a308d3243f6a88,
         0x0370734413198a2e,
         0x299f31d0a4093822,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof kat / sizeof *kat; i++) {
        uint32_t out[4];
        rng_block(kat[i].seed, kat[i].stream, kat[i].counter, out);
        assert_memory_equal(out, kat[i].out, sizeof out);
        assert_true(rng_u64(kat[i].seed, kat[i].stream, kat[i].counter) ==
                    ((uint64_t)out[1] << 32 | out[0]));
    }
}

static void uniform_and_normal_have_their_moments(void **state)
{
    (void)state;
    enum { N = 200000 };
    double u1 = 0, u2 = 0, n1 = 0, n2 = 0, n4 = 0;
    for (uint64_t i = 0; i < N; i++) {
        double u = rng_uniform(7, 1, i), x = rng_normal(7, 2, i);
        assert_true(u >= 0 && u < 1 && isfinite(x));
        u1 += u;
        u2 += u * u;
        n1 += x;
        n2 += x * x;
        n4 += x * x * x * x;
    }
    assert_true(fabs(u1 / N - 0.5) < 0.003);
    assert_true(fabs(u2 / N - 1.0 / 3) < 0.003);
    assert_true(fabs(n1 / N) < 0.01);
    assert_true(fabs(n2 / N - 1) < 0.02);
    assert_true(fabs(n4 / N - 3) < 0.1);
}

static void shuffles(void **state)
{
    (void)state;
    uint32_t a[1000], b[1000], c[1000], seen[1000] = {0};
    for (uint32_t i = 0; i < 1000; i++)
        a[i] = b[i] = c[i] = i;
    rng_shuffle(a, 1000, 5, 1);
    rng_shuffle(b, 1000, 5, 1);
    rng_shuffle(c, 1000, 5, 2);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
    int fixed = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(a[i] < 1000);
        assert_int_equal(seen[a[i]]++, 0);
        fixed += a[i] == i;
    }
    assert_true(fixed < 10); /* one is expected */
    rng_shuffle(a, 0, 5, 1);
    uint32_t one = 9;
    rng_shuffle(&one, 1, 5, 1);
    assert_int_equal(one, 9);
}

static void shuffles_are_even(void **state)
{
    (void)state;
    int count[6] = {0};
    for (uint64_t s = 0; s < 6000; s++) {
        uint32_t p[3] = {0, 1, 2};
        rng_shuffle(p, 3, s, 0);
        count[p[0] * 2 + (p[1] > p[2])]++;
    }
    for (int i = 0; i < 6; i++)
        assert_in_range(count[i], 870, 1130); /* 1000 ± 4.5 sigma */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(uniform_and_normal_have_their_moments),
        cmocka_unit_test(shuffles),
        cmocka_unit_test(shuffles_are_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
