/* Private to registry_lock: what a kind of lock must do. One table in one file for each scheme of
 * registries; semantics and errors are those of registry_lock.h, arguments are checked. */
#ifndef MODELS_REGISTRY_LOCK_BACKEND_H
#define MODELS_REGISTRY_LOCK_BACKEND_H

#include "base/err.h"
#include "models/registry.h"

struct registry_lock_backend {
    const char *scheme;
    /* rest: the URL behind "scheme:". owner: one line for messages. */
    int (*take)(const char *rest, const char *name, const char *owner, void **state,
                long long *token, struct err *err);
    int (*promote)(void *state, struct registry *r, const char *name, const char *alias,
                   const char *from, const char *to, long long token, struct err *err);
    void (*release)(void *state);
};

extern const struct registry_lock_backend registry_lock_dir, registry_lock_of_redis;

#endif
