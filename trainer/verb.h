/* A verb of the program: a row of main.c's table. Each verb stands in a file of its own and parses,
 * helps and fails alike. */
#ifndef TRAINER_VERB_H
#define TRAINER_VERB_H

#include <stddef.h>
#include <stdio.h>

#include "base/err.h"
#include "base/options.h"

struct verb {
    const char *name, *help; /* one word; one line */
    const char *details;     /* lines below the help, each ended; NULL: none */
    const char *words; /* what stands beside the options on the command line ("stats"), for the
                          usage line; "" for none */
    const struct opt *opts;
    size_t n_opts;
    /* Called when all options are read, before they are printed; NULL: nothing to do. */
    int (*prepare)(struct options *o, struct err *err);
    const char *const *environment; /* options that RUBRIC_NAME may set as well, NULL at the end */
    /* words[0..n) as given. Returns 0, -1 with *err, or a positive exit status of its own after
     * saying why. */
    int (*run)(const struct options *o, const char *const *words, int n, struct err *err);
};

/* Rows that every verb's table begins with. */
#define VERB_COMMON_OPTIONS                                                                        \
    {.name = "config", .type = OPT_STR, .help = "read options from this file (key = value)"},      \
    {                                                                                              \
        .name = "print-config", .type = OPT_BOOL, .def = "false",                                  \
        .help = "print the options as they would be used, and stop"                                \
    }

/* The row of verbs that only run models. */
#define VERB_THREADS_OPTION                                                                        \
    {                                                                                              \
        .name = "threads", .type = OPT_INT, .def = "0", .min = 0, .max = 1024,                     \
        .help = "threads; 0: as many as the processors allowed"                                    \
    }

/* Rows of the verbs that speak to a registry; verb_registry reads them. */
#define VERB_REGISTRY_OPTIONS                                                                      \
    {.name = "registry",                                                                           \
     .type = OPT_STR,                                                                              \
     .help = "redis://[user][:password]@host:port/db or dir:PATH; else RUBRIC_REGISTRY"},          \
        {.name = "name",                                                                           \
         .type = OPT_STR,                                                                          \
         .help = "name of the model in the registry; else RUBRIC_NAME"},                           \
        {.name = "by", .type = OPT_STR, .help = "who, for the history; default $USER@host"},       \
    {                                                                                              \
        .name = "cache", .type = OPT_STR,                                                          \
        .help = "directory for versions fetched from afar; else RUBRIC_CACHE"                      \
    }

extern const struct verb verb_fit, verb_evaluate, verb_data, verb_push, verb_models, verb_retrain,
    verb_import, verb_pretrain, verb_prepare, verb_tune, verb_calibrate, verb_ensemble,
    verb_distill, verb_cascade, verb_quantize;

/* Reads options (default < --config file < environment < command line), answers --help and --print-config, runs
 * the verb, prints "rubric-trainer VERB: message" on stderr when it fails. argv begins after the
 * verb's name. Returns the exit status. Of the environment only what the verb names is read:
 * RUBRIC_MODEL and its like speak to the worker beside which a trainer may run. */
int verb_main(const struct verb *v, int argc, char **argv);
void verb_help(const struct verb *v, FILE *out);

/* An option that must be given. */
int verb_need(const struct options *o, const char *name, const char **value, struct err *err);
/* Opens the registry of VERB_REGISTRY_OPTIONS; *name is borrowed from o. */
struct registry;
int verb_registry(const struct options *o, struct registry **r, const char **name, struct err *err);
/* Fails when words were given to a verb that takes none. */
int verb_no_words(const char *const *words, int n, struct err *err);

#endif
