/* Which model: a directory, or a version that a registry's alias names, fetched and verified. */
#ifndef WORKER_LOAD_H
#define WORKER_LOAD_H

#include "base/options.h"
#include "models/model.h"
#include "models/registry.h"

/* The options every verb with a model has; for option tables. */
#define LOAD_OPTIONS                                                                               \
    {"model", OPT_STR, NULL, 0, 0, NULL, "model directory", false},                                \
        {"registry",                                                                               \
         OPT_STR,                                                                                  \
         NULL,                                                                                     \
         0,                                                                                        \
         0,                                                                                        \
         NULL,                                                                                     \
         "registry of models (redis://… or dir:PATH), instead of model",                           \
         false},                                                                                   \
        {"cache",                                                                                  \
         OPT_STR,                                                                                  \
         NULL,                                                                                     \
         0,                                                                                        \
         0,                                                                                        \
         NULL,                                                                                     \
         "directory for versions fetched from afar; default $XDG_CACHE_HOME/rubric",               \
         false},                                                                                   \
        {"cache-mb", OPT_INT, "4096", 1, 10000000, NULL, "bound on the cache", false},             \
        {"name", OPT_STR, "headlines", 0, 0, NULL, "name of the model in the registry", false},    \
        {"alias", OPT_STR, "production", 0, 0, NULL, "alias or version to run", false},            \
    {                                                                                              \
        "precision", OPT_CHOICE, "auto", 0, 0, "auto|fp32|int16|int8", "arithmetic of the model",  \
            false                                                                                  \
    }

/* The registry that the options name. */
int load_registry(const struct options *o, struct registry **out, struct err *err);
/* With a registry that does not answer: the last verified version that the cache holds for the alias,
 * and *stale says why (a message of at least 1000 bytes; "" when nothing is stale). NULL: not wanted,
 * an error instead. */
int load_model(const struct options *o, struct model **out, char stale[1000], struct err *err);

#endif
