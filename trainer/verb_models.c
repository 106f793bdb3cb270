#include "trainer/verb.h"

#include <stdlib.h>
#include <string.h>

#include "models/model.h"
#include "models/registry.h"

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "registry", .type = OPT_STR, .help = "dir:PATH"},
    {.name = "name", .type = OPT_STR, .help = "name of the model in the registry"},
    {.name = "version", .type = OPT_STR, .help = "show, promote, verify: a version or an alias"},
    {.name = "alias",
     .type = OPT_STR,
     .def = "production",
     .help = "promote: the alias to point to the version"},
};

static int list(struct registry *r, const char *name, struct err *err)
{
    char **versions;
    size_t n;
    if (registry_list(r, name, &versions, &n, err) != 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        (void)printf("%s\n", versions[i]);
        free(versions[i]);
    }
    free(versions);
    return 0;
}

static void print_info(const struct model_info *info)
{
    (void)printf("family      %s\nname        %s\nversion     %s\nsha256      %s\n", info->family,
                 info->name, info->version, info->sha256);
    (void)printf(
        "parameters  %lld\nweights     %.1f MB\nmax tokens  %d\nprecision   %s\nlabels     ",
        (long long)info->parameters, (double)info->weights_bytes / 1e6, (int)info->max_tokens,
        precision_name(info->precision));
    for (int32_t i = 0; i < info->n_labels; i++)
        (void)printf(" %s", info->labels[i]);
    (void)putchar('\n');
}

/* Fetching verifies every file. */
static int show(struct registry *r, const char *name, const char *version, bool open,
                struct err *err)
{
    char *dir;
    struct model *m;
    if (registry_fetch(r, name, version, &dir, err) != 0)
        return -1;
    int rc = open ? model_open(dir, PRECISION_AUTO, &m, err) : 0;
    if (rc == 0 && open) {
        print_info(model_info(m));
        (void)printf("directory   %s\n", dir);
        model_close(m);
    } else if (rc == 0) {
        (void)printf("%s %s: every file is as its manifest says\n", name, version);
    }
    free(dir);
    return rc;
}

static int one_version(const struct options *o, struct registry *r, const char *name,
                       const char *what, struct err *err)
{
    const char *wanted, *alias = options_str(o, "alias");
    char version[REGISTRY_VERSION];
    if (verb_need(o, "version", &wanted, err) != 0 ||
        registry_resolve(r, name, wanted, version, err) != 0)
        return -1;
    if (strcmp(what, "promote") != 0)
        return show(r, name, version, strcmp(what, "show") == 0, err);
    if (registry_set_alias(r, name, alias, version, err) != 0)
        return -1;
    (void)printf("%s of %s is now %s\n", alias, name, version);
    return 0;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    static const char *const known[] = {"ls", "show", "promote", "verify"};
    const char *url, *name;
    struct registry *r;
    size_t k = 0;
    if (n != 1)
        return err_set(err, ERR_USAGE, "one of ls, show, promote, verify is expected");
    while (k < 4 && strcmp(words[0], known[k]) != 0)
        k++;
    if (k == 4)
        return err_set(err, ERR_USAGE, "unknown word \"%s\": expected ls, show, promote or verify",
                       words[0]);
    if (verb_need(o, "registry", &url, err) != 0 || verb_need(o, "name", &name, err) != 0 ||
        registry_open(url, &r, err) != 0)
        return -1;
    int rc = k == 0 ? list(r, name, err) : one_version(o, r, name, words[0], err);
    registry_close(r);
    return rc;
}

const struct verb verb_models = {.name = "models",
                                 .help = "list, show, promote and verify versions in a registry",
                                 .words = "ls|show|promote|verify",
                                 .opts = opts,
                                 .n_opts = sizeof opts / sizeof *opts,
                                 .run = run};
