#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "base/err.h"

struct pool {
    int threads;
    pthread_t *ids; /* threads - 1 of them */
    pthread_mutex_t lock;
    pthread_cond_t start, finished;
    unsigned long round; /* counts loops; a thread runs each round once */
    int busy;            /* threads still inside the current round */
    bool stop;
    pool_fn *fn;
    void *arg;
    int n;
    atomic_int next;
};

struct member {
    struct pool *pool;
    int index;
};

static void work(struct pool *p, int thread)
{
    for (int i; (i = atomic_fetch_add(&p->next, 1)) < p->n;)
        p->fn(p->arg, i, thread);
}

static void *member_main(void *arg)
{
    struct member me = *(struct member *)arg;
    free(arg);
    struct pool *p = me.pool;
    unsigned long seen = 0;
    (void)pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && p->round == seen)
            (void)pthread_cond_wait(&p->start, &p->lock);
        if (p->stop)
            break;
        seen = p->round;
        (void)pthread_mutex_unlock(&p->lock);
        work(p, me.index);
        (void)pthread_mutex_lock(&p->lock);
        if (--p->busy == 0)
            (void)pthread_cond_signal(&p->finished);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct pool *pool_open(int threads)
{
    struct pool *p = xcalloc(1, sizeof *p);
    p->threads = threads < 1 ? cpu_count() : threads;
    p->ids = xcalloc((size_t)p->threads, sizeof *p->ids);
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->start, NULL);
    (void)pthread_cond_init(&p->finished, NULL);
    for (int i = 1; i < p->threads; i++) {
        struct member *m = xmalloc(sizeof *m);
        *m = (struct member){p, i};
        if (pthread_create(&p->ids[i], NULL, member_main, m) != 0) {
            free(m);
            p->threads = i; /* fewer threads, same results */
        }
    }
    return p;
}

void pool_close(struct pool *p)
{
    if (!p)
        return;
    (void)pthread_mutex_lock(&p->lock);
    p->stop = true;
    (void)pthread_cond_broadcast(&p->start);
    (void)pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < p->threads; i++)
        (void)pthread_join(p->ids[i], NULL);
    (void)pthread_cond_destroy(&p->finished);
    (void)pthread_cond_destroy(&p->start);
    (void)pthread_mutex_destroy(&p->lock);
    free(p->ids);
    free(p);
}

int pool_threads(const struct pool *p)
{
    return p ? p->threads : 1;
}

void pool_run(struct pool *p, int n, pool_fn *fn, void *arg)
{
    if (!p || p->threads == 1 || n <= 1) {
        for (int i = 0; i < n; i++)
            fn(arg, i, 0);
        return;
    }
    (void)pthread_mutex_lock(&p->lock);
    p->fn = fn;
    p->arg = arg;
    p->n = n;
    atomic_store(&p->next, 0);
    p->busy = p->threads - 1;
    p->round++;
    (void)pthread_cond_broadcast(&p->start);
    (void)pthread_mutex_unlock(&p->lock);
    work(p, 0);
    (void)pthread_mutex_lock(&p->lock);
    while (p->busy)
        (void)pthread_cond_wait(&p->finished, &p->lock);
    (void)pthread_mutex_unlock(&p->lock);
}
