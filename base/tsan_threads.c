/* C11 threads under ThreadSanitizer, which knows only pthread_create: a thread that librdkafka starts
 * with thrd_create would crash in its first allocation.  Compiled into TSan builds alone, and linked
 * by CMakeLists.txt (-u thrd_create). */
#if defined(__SANITIZE_THREAD__)
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

struct start {
    thrd_start_t run;
    void *arg;
};

static void *run(void *arg)
{
    struct start s = *(struct start *)arg;
    free(arg);
    return (void *)(intptr_t)s.run(s.arg);
}

int thrd_create(thrd_t *thread, thrd_start_t f, void *arg)
{
    struct start *s = malloc(sizeof *s);
    if (!s)
        return thrd_nomem;
    *s = (struct start){f, arg};
    if (pthread_create(thread, NULL, run, s) == 0)
        return thrd_success;
    free(s);
    return thrd_error;
}

int thrd_join(thrd_t thread, int *result)
{
    void *value;
    if (pthread_join(thread, &value) != 0)
        return thrd_error;
    if (result)
        *result = (int)(intptr_t)value;
    return thrd_success;
}
#else
typedef int tsan_threads_unused;
#endif
