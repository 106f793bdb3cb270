/* Private to registry_dir*.c: the store behind dir:PATH, whose layout is in models/registry.h. */
#ifndef MODELS_REGISTRY_DIR_H
#define MODELS_REGISTRY_DIR_H

#include "models/registry_backend.h"

struct dir_store {
    char *root;
};

int dir_fail(struct err *err, const char *path, const char *what); /* by errno */
char *dir_version_path(const struct dir_store *s, const char *name, const char *version);

/* registry_dir_names.c: what the versions are called. */
int dir_set_alias(void *store, const char *name, const char *alias, const char *version,
                  const char *expect, const char *by, struct err *err);
int dir_resolve(void *store, const char *name, const char *what, char version[REGISTRY_VERSION],
                struct err *err);
int dir_list(void *store, const char *name, char ***versions, size_t *n, struct err *err);
int dir_aliases(void *store, const char *name, struct registry_alias **list, size_t *n,
                struct err *err);
int dir_history(void *store, const char *name, struct registry_change **list, size_t *n,
                struct err *err);
int dir_remove(void *store, const char *name, const char *version, struct err *err);
int dir_gc(void *store, const char *name, int keep, char ***removed, size_t *n, struct err *err);

#endif
