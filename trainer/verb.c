#include "trainer/verb.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
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

int verb_registry(const struct options *o, struct registry **r, const char **name, struct err *err)
{
    const char *url, *cache = options_str(o, "cache"), *by = options_str(o, "by");
    if (verb_need(o, "registry", &url, err) != 0 || verb_need(o, "name", name, err) != 0 ||
        registry_open(url, r, err) != 0)
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

/* RUBRIC_REGISTRY and its like, for the options that the verb lets the environment set. */
static int read_environment(const struct verb *v, struct options *o, struct err *err)
{
    for (const char *const *name = v->environment; name && *name; name++) {
        char *variable = file_path("RUBRIC_%s", *name);
        for (char *c = variable; *c; c++)
            *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
        const char *value = getenv(variable);
        int rc = value && *value ? options_set(o, *name, value, variable, err) : 0;
        free(variable);
        if (rc != 0)
            return -1;
    }
    return 0;
}

static int read_options(const struct verb *v, struct options *o, int argc, char **argv,
                        const char **words, int *n, struct err *err)
{
    /* Read once to learn --config, and once more at the end so that the command line wins. */
    if (options_read_args(o, argc, argv, words, n, err) != 0)
        return -1;
    const char *path = options_str(o, "config");
    if ((path && options_read_file(o, path, err) != 0) || read_environment(v, o, err) != 0)
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
    int n = 0, rc = read_options(v, o, argc, argv, words, &n, &err);
    if (rc == 0 && v->prepare)
        rc = v->prepare(o, &err);
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
