#include "models/registry_lock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/manifest.h"
#include "models/registry_lock_backend.h"

static const struct registry_lock_backend *const backends[] = {&registry_lock_dir,
                                                               &registry_lock_of_redis};
enum { N_BACKENDS = sizeof backends / sizeof *backends, OWNER = 128 };

struct registry_lock {
    const struct registry_lock_backend *backend;
    void *state;
    struct registry *registry;
    char *name;
    long long token;
};

/* Host and process: what an operator looks for. */
static void describe_owner(char owner[OWNER])
{
    char host[65] = "";
    if (gethostname(host, sizeof host - 1) != 0 || !*host)
        (void)strcpy(host, "unknown");
    (void)snprintf(owner, OWNER, "%s process %ld", host, (long)getpid());
}

int registry_lock_take(const char *url, struct registry *r, const char *name,
                       struct registry_lock **out, struct err *err)
{
    if (!manifest_word(name, MANIFEST_WORD))
        return err_set(err, ERR_USAGE, "model \"%s\": expected 1 to %d of A-Z a-z 0-9 . _ -", name,
                       MANIFEST_WORD);
    for (int i = 0; i < N_BACKENDS; i++) {
        size_t n = strlen(backends[i]->scheme);
        struct registry_lock taken = {.backend = backends[i], .registry = r};
        char owner[OWNER];
        if (strncmp(url, backends[i]->scheme, n) != 0 || url[n] != ':')
            continue;
        describe_owner(owner);
        if (taken.backend->take(url + n + 1, name, owner, &taken.state, &taken.token, err) != 0)
            return -1;
        taken.name = xstrdup(name);
        *out = xmalloc(sizeof **out);
        **out = taken;
        return 0;
    }
    return err_set(err, ERR_CONFIG,
                   "registries of this kind cannot be locked: %.*s:", (int)strcspn(url, ":"), url);
}

long long registry_lock_token(const struct registry_lock *l)
{
    return l->token;
}

int registry_lock_promote(struct registry_lock *l, const char *alias, const char *from,
                          const char *to, struct err *err)
{
    return l->backend->promote(l->state, l->registry, l->name, alias, from, to, l->token, err);
}

void registry_lock_release(struct registry_lock *l)
{
    if (!l)
        return;
    l->backend->release(l->state);
    free(l->name);
    free(l);
}
