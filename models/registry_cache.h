/* The local cache of versions fetched from afar (models/registry.h, registry_set_cache): verified
 * before they get their name, by one rename, so what has its name is whole; several processes may
 * share it. */
#ifndef MODELS_REGISTRY_CACHE_H
#define MODELS_REGISTRY_CACHE_H

#include "models/manifest.h"

struct registry_cache {
    char *dir; /* NULL: the default, found at first use */
    int64_t bytes;
};

/* The directory of a version that is there and verifies: 0, malloc'd *path. 1: not there. -1: err. A
 * damaged one is removed and counts as not there; one that only cannot be read is an error. Versions
 * that cache_note named are never removed to make room. */
int cache_find(struct registry_cache *c, const char *name, const char *version, char **path,
               struct err *err);
/* A new hidden directory to fill, malloc'd; cache_keep gives it its name (verifying it against m) or
 * removes it, then makes room. */
int cache_begin(struct registry_cache *c, const char *name, char **tmp, struct err *err);
int cache_keep(struct registry_cache *c, char *tmp, const struct manifest *m, char **path,
               struct err *err);
void cache_drop(char *tmp); /* removes and frees it */

/* What an alias named when it was last fetched. */
int cache_note(struct registry_cache *c, const char *name, const char *alias, const char *version,
               struct err *err);
int cache_last(struct registry_cache *c, const char *name, const char *alias,
               char version[REGISTRY_VERSION], struct err *err);

#endif
