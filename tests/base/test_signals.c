/* base/signals.h: what is held comes later, and threads started meanwhile take none. */
#include "base/signals.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/base/scratch.h"

static atomic_int taken;

static void on_signal(int number)
{
    (void)number;
    atomic_fetch_add(&taken, 1);
}

static void *mask_of(void *set)
{
    (void)pthread_sigmask(SIG_SETMASK, NULL, set);
    return NULL;
}

static void holds_and_releases(void **state)
{
    (void)state;
    sigset_t before, inside, own;
    pthread_t thread;
    (void)signal(SIGUSR1, on_signal);
    (void)signal(SIGTERM, on_signal);
    signals_hold(&before);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(raise(SIGTERM), 0);
    assert_int_equal(atomic_load(&taken), 0);
    assert_int_equal(pthread_create(&thread, NULL, mask_of, &inside), 0);
    signals_release(&before);
    assert_int_equal(atomic_load(&taken), 2);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(sigismember(&inside, SIGTERM), 1);
    assert_int_equal(sigismember(&inside, SIGUSR1), 1);
    (void)mask_of(&own);
    assert_int_equal(sigismember(&own, SIGTERM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(holds_and_releases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
