/* Private to the registry: what a store of versions must do. models/registry.c has checked every
 * argument (names and aliases are words, versions 16 hex digits), picks the backend by the URL's
 * scheme and hands calls through; so a backend is one file with one of these tables, and a row in
 * registry.c. Semantics and errors are those of models/registry.h; messages name the place (path,
 * key) they are about. */
#ifndef MODELS_REGISTRY_BACKEND_H
#define MODELS_REGISTRY_BACKEND_H

#include <stddef.h>

#include "base/err.h"
#include "models/registry.h"
#include "models/registry_cache.h"

struct registry_backend {
    const char *scheme; /* "dir" for dir:PATH */
    const char *form;   /* "dir:PATH", for messages */
    /* rest: what follows "scheme:", never empty. *store is owned by the registry until close. */
    int (*open)(const char *rest, void **store, struct err *err);
    void (*close)(void *store);
    int (*push)(void *store, const char *name, const char *dir, char version[REGISTRY_VERSION],
                struct err *err);
    /* expect: what the alias must name now, or ERR_CONFLICT; NULL: whatever it names. */
    int (*set_alias)(void *store, const char *name, const char *alias, const char *version,
                     const char *expect, const char *by, struct err *err);
    int (*resolve)(void *store, const char *name, const char *what, char version[REGISTRY_VERSION],
                   struct err *err);
    int (*fetch)(void *store, const char *name, const char *version, char **dir, struct err *err);
    int (*list)(void *store, const char *name, char ***versions, size_t *n, struct err *err);
    int (*verify)(void *store, const char *name, const char *version, struct err *err);
    int (*aliases)(void *store, const char *name, struct registry_alias **list, size_t *n,
                   struct err *err);
    int (*history)(void *store, const char *name, struct registry_change **list, size_t *n,
                   struct err *err);
    int (*remove)(void *store, const char *name, const char *version, struct err *err);
    int (*gc)(void *store, const char *name, int keep, char ***removed, size_t *n, struct err *err);
    /* Where to fetch into, and whom to tell; both are borrowed and may change between calls. NULL:
     * what is fetched is read in place. */
    void (*set_cache)(void *store, struct registry_cache *cache,
                      const struct registry_progress *progress);
    void (*cancel)(void *store);                        /* NULL: nothing takes long */
    int (*wait)(void *store, const char *name, int ms); /* NULL: gives no hints */
};

extern const struct registry_backend registry_dir, registry_redis;

#endif
