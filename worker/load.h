/* Which model: a directory, or a version that a registry's alias names, fetched and verified. */
#ifndef WORKER_LOAD_H
#define WORKER_LOAD_H

#include "base/options.h"
#include "models/model.h"
#include "models/registry.h"

/* The options every verb with a model has; for option tables. */
#define LOAD_OPTIONS                                                                               \
    {"model", OPT_STR, NULL, 0, 0, NULL, "model directory", false},                                \
        {"registry", OPT_STR, NULL, 0, 0, NULL, "registry of models (dir:PATH), instead of model", \
         false},                                                                                   \
        {"name", OPT_STR, "headlines", 0, 0, NULL, "name of the model in the registry", false},    \
        {"alias", OPT_STR, "production", 0, 0, NULL, "alias or version to run", false},            \
    {                                                                                              \
        "precision", OPT_CHOICE, "auto", 0, 0, "auto|fp32|int16|int8", "arithmetic of the model",  \
            false                                                                                  \
    }

/* The registry that the options name. */
int load_registry(const struct options *o, struct registry **out, struct err *err);
int load_model(const struct options *o, struct model **out, struct err *err);

#endif
