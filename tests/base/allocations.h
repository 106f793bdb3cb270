/* Counts what a test program and its libraries allocate.  A sanitizer has an allocator of its own: the
 * count is left out there (COUNTED 0).  For one source file of a program. */
#ifndef TESTS_BASE_ALLOCATIONS_H
#define TESTS_BASE_ALLOCATIONS_H

#include <stdlib.h>

static long allocations;
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define NO_COUNT 1
#endif
#endif
#if !defined(NO_COUNT) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&       \
    defined(__GLIBC__)
#define COUNTED 1
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n)
{
    __atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
    return __libc_realloc(p, n);
}
#else
#define COUNTED 0
#endif

#endif
