#include "ops/tfidf.h"

#include "tests/ops/numbers.h"

static int64_t key(int a, int b, int c)
{
    return (int64_t)a << 42 | (int64_t)b << 21 | c;
}

static void test_keys(void **state)
{
    (void)state;
    const int32_t ids[] = {4, 9, TFIDF_MAX_ID, 1, 7, 4};
    const int64_t expected[] = {5,
                                10,
                                key(0, 5, 10),
                                TFIDF_MAX_ID + 1,
                                key(0, 10, TFIDF_MAX_ID + 1),
                                key(5, 10, TFIDF_MAX_ID + 1),
                                8,
                                5,
                                key(0, 8, 5)};
    int64_t got[18];
    assert_int_equal(tfidf_keys(ids, 6, 1, got), 9);
    assert_memory_equal(got, expected, sizeof expected);
    assert_int_equal(tfidf_keys(ids, 0, 1, got), 0);
    const int32_t unknown[] = {1, 1};
    assert_int_equal(tfidf_keys(unknown, 2, 1, got), 0);
    const int32_t four[] = {3, 4, 5, 6};
    assert_int_equal(tfidf_keys(four, 4, 1, got), 9);
    assert_true(got[8] == key(5, 6, 7)); /* the first of four characters has left */
}

static void test_valid(void **state)
{
    (void)state;
    assert_true(tfidf_key_valid(key(5, 6, 7), 10, 1));
    assert_true(tfidf_key_valid(1, 10, 1)); /* id 0 alone */
    assert_true(tfidf_key_valid(key(0, 0, 10), 10, 1));
    assert_false(tfidf_key_valid(key(0, 0, 11), 10, 1)); /* id 10 of 10 */
    assert_false(tfidf_key_valid(key(5, 2, 7), 10, 1));  /* id 1 is the unknown one */
    assert_false(tfidf_key_valid(key(5, 0, 7), 10, 1));
    assert_false(tfidf_key_valid(key(0, 5, 0), 10, 1));
    assert_false(tfidf_key_valid(0, 10, 1));
    assert_false(tfidf_key_valid(-1, 10, 1));
}

static void test_weigh(void **state)
{
    (void)state;
    assert_near(tfidf_idf(9, 4), log(2) + 1, 1e-12);
    const int32_t tf[] = {1, 3};
    const float idf[] = {2, 1.5f};
    float value[2];
    double b = (1 + log(3)) * 1.5, norm = sqrt(4 + b * b);
    tfidf_weigh(value, tf, idf, 2);
    assert_near(value[0], 2 / norm, 1e-6);
    assert_near(value[1], b / norm, 1e-6);
    tfidf_weigh(value, tf, idf, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_keys), cmocka_unit_test(test_valid),
                                       cmocka_unit_test(test_weigh)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
