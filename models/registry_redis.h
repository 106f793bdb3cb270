/* Private to registry_redis*.c: the store behind redis://….  Keys and their meaning are in
 * models/registry.h. */
#ifndef MODELS_REGISTRY_REDIS_H
#define MODELS_REGISTRY_REDIS_H

#include <stdatomic.h>

#include "models/redis.h"
#include "models/registry_backend.h"

#define REDIS_WORD 32 /* longest answer of a script that is a word or two */

struct redis_store {
    struct redis_target target;
    struct redis *conn, *hints; /* hints: a connection that listens; NULL: none yet */
    struct registry_cache *cache;
    const struct registry_progress *progress;
    atomic_bool cancelled;
};

/* "rubric:{NAME}:REST" and "rubric:{NAME}:KIND:ID", malloc'd. */
char *redis_key(const char *name, const char *rest);
char *redis_key_of(const char *name, const char *kind, const char *id);

/* Runs a script on n_keys keys and the words after them (NULL at the end); its reply must be of type
 * want. */
int redis_script(struct redis_store *s, const char *script, int n_keys, const char *const *words,
                 enum redis_type want, struct redis_value **out, struct err *err);
/* The same for a script that answers with a word. */
int redis_script_word(struct redis_store *s, const char *script, int n_keys,
                      const char *const *words, char word[REDIS_WORD], struct err *err);
int redis_no_version(const char *url, const char *name, const char *version,
                     struct err *err); /* ERR_MISSING */

/* registry_redis_names.c: what the versions are called. */
/* run: how script_alias is to be run, its answer to word; with a guard before it, or without. */
struct redis_alias_run {
    int (*run)(void *arg, const char *const *words, char word[REDIS_WORD], struct err *err);
    void *arg;
};
int redis_move_alias(const struct redis_alias_run *run, const char *url, const char *name,
                     const char *alias, const char *version, const char *expect, const char *by,
                     struct err *err);
int redis_set_alias(void *store, const char *name, const char *alias, const char *version,
                    const char *expect, const char *by, struct err *err);
int redis_resolve(void *store, const char *name, const char *what, char version[REGISTRY_VERSION],
                  struct err *err);
int redis_list(void *store, const char *name, char ***versions, size_t *n, struct err *err);
int redis_aliases(void *store, const char *name, struct registry_alias **list, size_t *n,
                  struct err *err);
int redis_history(void *store, const char *name, struct registry_change **list, size_t *n,
                  struct err *err);
int redis_remove(void *store, const char *name, const char *version, struct err *err);
int redis_gc(void *store, const char *name, int keep, char ***removed, size_t *n, struct err *err);

#endif
