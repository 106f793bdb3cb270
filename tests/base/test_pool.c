#include "tests/base/scratch.h"

#include <stdatomic.h>

#include "base/cpu.h"
#include "base/pool.h"

enum { MOST = 2000 };

struct job {
    atomic_int runs[MOST];
    int value[MOST]; /* plain on purpose: a piece's result must be visible after pool_run */
    int threads;
    atomic_int bad_thread;
};

static void piece(void *arg, int i, int thread)
{
    struct job *j = arg;
    atomic_fetch_add(&j->runs[i], 1);
    j->value[i] = i * 3;
    if (thread < 0 || thread >= j->threads)
        atomic_fetch_add(&j->bad_thread, 1);
}

static void run_and_check(struct pool *pool, struct job *j, int n)
{
    memset(j, 0, sizeof *j);
    j->threads = pool_threads(pool);
    pool_run(pool, n, piece, j);
    for (int i = 0; i < MOST; i++) {
        assert_int_equal(atomic_load(&j->runs[i]), i < n);
        assert_int_equal(j->value[i], i < n ? i * 3 : 0);
    }
    assert_int_equal(atomic_load(&j->bad_thread), 0);
}

static void every_piece_once_on_any_number_of_threads(void **state)
{
    (void)state;
    struct job *j = xmalloc(sizeof *j);
    static const int threads[] = {1, 2, 3, 8, 17}, pieces[] = {0, 1, 2, 7, 31, 768, MOST};
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        struct pool *pool = pool_open(threads[t]);
        assert_int_equal(pool_threads(pool), threads[t]);
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++)
            run_and_check(pool, j, pieces[p]);
        pool_close(pool);
    }
    free(j);
}

static void many_short_loops(void **state)
{
    (void)state;
    struct job *j = xmalloc(sizeof *j);
    memset(j, 0, sizeof *j);
    struct pool *pool = pool_open(4);
    j->threads = 4;
    for (int round = 1; round <= 3000; round++) {
        pool_run(pool, 5, piece, j);
        for (int i = 0; i < 5; i++)
            assert_int_equal(atomic_load(&j->runs[i]), round);
    }
    pool_close(pool);
    free(j);
}

static void in_order(void *arg, int i, int thread)
{
    int *next = arg;
    assert_int_equal(thread, 0);
    assert_int_equal(i, (*next)++);
}

static void without_a_pool_in_order(void **state)
{
    (void)state;
    int next = 0;
    assert_int_equal(pool_threads(NULL), 1);
    pool_run(NULL, 100, in_order, &next);
    assert_int_equal(next, 100);
    struct pool *one = pool_open(1);
    next = 0;
    pool_run(one, 100, in_order, &next);
    assert_int_equal(next, 100);
    pool_close(one);
    pool_close(NULL);
}

static void follows_the_processor_count(void **state)
{
    (void)state;
    struct pool *pool = pool_open(0);
    assert_int_equal(pool_threads(pool), cpu_count());
    pool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_piece_once_on_any_number_of_threads),
        cmocka_unit_test(many_short_loops),
        cmocka_unit_test(without_a_pool_in_order),
        cmocka_unit_test(follows_the_processor_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
