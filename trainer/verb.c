#include "trainer/verb.h"

#include <stdlib.h>
#include <string.h>

#include "models/registry.h"

void verb_help(const struct verb *v, FILE *out)
{
    (void)fprintf(out, "usage: rubric-trainer %s %s%s[options]\n\n%s\n\n", v->name, v->words,
                  *v->words ? " " : "", v->help);
    if (v->details)
        (void)fprintf(out, "%s\n", v->details);
    (void)fputs("options:\n", out);
    options_help(v->opts, v->n_opts, out);
}

int verb_need(const struct options *o, const char *name, const char **value, struct err *err)
{
    *value = options_str(o, name);
    return *value && **value ? 0 : err_set(err, ERR_USAGE, "--%s is missing", name);
}

static const char *or_environment(const struct options *o, const char *name, const char *variable)
{
    const char *s = options_str(o, name);
    return s && *s ? s : getenv(variable);
}

const char *verb_registry_url(const struct options *o)
{
    return or_environment(o, "registry", "RUBRIC_REGISTRY");
}

int verb_registry(const struct options *o, struct registry **r, const char **name, struct err *err)
{
    const char *url = verb_registry_url(o);
    const char *cache = or_environment(o, "cache", "RUBRIC_CACHE"), *by = options_str(o, "by");
    *name = or_environment(o, "name", "RUBRIC_NAME");
    if (!url || !*url || !*name || !**name)
        return err_set(err, ERR_USAGE, "--%s is missing, and %s is not set",
                       !url || !*url ? "registry" : "name",
                       !url || !*url ? "RUBRIC_REGISTRY" : "RUBRIC_NAME");
    if (registry_open(url, r, err) != 0)
        return -1;
    if (by)
        registry_set_by(*r, by);
    if (cache)
        registry_set_cache(*r, cache, REGISTRY_CACHE_BYTES);
    return 0;
}

int verb_no_words(const char *const *words, int n, struct err *err)
{
    return n == 0 ? 0 : err_set(err, ERR_USAGE, "unexpected word \"%s\"", words[0]);
}

static int read_options(struct options *o, int argc, char **argv, const char **words, int *n,
                        struct err *err)
{
    /* Read once to learn --config, and once more at the end so that the command line wins. */
    if (options_read_args(o, argc, argv, words, n, err) != 0)
        return -1;
    const char *path = options_str(o, "config");
    if (path && options_read_file(o, path, err) != 0)
        return -1;
    return options_read_args(o, argc, argv, words, n, err);
}

int verb_main(const struct verb *v, int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            verb_help(v, stdout);
            return 0;
        }
    }
    struct err err = {0};
    struct options *o = options_open(v->opts, v->n_opts, NULL);
    const char **words = xcalloc((size_t)argc + 1, sizeof *words);
    int n = 0, rc = read_options(o, argc, argv, words, &n, &err);
    if (rc == 0 && options_bool(o, "print-config"))
        options_print(o, stdout);
    else if (rc == 0)
        rc = v->run(o, words, n, &err);
    if (fflush(stdout) != 0 && rc == 0)
        rc = err_set(&err, ERR_IO, "standard output cannot be written");
    if (rc < 0) {
        (void)fprintf(stderr, "rubric-trainer %s: %s\n", v->name, err.msg);
        if (err.code == ERR_USAGE)
            (void)fprintf(stderr, "See rubric-trainer %s --help.\n", v->name);
        rc = err_exit_status(&err);
    }
    free((void *)words);
    options_close(o);
    return rc;
}
