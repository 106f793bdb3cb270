#include "worker/pipeline.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/signals.h"
#include "worker/kafka.h"
#include "worker/metrics.h"

struct pipeline {
    const struct config *cfg;
    struct served *served; /* guarded by lock */
    pthread_mutex_t lock;
    pthread_cond_t ready_cond, changed_cond;
    struct work *works;
    int n_works, n_threads;
    struct work *free;
    struct work **ready; /* ring of works waiting for an inference thread */
    int ready_head, ready_len;
    struct work **order; /* ring of works in flight, oldest first */
    int order_head, order_len;
    int in_flight;
    unsigned long nudges;
    uint64_t seq, dropped;
    bool stop;
    pthread_t *threads;
};

static void *inference_main(void *arg)
{
    struct pipeline *p = arg;
    struct classifier *c = classifier_open(p->cfg);
    (void)pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->stop && p->ready_len == 0) {
            if (!classifier_holds_other(c, p->served)) {
                (void)pthread_cond_wait(&p->ready_cond, &p->lock);
                continue;
            }
            (void)pthread_mutex_unlock(&p->lock); /* an idle thread keeps no old model alive */
            classifier_forget(c);
            (void)pthread_mutex_lock(&p->lock);
        }
        if (p->stop)
            break;
        struct work *w = p->ready[p->ready_head];
        p->ready_head = (p->ready_head + 1) % p->n_works;
        p->ready_len--;
        bool wanted = w->epoch > p->dropped;
        (void)pthread_mutex_unlock(&p->lock);
        if (wanted)
            classifier_run(c, w);
        (void)pthread_mutex_lock(&p->lock);
        w->done = true;
        (void)pthread_cond_broadcast(&p->changed_cond);
    }
    (void)pthread_mutex_unlock(&p->lock);
    classifier_close(c);
    return NULL;
}

struct pipeline *pipeline_open(struct served *served, const struct config *cfg)
{
    struct pipeline *p = xcalloc(1, sizeof *p);
    pthread_condattr_t attr;
    p->served = served;
    p->cfg = cfg;
    /* One being filled, one per thread, and as many again waiting on either side of the threads. */
    p->n_works = 3 * cfg->threads + 4;
    p->works = xcalloc((size_t)p->n_works, sizeof *p->works);
    p->ready = xcalloc((size_t)p->n_works, sizeof(struct work *));
    p->order = xcalloc((size_t)p->n_works, sizeof(struct work *));
    for (int i = 0; i < p->n_works; i++) {
        work_init(&p->works[i]);
        p->works[i].next = p->free;
        p->free = &p->works[i];
    }
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&p->ready_cond, &attr);
    (void)pthread_cond_init(&p->changed_cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    p->threads = xcalloc((size_t)cfg->threads, sizeof *p->threads);
    /* A signal that interrupts a thread inside oneDNN's products overwrites what lies below its
     * stack pointer: inference threads take none. */
    sigset_t before;
    signals_hold(&before);
    for (int i = 0; i < cfg->threads; i++)
        if (pthread_create(&p->threads[p->n_threads], NULL, inference_main, p) == 0)
            p->n_threads++;
    signals_release(&before);
    if (p->n_threads == 0) {
        pipeline_close(p);
        return NULL;
    }
    return p;
}

void pipeline_close(struct pipeline *p)
{
    if (!p)
        return;
    (void)pthread_mutex_lock(&p->lock);
    p->stop = true;
    (void)pthread_cond_broadcast(&p->ready_cond);
    (void)pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_threads; i++)
        (void)pthread_join(p->threads[i], NULL);
    for (int i = 0; i < p->n_works; i++)
        work_done(&p->works[i]);
    (void)pthread_cond_destroy(&p->changed_cond);
    (void)pthread_cond_destroy(&p->ready_cond);
    (void)pthread_mutex_destroy(&p->lock);
    served_release(p->served);
    free(p->threads);
    free(p->order);
    free(p->ready);
    free(p->works);
    free(p);
}

struct work *pipeline_get(struct pipeline *p)
{
    (void)pthread_mutex_lock(&p->lock);
    struct work *w = p->free;
    if (w)
        p->free = w->next;
    (void)pthread_mutex_unlock(&p->lock);
    if (w)
        work_reset(w);
    return w;
}

void pipeline_put(struct pipeline *p, struct work *w)
{
    for (size_t i = 0; i < w->n_records; i++)
        kafka_record_free(&w->records[i]);
    served_release(w->served);
    w->served = NULL;
    (void)pthread_mutex_lock(&p->lock);
    if (w->closed != CLOSE_NOT)
        p->in_flight--;
    w->next = p->free;
    p->free = w;
    metric_set(M_BATCHES_IN_FLIGHT, p->in_flight);
    (void)pthread_cond_broadcast(&p->changed_cond);
    (void)pthread_mutex_unlock(&p->lock);
}

void pipeline_serve(struct pipeline *p, struct served *served)
{
    (void)pthread_mutex_lock(&p->lock);
    struct served *before = p->served;
    p->served = served;
    (void)pthread_cond_broadcast(&p->ready_cond);
    (void)pthread_mutex_unlock(&p->lock);
    served_release(before);
}

struct served *pipeline_served(struct pipeline *p)
{
    (void)pthread_mutex_lock(&p->lock);
    struct served *s = served_hold(p->served);
    (void)pthread_mutex_unlock(&p->lock);
    return s;
}

void pipeline_submit(struct pipeline *p, struct work *w, enum close_reason why)
{
    metric_add_at(M_BATCHES, (int)why, 1);
    metric_observe(M_BATCH_TITLES, w->fill.titles, 1);
    metric_observe(M_STAGE_DECODE_SECONDS, (double)w->decode_ns * 1e-9, 1);
    (void)pthread_mutex_lock(&p->lock);
    w->closed = why;
    w->served = served_hold(p->served);
    w->seq = p->seq++;
    p->ready[(p->ready_head + p->ready_len++) % p->n_works] = w;
    p->order[(p->order_head + p->order_len++) % p->n_works] = w;
    p->in_flight++;
    metric_set(M_BATCHES_IN_FLIGHT, p->in_flight);
    (void)pthread_cond_signal(&p->ready_cond);
    (void)pthread_mutex_unlock(&p->lock);
}

static struct timespec to_timespec(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

struct work *pipeline_take(struct pipeline *p, int64_t until_ns)
{
    struct timespec until = to_timespec(until_ns);
    struct work *w = NULL;
    (void)pthread_mutex_lock(&p->lock);
    unsigned long nudges = p->nudges;
    for (int rc = 0;;) {
        if (p->order_len && p->order[p->order_head]->done) {
            w = p->order[p->order_head];
            p->order_head = (p->order_head + 1) % p->n_works;
            p->order_len--;
            break;
        }
        if (rc != 0 || p->nudges != nudges)
            break;
        rc = pthread_cond_timedwait(&p->changed_cond, &p->lock, &until);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return w;
}

void pipeline_nudge(struct pipeline *p)
{
    (void)pthread_mutex_lock(&p->lock);
    p->nudges++;
    (void)pthread_cond_broadcast(&p->changed_cond);
    (void)pthread_mutex_unlock(&p->lock);
}

int pipeline_in_flight(struct pipeline *p)
{
    (void)pthread_mutex_lock(&p->lock);
    int n = p->in_flight;
    (void)pthread_mutex_unlock(&p->lock);
    return n;
}

void pipeline_drop(struct pipeline *p, uint64_t epoch)
{
    (void)pthread_mutex_lock(&p->lock);
    if (epoch > p->dropped)
        p->dropped = epoch;
    (void)pthread_mutex_unlock(&p->lock);
}

bool pipeline_wait_idle(struct pipeline *p, bool (*busy)(void *), void *arg, int64_t until_ns)
{
    struct timespec until = to_timespec(until_ns);
    int rc = 0;
    (void)pthread_mutex_lock(&p->lock);
    while ((p->in_flight || busy(arg)) && rc == 0)
        rc = pthread_cond_timedwait(&p->changed_cond, &p->lock, &until);
    bool idle = !p->in_flight && !busy(arg);
    (void)pthread_mutex_unlock(&p->lock);
    return idle;
}
