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
        {"precision",                                                                              \
         OPT_CHOICE,                                                                               \
         "auto",                                                                                   \
         0,                                                                                        \
         0,                                                                                        \
         "auto|fp32|bf16|int16|int8",                                                              \
         "arithmetic of the model; what it or the processor lacks runs in fp32",                   \
         false},                                                                                   \
    {                                                                                              \
        "head", OPT_CHOICE, "auto", 0, 0, "auto|pooled|row",                                       \
            "what a transformer's plain linear head reads: the pooled first token, a token's "     \
            "row, or as the file suggests",                                                        \
            false                                                                                  \
    }

/* The command line of a verb that is not the service. Without --model, RUBRIC_REGISTRY, RUBRIC_NAME,
 * RUBRIC_ALIAS, RUBRIC_CACHE and RUBRIC_CACHE_MB say what it does not. */
int load_read_args(struct options *o, int argc, char **argv, const char **rest, int *n_rest,
                   struct err *err);
/* The registry that the options name. */
int load_registry(const struct options *o, struct registry **out, struct err *err);
/* Where load_model is: called on its thread whenever it gets on, with words for a person ("fetching
 * version …, 4.2 of 38.0 MB"). at NULL: nobody asks. */
struct load_steps {
    void (*at)(void *arg, const char *doing);
    void *arg;
};
#define LOAD_STALE 1000
/* Warmed up, and no signal was taken meanwhile. stale NULL: what the options name, or an error.
 * Otherwise a start must not fail for a registry that is away or a version that is damaged, does not
 * load or (check_labels) has other labels than the one that was in service last: that one is loaded
 * from the cache, and stale says why; "" when it is what the alias names. steps: NULL
 * allowed. */
int load_model(const struct options *o, bool check_labels, const struct load_steps *steps,
               struct model **out, char stale[LOAD_STALE], struct err *err);
void load_cancel(void); /* ends load_model's waiting for a registry; from a signal handler too */

#endif
