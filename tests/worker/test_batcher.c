#include "worker/batcher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct batch_limits limits = {
    .titles = 4, .tokens = 100, .bytes = 1000, .age_ns = 5000};

static void empty_never_closes(void **state)
{
    (void)state;
    struct batch_fill fill = {0};
    assert_int_equal(batcher_close(&limits, &fill, INT64_MAX), CLOSE_NOT);
    assert_int_equal(batcher_wait(&limits, &fill, 123, 77), 77);
}

static void each_limit_closes(void **state)
{
    (void)state;
    struct batch_fill f = {.titles = 1, .tokens = 1, .bytes = 1, .records = 1, .since_ns = 1000};
    assert_int_equal(batcher_close(&limits, &f, 5999), CLOSE_NOT);
    assert_int_equal(batcher_close(&limits, &f, 6000), CLOSE_AGE);
    f.bytes = 1000;
    assert_int_equal(batcher_close(&limits, &f, 1000), CLOSE_BYTES);
    f.tokens = 100;
    assert_int_equal(batcher_close(&limits, &f, 1000), CLOSE_TOKENS);
    f.titles = 4;
    assert_int_equal(batcher_close(&limits, &f, 1000), CLOSE_TITLES);
}

static void records_without_headlines_age(void **state)
{
    (void)state;
    struct batch_fill f = {
        .records = 1, .since_ns = 0}; /* a tombstone: nothing to classify, still to be committed */
    assert_int_equal(batcher_close(&limits, &f, 5000), CLOSE_AGE);
}

static void wait_counts_down_to_zero(void **state)
{
    (void)state;
    struct batch_fill f = {.records = 1, .since_ns = 1000};
    assert_int_equal(batcher_wait(&limits, &f, 2000, 77), 4000);
    assert_int_equal(batcher_wait(&limits, &f, 9000, 77), 0);
}

static void names_are_distinct(void **state)
{
    (void)state;
    for (int i = 0; i < CLOSE_COUNT; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(close_reason_name((enum close_reason)i),
                                    close_reason_name((enum close_reason)j));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_never_closes),
        cmocka_unit_test(each_limit_closes),
        cmocka_unit_test(records_without_headlines_age),
        cmocka_unit_test(wait_counts_down_to_zero),
        cmocka_unit_test(names_are_distinct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
