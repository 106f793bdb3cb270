#include "models/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/manifest.h"
#include "models/registry_backend.h"

/* The one list of backends. */
static const struct registry_backend *const backends[] = {&registry_dir};
enum { N_BACKENDS = sizeof backends / sizeof *backends };

struct registry {
    const struct registry_backend *backend;
    void *store;
    char *url; /* for messages */
};

bool registry_is_version(const char *s)
{
    return manifest_is_version(s);
}

int registry_open(const char *url, struct registry **out, struct err *err)
{
    char known[200] = "";
    for (int i = 0; i < N_BACKENDS; i++) {
        const struct registry_backend *b = backends[i];
        size_t n = strlen(b->scheme);
        (void)snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "",
                       b->form);
        if (strncmp(url, b->scheme, n) != 0 || url[n] != ':' || url[n + 1] == '\0')
            continue;
        void *store;
        if (b->open(url + n + 1, &store, err) != 0)
            return -1;
        struct registry *r = xcalloc(1, sizeof *r);
        *r = (struct registry){.backend = b, .store = store, .url = xstrdup(url)};
        *out = r;
        return 0;
    }
    return err_set(err, ERR_CONFIG, "registry \"%s\": expected %s", url, known);
}

void registry_close(struct registry *r)
{
    if (!r)
        return;
    r->backend->close(r->store);
    free(r->url);
    free(r);
}

static int need_word(const struct registry *r, const char *kind, const char *s, struct err *err)
{
    if (manifest_word(s, MANIFEST_WORD))
        return 0;
    return err_set(err, ERR_USAGE,
                   "%s: %s \"%s\": expected 1 to %d of A-Z a-z 0-9 . _ -, not starting with '.'",
                   r->url, kind, s, MANIFEST_WORD);
}

static int need_version(const struct registry *r, const char *s, struct err *err)
{
    if (manifest_is_version(s))
        return 0;
    return err_set(err, ERR_USAGE, "%s: version \"%s\": expected %d lower-case hex digits", r->url,
                   s, REGISTRY_VERSION - 1);
}

int registry_push(struct registry *r, const char *name, const char *dir,
                  char version[REGISTRY_VERSION], struct err *err)
{
    if (need_word(r, "model", name, err) != 0)
        return -1;
    return r->backend->push(r->store, name, dir, version, err);
}

int registry_set_alias(struct registry *r, const char *name, const char *alias, const char *version,
                       struct err *err)
{
    if (need_word(r, "model", name, err) != 0 || need_word(r, "alias", alias, err) != 0 ||
        need_version(r, version, err) != 0)
        return -1;
    if (manifest_is_version(alias)) /* registry_resolve could not tell it from one */
        return err_set(err, ERR_USAGE, "%s: alias \"%s\": looks like a version", r->url, alias);
    return r->backend->set_alias(r->store, name, alias, version, err);
}

int registry_resolve(struct registry *r, const char *name, const char *what,
                     char version[REGISTRY_VERSION], struct err *err)
{
    if (need_word(r, "model", name, err) != 0 || need_word(r, "alias or version", what, err) != 0)
        return -1;
    return r->backend->resolve(r->store, name, what, version, err);
}

int registry_fetch(struct registry *r, const char *name, const char *version, char **dir,
                   struct err *err)
{
    if (need_word(r, "model", name, err) != 0 || need_version(r, version, err) != 0)
        return -1;
    return r->backend->fetch(r->store, name, version, dir, err);
}

int registry_list(struct registry *r, const char *name, char ***versions, size_t *n,
                  struct err *err)
{
    if (need_word(r, "model", name, err) != 0)
        return -1;
    return r->backend->list(r->store, name, versions, n, err);
}
