/* What the versions in Redis are called: aliases, their history, and which versions there are.  Changes
 * are one script each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "models/registry_redis.h"
#include "models/registry_scripts.h"

int redis_move_alias(const struct redis_alias_run *run, const char *url, const char *name,
                     const char *alias, const char *version, const char *expect, const char *by,
                     struct err *err)
{
    char word[REDIS_WORD] = "";
    char *versions = redis_key(name, "versions"), *aliases = redis_key(name, "aliases"),
         *history = redis_key(name, "history"), *channel = file_path("rubric:%s", name);
    const char *words[SCRIPT_ALIAS_WORDS + 1] = {
        versions, aliases, history, alias, version, expect ? expect : "*", by, channel, NULL};
    int rc = run->run(run->arg, words, word, err);
    if (rc == 0 && strcmp(word, "missing") == 0)
        rc = redis_no_version(url, name, version, err);
    else if (rc == 0 && strncmp(word, "at ", 3) == 0)
        rc = err_set(err, ERR_CONFLICT, "%s: %s: %s names %s now, not %s", url, aliases, alias,
                     word[3] ? word + 3 : "nothing", expect && *expect ? expect : "nothing");
    else if (rc == 0 && strcmp(word, "ok") != 0)
        rc = err_set(err, ERR_FORMAT, "%s: %s: the script says \"%s\"", url, aliases, word);
    free(versions);
    free(aliases);
    free(history);
    free(channel);
    return rc;
}

static int run_alias(void *store, const char *const *words, char word[REDIS_WORD], struct err *err)
{
    return redis_script_word(store, script_alias, SCRIPT_ALIAS_KEYS, words, word, err);
}

int redis_set_alias(void *store, const char *name, const char *alias, const char *version,
                    const char *expect, const char *by, struct err *err)
{
    struct redis_store *s = store;
    struct redis_alias_run run = {run_alias, s};
    if (registry_redis.verify(s, name, version, err) != 0)
        return -1;
    return redis_move_alias(&run, s->target.url, name, alias, version, expect, by, err);
}

/* The version that the alias names. */
static int read_alias(struct redis_store *s, const char *aliases, const char *alias,
                      char version[REGISTRY_VERSION], struct err *err)
{
    struct redis_value *v;
    int rc = 0;
    if (redis_do(s->conn, REDIS_TEXT, true, &v, err, "HGET", aliases, alias, NULL) != 0)
        return -1;
    if (v->type == REDIS_NIL)
        rc = err_set(err, ERR_MISSING, "%s: %s: no alias %s", s->target.url, aliases, alias);
    else if (v->len != REGISTRY_VERSION - 1 || !manifest_is_version(v->text))
        rc = err_set(err, ERR_FORMAT, "%s: %s: %s names no version", s->target.url, aliases, alias);
    else
        memcpy(version, v->text, REGISTRY_VERSION);
    redis_free(v);
    return rc;
}

int redis_resolve(void *store, const char *name, const char *what, char version[REGISTRY_VERSION],
                  struct err *err)
{
    struct redis_store *s = store;
    bool direct = manifest_is_version(what);
    char *aliases = redis_key(name, "aliases"), *versions = redis_key(name, "versions");
    char found[REGISTRY_VERSION];
    struct redis_value *v = NULL;
    int rc = 0;
    if (direct)
        memcpy(found, what, sizeof found);
    else
        rc = read_alias(s, aliases, what, found, err);
    if (rc == 0)
        rc = redis_do(s->conn, REDIS_TEXT, true, &v, err, "ZSCORE", versions, found, NULL);
    if (rc == 0 && v->type == REDIS_NIL)
        rc = direct ? redis_no_version(s->target.url, name, found, err)
                    : err_set(err, ERR_CONFLICT, "%s: %s: %s points to %s, which does not exist",
                              s->target.url, aliases, what, found);
    redis_free(v);
    if (rc == 0)
        memcpy(version, found, sizeof found);
    free(aliases);
    free(versions);
    return rc;
}

/* The versions in a list. */
static int versions_of(const struct redis_value *v, const char *what, char ***versions, size_t *n,
                       struct err *err)
{
    char **list = xcalloc(v->len + 1, sizeof *list);
    for (size_t i = 0; i < v->len; i++) {
        const struct redis_value *one = v->item[i];
        if (one->type != REDIS_TEXT || !manifest_is_version(one->text)) {
            while (i-- > 0)
                free(list[i]);
            free(list);
            return err_set(err, ERR_FORMAT, "%s: holds something that is no version", what);
        }
        list[i] = xstrdup(one->text);
    }
    *versions = list;
    *n = v->len;
    return 0;
}

int redis_list(void *store, const char *name, char ***versions, size_t *n, struct err *err)
{
    struct redis_store *s = store;
    struct redis_value *v;
    char *k = redis_key(name, "versions");
    int rc = redis_do(s->conn, REDIS_LIST, false, &v, err, "ZRANGE", k, "0", "-1", NULL);
    if (rc == 0) {
        rc = versions_of(v, k, versions, n, err);
        redis_free(v);
    }
    free(k);
    return rc;
}

int redis_remove(void *store, const char *name, const char *version, struct err *err)
{
    struct redis_store *s = store;
    char *versions = redis_key(name, "versions"), *aliases = redis_key(name, "aliases"),
         *own = redis_key_of(name, "version", version), word[REDIS_WORD] = "";
    const char *words[] = {versions, aliases, own, version, NULL};
    int rc = redis_script_word(s, script_remove, 3, words, word, err);
    if (rc == 0 && strcmp(word, "missing") == 0)
        rc = redis_no_version(s->target.url, name, version, err);
    else if (rc == 0 && strcmp(word, "ok") != 0)
        rc = err_set(err, ERR_CONFLICT, "%s: %s: an alias names it", s->target.url, own);
    free(versions);
    free(aliases);
    free(own);
    return rc;
}

int redis_gc(void *store, const char *name, int keep, char ***removed, size_t *n, struct err *err)
{
    struct redis_store *s = store;
    char *versions = redis_key(name, "versions"), *aliases = redis_key(name, "aliases"),
         *chunks = redis_key(name, "chunks"), *leases = redis_key(name, "leases"),
         *prefix = redis_key(name, ""), most[16];
    struct redis_value *v;
    (void)snprintf(most, sizeof most, "%d", keep);
    const char *words[] = {versions, aliases, chunks, leases, prefix, most, NULL};
    int rc = redis_script(s, script_gc, 4, words, REDIS_LIST, &v, err);
    if (rc == 0) {
        rc = versions_of(v, "gc", removed, n, err);
        redis_free(v);
    }
    free(versions);
    free(aliases);
    free(chunks);
    free(leases);
    free(prefix);
    return rc;
}

static int copy_word(const struct redis_value *v, const char *what, char *to, size_t size,
                     struct err *err)
{
    if (v->type != REDIS_TEXT || v->len >= size || strlen(v->text) != v->len)
        return err_set(err, ERR_FORMAT, "%s: expected a text of less than %zu bytes", what, size);
    memcpy(to, v->text, v->len + 1);
    return 0;
}

static int alias_of(const struct redis_value *v, size_t i, const char *k, struct registry_alias *a,
                    struct err *err)
{
    if (copy_word(v->item[2 * i], k, a->alias, sizeof a->alias, err) != 0 ||
        copy_word(v->item[2 * i + 1], k, a->version, sizeof a->version, err) != 0)
        return -1;
    return manifest_word(a->alias, REGISTRY_WORD) && manifest_is_version(a->version)
               ? 0
               : err_set(err, ERR_FORMAT, "%s: holds something that is no alias", k);
}

int redis_aliases(void *store, const char *name, struct registry_alias **list, size_t *n,
                  struct err *err)
{
    struct redis_store *s = store;
    struct redis_value *v = NULL;
    struct registry_alias *got = NULL;
    char *k = redis_key(name, "aliases");
    int rc = redis_do(s->conn, REDIS_LIST, false, &v, err, "HGETALL", k, NULL);
    if (rc == 0)
        got = xcalloc(v->len / 2 + 1, sizeof *got);
    for (size_t i = 0; rc == 0 && i < v->len / 2; i++)
        rc = alias_of(v, i, k, &got[i], err);
    if (rc == 0) {
        *list = got;
        *n = v->len / 2;
    } else {
        free(got);
    }
    redis_free(v);
    free(k);
    return rc;
}

/* One entry of the stream: [id, [field, value, …]] with fields in any order. */
static int change_of(const struct redis_value *entry, const char *k, struct registry_change *c,
                     struct err *err)
{
    struct {
        const char *name;
        char *to;
        size_t size;
    } known[] = {{"alias", c->alias, sizeof c->alias},
                 {"from", c->from, sizeof c->from},
                 {"to", c->to, sizeof c->to},
                 {"by", c->by, sizeof c->by}};
    char id[48];
    if (entry->type != REDIS_LIST || entry->len != 2 || entry->item[1]->type != REDIS_LIST)
        return err_set(err, ERR_FORMAT, "%s: an entry that is no [id, fields]", k);
    if (copy_word(entry->item[0], k, id, sizeof id, err) != 0)
        return -1;
    c->unix_ms = strtoll(id, NULL, 10);
    const struct redis_value *fields = entry->item[1];
    for (size_t i = 0; i + 1 < fields->len; i += 2)
        for (size_t j = 0; j < sizeof known / sizeof *known; j++)
            if (fields->item[i]->type == REDIS_TEXT &&
                strcmp(fields->item[i]->text, known[j].name) == 0 &&
                copy_word(fields->item[i + 1], k, known[j].to, known[j].size, err) != 0)
                return -1;
    for (char *b = c->by; *b; b++) /* it is printed */
        *b = (unsigned char)*b < ' ' || *b == 127 ? '?' : *b;
    if (!manifest_word(c->alias, REGISTRY_WORD) || !manifest_is_version(c->to) ||
        (c->from[0] && !manifest_is_version(c->from)))
        return err_set(err, ERR_FORMAT, "%s: %s: not a change of an alias", k, id);
    return 0;
}

/* In pages: all of a long history would be more than one reply may hold. */
enum { PAGE = 1000, MOST = 1000000 };

static int read_page(struct redis_store *s, const char *k, char from[64],
                     struct registry_change **list, size_t *n, bool *more, struct err *err)
{
    struct redis_value *v;
    char most[16];
    (void)snprintf(most, sizeof most, "%d", PAGE);
    if (redis_do(s->conn, REDIS_LIST, false, &v, err, "XRANGE", k, from, "+", "COUNT", most,
                 NULL) != 0)
        return -1;
    *list = xrealloc(*list, (*n + v->len + 1) * sizeof **list);
    int rc = 0;
    for (size_t i = 0; i < v->len && rc == 0; i++) {
        (*list)[*n] = (struct registry_change){0};
        rc = change_of(v->item[i], k, &(*list)[*n], err);
        if (rc == 0) {
            ++*n;
            (void)snprintf(from, 64, "(%.60s", v->item[i]->item[0]->text);
        }
    }
    *more = v->len >= PAGE;
    redis_free(v);
    return rc;
}

int redis_history(void *store, const char *name, struct registry_change **list, size_t *n,
                  struct err *err)
{
    struct registry_change *got = NULL;
    char *k = redis_key(name, "history"), from[64] = "-";
    size_t count = 0;
    bool more = true;
    int rc = 0;
    while (rc == 0 && more && count < MOST)
        rc = read_page(store, k, from, &got, &count, &more, err);
    free(k);
    if (rc != 0) {
        free(got);
        return -1;
    }
    *list = got;
    *n = count;
    return 0;
}
