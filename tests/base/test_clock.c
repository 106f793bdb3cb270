#include "tests/base/scratch.h"

#include <time.h>

#include "base/clock.h"

static void clocks_run(void **state)
{
    (void)state;
    int64_t start = clock_ns();
    struct timespec pause = {0, 2000000};
    assert_int_equal(nanosleep(&pause, NULL), 0);
    int64_t passed = clock_ns() - start;
    assert_true(passed >= 2000000 && passed < INT64_C(60000000000));
    int64_t wall = clock_wall_ms(), now = (int64_t)time(NULL) * 1000;
    assert_true(wall > now - 5000 && wall < now + 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(clocks_run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
