#include "trainer/verb.h"

#include "models/model.h"
#include "models/registry.h"

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "model", .type = OPT_STR, .help = "directory of the model"},
    VERB_REGISTRY_OPTIONS,
    {.name = "alias", .type = OPT_STR, .help = "point this alias to the new version"},
    {.name = "json", .type = OPT_BOOL, .def = "false", .help = "print one JSON object"},
};

/* A model that cannot be opened here cannot be opened by a worker either, so it is not pushed. */
static int openable(const char *dir, struct err *err)
{
    struct model *m;
    if (model_open(dir, PRECISION_AUTO, &m, err) != 0)
        return -1;
    model_close(m);
    return 0;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *model, *name, *alias = options_str(o, "alias");
    char version[REGISTRY_VERSION];
    struct registry *r;
    bool json = options_bool(o, "json");
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "model", &model, err) != 0 ||
        openable(model, err) != 0 || verb_registry(o, &r, &name, err) != 0)
        return -1;
    int rc = registry_push(r, name, model, version, err);
    if (rc == 0 && alias) {
        rc = registry_set_alias(r, name, alias, version, err);
        if (rc != 0)
            (void)err_prefix(err, "version %s is pushed, but %s is not set", version, alias);
        if (rc == 0 && !json)
            (void)printf("%s of %s is now\n", alias, name);
    }
    if (rc == 0 && json)
        (void)printf("{\"pushed\":\"%s\",\"name\":\"%s\",\"alias\":%s%s%s}\n", version, name,
                     alias ? "\"" : "", alias ? alias : "null", alias ? "\"" : "");
    else if (rc == 0)
        (void)printf("%s\n", version);
    registry_close(r);
    return rc;
}

static const char *const environment[] = {"registry", "name", "cache", NULL};

const struct verb verb_push = {.name = "push",
                               .help = "put a model into a registry as a new version",
                               .words = "",
                               .opts = opts,
                               .n_opts = sizeof opts / sizeof *opts,
                               .environment = environment,
                               .run = run};
