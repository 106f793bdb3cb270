#include "worker/load.h"

#include <stdlib.h>

int load_registry(const struct options *o, struct registry **out, struct err *err)
{
    return registry_open(options_str(o, "registry"), out, err);
}

static int fetch(const struct options *o, char **dir, struct err *err)
{
    struct registry *r = NULL;
    char version[REGISTRY_VERSION];
    const char *name = options_str(o, "name");
    int rc = load_registry(o, &r, err);
    if (rc == 0)
        rc = registry_resolve(r, name, options_str(o, "alias"), version, err);
    if (rc == 0)
        rc = registry_fetch(r, name, version, dir, err);
    registry_close(r);
    return rc;
}

int load_model(const struct options *o, struct model **out, struct err *err)
{
    const char *model = options_str(o, "model");
    enum precision p;
    if (precision_parse(options_str(o, "precision"), &p, err) != 0)
        return -1;
    if (model && options_str(o, "registry"))
        return err_set(err, ERR_CONFIG,
                       "model and registry are both set: one of them says what to run");
    if (!model && !options_str(o, "registry"))
        return err_set(err, ERR_USAGE,
                       "no model: set model to a directory, or registry, name and alias");
    if (model)
        return model_open(model, p, out, err);
    char *dir = NULL;
    if (fetch(o, &dir, err) != 0)
        return -1;
    int rc = model_open(dir, p, out, err);
    free(dir);
    return rc;
}
