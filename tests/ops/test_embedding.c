#include "ops/embedding.h"

#include "tests/ops/numbers.h"

static void test_forward(void **state)
{
    (void)state;
    float *e = numbers(5 * 7, 1, 1), x[4 * 7];
    const int32_t id[] = {4, 0, 4, 2};
    embedding_forward(x, e, id, 4, 7);
    for (int i = 0; i < 4; i++)
        assert_memory_equal(x + i * 7, e + id[i] * 7, 7 * sizeof *x);
    embedding_forward(NULL, e, id, 0, 7);
    free(e);
}

static void test_backward(void **state)
{
    (void)state;
    float de[3 * 2] = {1, 2, 3, 4, 5, 6};
    const float dx[] = {10, 20, 30, 40, 50, 60};
    const int32_t id[] = {2, 0, 2};
    embedding_backward(de, dx, id, 3, 2, -1);
    const float added[] = {31, 42, 3, 4, 65, 86};
    assert_memory_equal(de, added, sizeof de);
    embedding_backward(de, dx, id, 3, 2, 2); /* row 2 is padding */
    const float skipped[] = {61, 82, 3, 4, 65, 86};
    assert_memory_equal(de, skipped, sizeof de);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forward),
                                       cmocka_unit_test(test_backward)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
