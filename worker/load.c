#include "worker/load.h"

#include <stdio.h>
#include <stdlib.h>

int load_registry(const struct options *o, struct registry **out, struct err *err)
{
    if (registry_open(options_str(o, "registry"), out, err) != 0)
        return -1;
    registry_set_cache(*out, options_str(o, "cache"), options_int(o, "cache-mb") << 20);
    return 0;
}

/* The alias's version as the registry has it; without an answer, as the cache has it. */
static int fetch(struct registry *r, const struct options *o, char version[REGISTRY_VERSION],
                 char **dir, char *stale, struct err *err)
{
    const char *name = options_str(o, "name"), *alias = options_str(o, "alias");
    int rc = registry_resolve(r, name, alias, version, err);
    if (rc == 0)
        rc = registry_fetch(r, name, version, dir, err);
    if (rc != 0 && err->code == ERR_UNAVAILABLE && stale &&
        registry_fetch_last(r, name, alias, version, dir, NULL) == 0) {
        (void)snprintf(stale, 1000, "%s", err->msg);
        rc = 0;
    }
    return rc;
}

static int load_from_registry(const struct options *o, enum precision p, struct model **out,
                              char *stale, struct err *err)
{
    struct registry *r;
    char version[REGISTRY_VERSION], *dir = NULL;
    if (load_registry(o, &r, err) != 0)
        return -1;
    int rc = fetch(r, o, version, &dir, stale, err);
    if (rc == 0)
        rc = model_open(dir, p, out, err);
    /* Only what opens is worth a start without the registry; a cache that cannot be written is no
     * reason not to serve. */
    if (rc == 0)
        (void)registry_note(r, options_str(o, "name"), options_str(o, "alias"), version, NULL);
    free(dir);
    registry_close(r);
    return rc;
}

int load_model(const struct options *o, struct model **out, char stale[1000], struct err *err)
{
    const char *model = options_str(o, "model");
    enum precision p;
    if (stale)
        stale[0] = '\0';
    if (precision_parse(options_str(o, "precision"), &p, err) != 0)
        return -1;
    if (model && options_str(o, "registry"))
        return err_set(err, ERR_CONFIG,
                       "model and registry are both set: one of them says what to run");
    if (!model && !options_str(o, "registry"))
        return err_set(err, ERR_USAGE,
                       "no model: set model to a directory, or registry, name and alias");
    return model ? model_open(model, p, out, err) : load_from_registry(o, p, out, stale, err);
}
