#include "models/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/url.h"
#include "models/manifest.h"
#include "models/registry_backend.h"

/* The one list of backends. */
static const struct registry_backend *const backends[] = {&registry_dir, &registry_redis};
enum { N_BACKENDS = sizeof backends / sizeof *backends };

struct registry {
    const struct registry_backend *backend;
    void *store;
    char *url; /* for messages, without a password */
    char by[REGISTRY_BY + 1];
    struct registry_cache cache;
    struct registry_progress progress;
};

bool registry_is_version(const char *s)
{
    return manifest_is_version(s);
}

bool registry_is_word(const char *s)
{
    return manifest_word(s, MANIFEST_WORD);
}

static void default_by(struct registry *r)
{
    const char *user = getenv("USER");
    char host[64] = "", by[REGISTRY_BY + 1];
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(by, sizeof by, "%s@%s", user && *user ? user : "unknown", host);
    registry_set_by(r, by);
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
        *r = (struct registry){.backend = b, .store = store, .url = url_mask(url)};
        r->cache.bytes = REGISTRY_CACHE_BYTES;
        if (b->set_cache)
            b->set_cache(store, &r->cache, &r->progress);
        default_by(r);
        *out = r;
        return 0;
    }
    char *shown = url_mask(url);
    int rc = err_set(err, ERR_CONFIG, "registry \"%s\": expected %s", shown, known);
    free(shown);
    return rc;
}

void registry_close(struct registry *r)
{
    if (!r)
        return;
    r->backend->close(r->store);
    free(r->url);
    free(r->cache.dir);
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

static int change_alias(struct registry *r, const char *name, const char *alias, const char *to,
                        const char *expect, struct err *err)
{
    if (need_word(r, "model", name, err) != 0 || need_word(r, "alias", alias, err) != 0 ||
        need_version(r, to, err) != 0)
        return -1;
    if (manifest_is_version(alias)) /* registry_resolve could not tell it from one */
        return err_set(err, ERR_USAGE, "%s: alias \"%s\": looks like a version", r->url, alias);
    return r->backend->set_alias(r->store, name, alias, to, expect, r->by, err);
}

int registry_set_alias(struct registry *r, const char *name, const char *alias, const char *version,
                       struct err *err)
{
    return change_alias(r, name, alias, version, NULL, err);
}

int registry_move_alias(struct registry *r, const char *name, const char *alias, const char *from,
                        const char *to, struct err *err)
{
    return change_alias(r, name, alias, to, from, err);
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

void registry_set_progress(struct registry *r, struct registry_progress progress)
{
    r->progress = progress;
}

int registry_list(struct registry *r, const char *name, char ***versions, size_t *n,
                  struct err *err)
{
    if (need_word(r, "model", name, err) != 0)
        return -1;
    return r->backend->list(r->store, name, versions, n, err);
}

int registry_verify(struct registry *r, const char *name, const char *version, struct err *err)
{
    if (need_word(r, "model", name, err) != 0 || need_version(r, version, err) != 0)
        return -1;
    return r->backend->verify(r->store, name, version, err);
}

int registry_aliases(struct registry *r, const char *name, struct registry_alias **list, size_t *n,
                     struct err *err)
{
    if (need_word(r, "model", name, err) != 0)
        return -1;
    return r->backend->aliases(r->store, name, list, n, err);
}

int registry_history(struct registry *r, const char *name, struct registry_change **list, size_t *n,
                     struct err *err)
{
    if (need_word(r, "model", name, err) != 0)
        return -1;
    return r->backend->history(r->store, name, list, n, err);
}

int registry_remove(struct registry *r, const char *name, const char *version, struct err *err)
{
    if (need_word(r, "model", name, err) != 0 || need_version(r, version, err) != 0)
        return -1;
    return r->backend->remove(r->store, name, version, err);
}

int registry_gc(struct registry *r, const char *name, int keep, char ***removed, size_t *n,
                struct err *err)
{
    if (need_word(r, "model", name, err) != 0)
        return -1;
    return r->backend->gc(r->store, name, keep, removed, n, err);
}

/* What the alias named before what it names now; rollbacks are changes too, so going back twice
 * comes forward again, as with any change. */
int registry_rollback(struct registry *r, const char *name, const char *alias,
                      char version[REGISTRY_VERSION], struct err *err)
{
    struct registry_change *all;
    char now[REGISTRY_VERSION], before[REGISTRY_VERSION] = "";
    size_t n;
    if (need_word(r, "alias", alias, err) != 0 || registry_resolve(r, name, alias, now, err) != 0 ||
        registry_history(r, name, &all, &n, err) != 0)
        return -1;
    for (size_t i = n; i-- > 0 && !before[0];)
        if (strcmp(all[i].alias, alias) == 0 && strcmp(all[i].to, now) == 0)
            memcpy(before, all[i].from, sizeof before);
    free(all);
    if (!manifest_is_version(before))
        return err_set(err, ERR_MISSING, "%s: the history of %s knows no version before %s", r->url,
                       alias, now);
    if (registry_move_alias(r, name, alias, now, before, err) != 0)
        return -1;
    memcpy(version, before, sizeof before);
    return 0;
}

int registry_wait(struct registry *r, const char *name, int ms)
{
    return r->backend->wait ? r->backend->wait(r->store, name, ms) : -1;
}

void registry_cancel(struct registry *r)
{
    if (r->backend->cancel)
        r->backend->cancel(r->store);
}

const char *registry_by(const struct registry *r)
{
    return r->by;
}

void registry_set_by(struct registry *r, const char *by)
{
    (void)snprintf(r->by, sizeof r->by, "%s", *by ? by : "unknown");
    for (char *c = r->by; *c; c++) /* the history is a line a change */
        if ((unsigned char)*c <= ' ' || *c == 127)
            *c = '_';
}

void registry_set_cache(struct registry *r, const char *dir, int64_t bytes)
{
    free(r->cache.dir);
    r->cache.dir = dir ? xstrdup(dir) : NULL;
    r->cache.bytes = bytes;
}

int registry_note(struct registry *r, const char *name, const char *alias, const char *version,
                  struct err *err)
{
    if (need_word(r, "model", name, err) != 0 || need_word(r, "alias", alias, err) != 0)
        return -1;
    int rc = cache_note(&r->cache, name, alias, version, err);
    return r->backend->set_cache ? rc : 0; /* a dir registry is of use without one */
}

int registry_fetch_last(struct registry *r, const char *name, const char *alias,
                        char version[REGISTRY_VERSION], char **dir, struct err *err)
{
    if (need_word(r, "model", name, err) != 0 || need_word(r, "alias", alias, err) != 0)
        return -1;
    if (cache_last(&r->cache, name, alias, version, err) != 0)
        return -1;
    if (!r->backend->set_cache)
        return r->backend->fetch(r->store, name, version, dir, err);
    int rc = cache_find(&r->cache, name, version, dir, err);
    if (rc > 0)
        rc = err_set(err, ERR_MISSING, "%s/%s/%s: not in the cache", r->cache.dir, name, version);
    return rc;
}
