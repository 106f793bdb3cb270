/* The registry in Redis; keys and their meaning are in models/registry.h.  Chunks go first, leased
 * so that gc lets them be; the version appears by one script at the end.  What is fetched is checked
 * chunk by chunk against its sum, file by file against the manifest. */
#include "models/registry_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "models/redis.h"
#include "models/registry_chunks.h"
#include "models/registry_scripts.h"

#define LEASE_MS (10 * 60 * 1000)
#define MAX_LISTED 100000

struct store {
    struct redis *redis;
    struct registry_cache *cache;
    struct redis *hints; /* a connection that listens; NULL: none yet */
    char *url;
};

static int redis_backend_open(const char *rest, void **store, struct err *err)
{
    char *url = file_path("redis:%s", rest);
    struct store *s = xcalloc(1, sizeof *s);
    if (redis_open(url, &s->redis, err) != 0) {
        free(url);
        free(s);
        return -1;
    }
    s->url = url;
    *store = s;
    return 0;
}

static void redis_backend_close(void *store)
{
    struct store *s = store;
    redis_close(s->hints);
    redis_close(s->redis);
    free(s->url);
    free(s);
}

static void set_cache(void *store, struct registry_cache *cache)
{
    ((struct store *)store)->cache = cache;
}

static char *key(const char *name, const char *rest)
{
    return file_path("rubric:{%s}:%s", name, rest);
}

static char *key_of(const char *name, const char *kind, const char *id)
{
    return file_path("rubric:{%s}:%s:%s", name, kind, id);
}

/* Runs a script whose answer is a word; ok NULL: the reply is left to the caller in *reply. */
static int run_script(struct store *s, const char *script, size_t n_keys, size_t n,
                      const char *const *words, struct redisReply **reply, struct err *err)
{
    const char *argv[16] = {"EVAL", script, n_keys == 2 ? "2" : n_keys == 3 ? "3" : "4"};
    for (size_t i = 0; i < n; i++)
        argv[3 + i] = words[i];
    return redis_command(s->redis, reply, err, 3 + n, argv, NULL);
}

static int word_of(struct store *s, const char *script, size_t n_keys, size_t n,
                   const char *const *words, char word[16], struct err *err)
{
    struct redisReply *reply;
    const char *text;
    size_t len;
    if (run_script(s, script, n_keys, n, words, &reply, err) != 0)
        return -1;
    int rc = redis_text(reply, "the script's answer", &text, &len, err);
    if (rc == 0)
        (void)snprintf(word, 16, "%.*s", (int)len, text);
    redis_free(reply);
    return rc;
}

static int missing(const struct store *s, const char *name, const char *version, struct err *err)
{
    return err_set(err, ERR_MISSING, "%s: rubric:{%s}:version:%s: no such version",
                   redis_address(s->redis), name, version);
}

/* What could drop a model silently. */
static int check_eviction(struct store *s, struct err *err)
{
    struct redisReply *reply;
    const char *text, *policy, *limit;
    size_t len;
    if (redis_call(s->redis, &reply, err, "INFO", "memory", NULL) != 0)
        return -1;
    int rc = redis_text(reply, "INFO memory", &text, &len, err);
    if (rc == 0 && (policy = strstr(text, "maxmemory_policy:allkeys-")) &&
        (limit = strstr(text, "\nmaxmemory:")) && strtoll(limit + 11, NULL, 10) > 0)
        rc = err_set(err, ERR_CONFIG,
                     "%s: maxmemory-policy is %.*s with maxmemory set: Redis may drop parts of a "
                     "model without a word; use noeviction or volatile-*",
                     redis_address(s->redis), (int)strcspn(policy + 17, "\r\n"), policy + 17);
    redis_free(reply);
    return rc;
}

/* Sends what the server does not have; leased first, so that gc cannot take it in between. */
static int send_chunk(struct store *s, const char *name, const char *sha, const char *data,
                      size_t len, struct err *err)
{
    char *chunk = key_of(name, "chunk", sha), *chunks = key(name, "chunks"),
         *leases = key(name, "leases"), until[24];
    struct redisReply *reply = NULL;
    int64_t there = 0;
    (void)snprintf(until, sizeof until, "%" PRId64, clock_wall_ms() + LEASE_MS);
    int rc = redis_call(s->redis, &reply, err, "ZADD", leases, until, sha, NULL);
    redis_free(reply);
    if (rc == 0 && (rc = redis_call(s->redis, &reply, err, "STRLEN", chunk, NULL)) == 0) {
        rc = redis_number(reply, chunk, &there, err);
        redis_free(reply);
    }
    if (rc == 0 && there != (int64_t)len) {
        const char *words[] = {"SET", chunk, data};
        const size_t lens[] = {3, strlen(chunk), len};
        if ((rc = redis_command(s->redis, &reply, err, 3, words, lens)) == 0)
            redis_free(reply);
    }
    if (rc == 0 && (rc = redis_call(s->redis, &reply, err, "SADD", chunks, sha, NULL)) == 0)
        redis_free(reply);
    free(chunk);
    free(chunks);
    free(leases);
    return rc;
}

static int send_file(struct store *s, const char *name, const char *path, size_t index,
                     int64_t bytes, struct buf *lines, struct err *err)
{
    struct file_map map;
    if (file_map_open(&map, path, err) != 0)
        return -1;
    int rc = (int64_t)map.len == bytes
                 ? 0
                 : err_set(err, ERR_CONFLICT, "%s: changed while it was sent", path);
    for (size_t at = 0; at < map.len && rc == 0; at += CHUNK_BYTES) {
        size_t n = map.len - at < CHUNK_BYTES ? map.len - at : CHUNK_BYTES;
        char sha[SHA256_HEX], *copy = xmalloc(n);
        memcpy(copy, (const char *)map.data + at, n); /* what is summed is what is sent */
        sha256_hex(copy, n, sha);
        rc = send_chunk(s, name, sha, copy, n, err);
        buf_printf(lines, "%zu %s %zu\n", index, sha, n);
        free(copy);
    }
    file_map_close(&map);
    return rc;
}

static int publish(struct store *s, const char *name, const struct manifest *m,
                   const struct buf *lines, struct err *err)
{
    char *version = key_of(name, "version", m->version), *versions = key(name, "versions");
    char *text = manifest_text(m), now[24], word[16];
    (void)snprintf(now, sizeof now, "%" PRId64, clock_wall_ms());
    const char *words[] = {version, versions, m->version, text, lines->data, now};
    int rc = word_of(s, script_publish, 2, 6, words, word, err);
    free(version);
    free(versions);
    free(text);
    return rc;
}

static int verify(void *store, const char *name, const char *version, struct err *err);

static int push(void *store, const char *name, const char *dir, char version[REGISTRY_VERSION],
                struct err *err)
{
    struct store *s = store;
    struct manifest m, again;
    struct buf lines;
    if (check_eviction(s, err) != 0 || manifest_make(&m, name, dir, err) != 0)
        return -1;
    buf_init(&lines, CHUNKS_MAX_TEXT);
    int rc = 0;
    for (size_t i = 0; i < m.n && rc == 0; i++) {
        char *path = file_path("%s/%s", dir, m.files[i].name);
        rc = send_file(s, name, path, i, m.files[i].bytes, &lines, err);
        free(path);
    }
    if (rc == 0 && (rc = manifest_make(&again, name, dir, err)) == 0) {
        if (strcmp(again.version, m.version) != 0)
            rc = err_set(err, ERR_CONFLICT, "%s: changed while it was sent", dir);
        manifest_done(&again);
    }
    if (rc == 0)
        rc = publish(s, name, &m, &lines, err);
    if (rc == 0)
        rc = verify(s, name, m.version, err); /* written is not kept: read it back */
    if (rc == 0)
        memcpy(version, m.version, sizeof m.version);
    buf_done(&lines);
    manifest_done(&m);
    return rc;
}

/* The manifest and the chunks of a version, both checked. */
static int describe(struct store *s, const char *name, const char *version, struct manifest *m,
                    struct chunks *chunks, struct err *err)
{
    char *k = key_of(name, "version", version),
         *where = file_path("%s: %s", redis_address(s->redis), k);
    struct redisReply *reply = NULL;
    const char *text, *lines;
    size_t n, text_len, lines_len;
    int rc = redis_call(s->redis, &reply, err, "HMGET", k, "manifest", "chunks", NULL);
    if (rc == 0)
        rc = redis_list(reply, where, &n, err);
    if (rc == 0 && n != 2)
        rc = err_set(err, ERR_FORMAT, "%s: %zu fields instead of 2", where, n);
    if (rc == 0 && redis_is_nil(redis_at(reply, 0)))
        rc = missing(s, name, version, err);
    if (rc == 0 && (redis_text(redis_at(reply, 0), where, &text, &text_len, err) != 0 ||
                    redis_text(redis_at(reply, 1), where, &lines, &lines_len, err) != 0 ||
                    manifest_parse(m, where, text, text_len, err) != 0))
        rc = -1;
    else if (rc == 0) {
        if (strcmp(m->name, name) != 0 || strcmp(m->version, version) != 0)
            rc = err_set(err, ERR_CONFLICT, "%s: is of %s %s", where, m->name, m->version);
        if (rc == 0)
            rc = chunks_parse(chunks, m, where, lines, lines_len, err);
        if (rc != 0)
            manifest_done(m);
    }
    redis_free(reply);
    free(where);
    free(k);
    return rc;
}

/* One chunk, checked; written to fd unless that is < 0. */
static int take_chunk(struct store *s, const char *name, const struct chunk *c, int fd,
                      struct err *err)
{
    char *k = key_of(name, "chunk", c->sha256), sha[SHA256_HEX];
    struct redisReply *reply = NULL;
    const char *data;
    size_t len;
    int rc = redis_call(s->redis, &reply, err, "GET", k, NULL);
    if (rc == 0 && redis_is_nil(reply))
        rc =
            err_set(err, ERR_MISSING, "%s: %s: the chunk is not there", redis_address(s->redis), k);
    if (rc == 0)
        rc = redis_text(reply, k, &data, &len, err);
    if (rc == 0 && len != c->bytes)
        rc = err_set(err, ERR_FORMAT, "%s: %s: %zu bytes instead of %zu", redis_address(s->redis),
                     k, len, c->bytes);
    if (rc == 0) {
        sha256_hex(data, len, sha);
        if (strcmp(sha, c->sha256) != 0)
            rc = err_set(err, ERR_FORMAT, "%s: %s: its bytes have the sum %s",
                         redis_address(s->redis), k, sha);
    }
    for (size_t at = 0; rc == 0 && fd >= 0 && at < len;) {
        ssize_t put = write(fd, data + at, len - at);
        if (put >= 0)
            at += (size_t)put;
        else if (errno != EINTR)
            rc = err_set(err, ERR_IO, "cache: write: %s", strerror(errno));
    }
    redis_free(reply);
    free(k);
    return rc;
}

/* All chunks in turn: into the files of dir, or nowhere when dir is NULL. */
static int take_all(struct store *s, const struct manifest *m, const struct chunks *chunks,
                    const char *dir, struct err *err)
{
    size_t at = 0;
    int rc = 0;
    for (size_t i = 0; i < m->n && rc == 0; i++) {
        char *path = dir ? file_path("%s/%s", dir, m->files[i].name) : NULL;
        int fd = path ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644) : -1;
        if (path && fd < 0)
            rc = err_set(err, ERR_IO, "%s: create: %s", path, strerror(errno));
        for (; rc == 0 && at < chunks->n && chunks->list[at].file == i; at++)
            rc = take_chunk(s, m->name, &chunks->list[at], fd, err);
        if (fd >= 0 && (fsync(fd) != 0) + (close(fd) != 0) && rc == 0)
            rc = err_set(err, ERR_IO, "%s: close: %s", path, strerror(errno));
        free(path);
    }
    return rc;
}

static int verify(void *store, const char *name, const char *version, struct err *err)
{
    struct manifest m;
    struct chunks chunks;
    if (describe(store, name, version, &m, &chunks, err) != 0)
        return -1;
    int rc = take_all(store, &m, &chunks, NULL, err);
    chunks_done(&chunks);
    manifest_done(&m);
    return rc;
}

static int fetch(void *store, const char *name, const char *version, char **dir, struct err *err)
{
    struct store *s = store;
    struct manifest m;
    struct chunks chunks;
    char *tmp;
    int found = cache_find(s->cache, name, version, dir, err);
    if (found <= 0)
        return found;
    if (describe(s, name, version, &m, &chunks, err) != 0)
        return -1;
    int rc = cache_begin(s->cache, name, &tmp, err);
    if (rc == 0) {
        rc = take_all(s, &m, &chunks, tmp, err);
        if (rc == 0)
            rc = cache_keep(s->cache, tmp, &m, dir, err);
        else
            cache_drop(tmp);
    }
    chunks_done(&chunks);
    manifest_done(&m);
    return rc;
}

static int set_alias(void *store, const char *name, const char *alias, const char *version,
                     const char *expect, const char *by, struct err *err)
{
    struct store *s = store;
    char word[16];
    if (verify(s, name, version, err) != 0)
        return -1;
    char *versions = key(name, "versions"), *aliases = key(name, "aliases"),
         *history = key(name, "history"), *channel = file_path("rubric:%s", name);
    const char *words[] = {versions, aliases, history, alias, version, expect ? expect : "",
                           by,       channel};
    int rc = word_of(s, script_alias, 3, 8, words, word, err);
    free(channel);
    if (rc == 0 && strcmp(word, "missing") == 0)
        rc = missing(s, name, version, err);
    else if (rc == 0 && strcmp(word, "ok") != 0)
        rc = err_set(err, ERR_CONFLICT, "%s: %s: %s names %s no more", redis_address(s->redis),
                     aliases, alias, expect ? expect : "it");
    free(versions);
    free(aliases);
    free(history);
    return rc;
}

static int resolve(void *store, const char *name, const char *what, char version[REGISTRY_VERSION],
                   struct err *err)
{
    struct store *s = store;
    bool direct = manifest_is_version(what);
    char *aliases = key(name, "aliases"), *versions = key(name, "versions");
    char found[REGISTRY_VERSION] = "";
    struct redisReply *reply = NULL;
    const char *text = what;
    size_t len = strlen(what);
    int rc = 0;
    if (!direct) {
        rc = redis_call(s->redis, &reply, err, "HGET", aliases, what, NULL);
        if (rc == 0 && redis_is_nil(reply))
            rc = err_set(err, ERR_MISSING, "%s: %s: no alias %s", redis_address(s->redis), aliases,
                         what);
        if (rc == 0)
            rc = redis_text(reply, aliases, &text, &len, err);
    }
    if (rc == 0 && (len != REGISTRY_VERSION - 1 || !manifest_is_version(text)))
        rc = err_set(err, ERR_FORMAT, "%s: %s: %s is no version", redis_address(s->redis), aliases,
                     what);
    if (rc == 0)
        memcpy(found, text, REGISTRY_VERSION);
    redis_free(reply);
    reply = NULL;
    if (rc == 0 && (rc = redis_call(s->redis, &reply, err, "ZSCORE", versions, found, NULL)) == 0 &&
        redis_is_nil(reply)) {
        rc = direct ? missing(s, name, found, err)
                    : err_set(err, ERR_CONFLICT, "%s: %s: %s points to %s, which does not exist",
                              redis_address(s->redis), aliases, what, found);
    }
    redis_free(reply);
    if (rc == 0)
        memcpy(version, found, sizeof found);
    free(aliases);
    free(versions);
    return rc;
}

/* The versions in a reply's list. */
static int versions_of(const struct redisReply *reply, const char *what, char ***versions,
                       size_t *n, struct err *err)
{
    size_t count;
    if (redis_list(reply, what, &count, err) != 0)
        return -1;
    if (count > MAX_LISTED)
        return err_set(err, ERR_FORMAT, "%s: %zu versions", what, count);
    char **list = xcalloc(count + 1, sizeof *list);
    for (size_t i = 0; i < count; i++) {
        const char *text;
        size_t len;
        if (redis_text(redis_at(reply, i), what, &text, &len, err) != 0 ||
            (!manifest_is_version(text) && err_set(err, ERR_FORMAT, "%s: no version", what) != 0)) {
            while (i-- > 0)
                free(list[i]);
            free(list);
            return -1;
        }
        list[i] = xstrdup(text);
    }
    *versions = list;
    *n = count;
    return 0;
}

static int list(void *store, const char *name, char ***versions, size_t *n, struct err *err)
{
    struct store *s = store;
    struct redisReply *reply;
    char *k = key(name, "versions");
    int rc = redis_call(s->redis, &reply, err, "ZRANGE", k, "0", "-1", NULL);
    if (rc == 0) {
        rc = versions_of(reply, k, versions, n, err);
        redis_free(reply);
    }
    free(k);
    return rc;
}

static int remove_version(void *store, const char *name, const char *version, struct err *err)
{
    struct store *s = store;
    char *versions = key(name, "versions"), *aliases = key(name, "aliases"),
         *own = key_of(name, "version", version), word[16];
    const char *words[] = {versions, aliases, own, version};
    int rc = word_of(s, script_remove, 3, 4, words, word, err);
    if (rc == 0 && strcmp(word, "missing") == 0)
        rc = missing(s, name, version, err);
    else if (rc == 0 && strcmp(word, "ok") != 0)
        rc = err_set(err, ERR_CONFLICT, "%s: %s: an alias names it", redis_address(s->redis), own);
    free(versions);
    free(aliases);
    free(own);
    return rc;
}

static int gc(void *store, const char *name, int keep, char ***removed, size_t *n, struct err *err)
{
    struct store *s = store;
    char *versions = key(name, "versions"), *aliases = key(name, "aliases"),
         *chunks = key(name, "chunks"), *leases = key(name, "leases"), *prefix = key(name, "");
    char most[16], now[24];
    struct redisReply *reply;
    (void)snprintf(most, sizeof most, "%d", keep);
    (void)snprintf(now, sizeof now, "%" PRId64, clock_wall_ms());
    const char *words[] = {versions, aliases, chunks, leases, prefix, most, now};
    int rc = run_script(s, script_gc, 4, 7, words, &reply, err);
    if (rc == 0) {
        rc = versions_of(reply, "gc", removed, n, err);
        redis_free(reply);
    }
    free(versions);
    free(aliases);
    free(chunks);
    free(leases);
    free(prefix);
    return rc;
}

static int copy_word(const struct redisReply *r, const char *what, char *to, size_t size,
                     struct err *err)
{
    const char *text;
    size_t len;
    if (redis_text(r, what, &text, &len, err) != 0)
        return -1;
    if (len >= size || strlen(text) != len)
        return err_set(err, ERR_FORMAT, "%s: %.100s: expected less than %zu bytes", what, text,
                       size);
    memcpy(to, text, len + 1);
    return 0;
}

static int aliases_of(void *store, const char *name, struct registry_alias **all, size_t *n,
                      struct err *err)
{
    struct store *s = store;
    struct redisReply *reply;
    char *k = key(name, "aliases");
    size_t count = 0;
    int rc = redis_call(s->redis, &reply, err, "HGETALL", k, NULL);
    if (rc == 0) {
        rc = redis_list(reply, k, &count, err);
        struct registry_alias *got = xcalloc(count / 2 + 1, sizeof *got);
        for (size_t i = 0; i + 1 < count && rc == 0; i += 2)
            if (copy_word(redis_at(reply, i), k, got[i / 2].alias, sizeof got->alias, err) != 0 ||
                copy_word(redis_at(reply, i + 1), k, got[i / 2].version, sizeof got->version,
                          err) != 0)
                rc = -1;
        redis_free(reply);
        if (rc == 0) {
            *all = got;
            *n = count / 2;
        } else {
            free(got);
        }
    }
    free(k);
    return rc;
}

/* One entry of the stream: [id, [field, value, …]] with fields in any order. */
static int change_of(const struct redisReply *entry, const char *k, struct registry_change *c,
                     struct err *err)
{
    char id[48], field[16];
    size_t n;
    if (redis_list(entry, k, &n, err) != 0)
        return -1;
    if (n != 2)
        return err_set(err, ERR_FORMAT, "%s: an entry of %zu parts", k, n);
    const struct redisReply *fields = redis_at(entry, 1);
    if (copy_word(redis_at(entry, 0), k, id, sizeof id, err) != 0 ||
        redis_list(fields, k, &n, err) != 0)
        return -1;
    c->unix_ms = strtoll(id, NULL, 10);
    for (size_t i = 0; i + 1 < n; i += 2) {
        struct {
            const char *name;
            char *to;
            size_t size;
        } known[] = {{"alias", c->alias, sizeof c->alias},
                     {"from", c->from, sizeof c->from},
                     {"to", c->to, sizeof c->to},
                     {"by", c->by, sizeof c->by}};
        if (copy_word(redis_at(fields, i), k, field, sizeof field, err) != 0)
            return -1;
        for (size_t j = 0; j < 4; j++)
            if (strcmp(field, known[j].name) == 0 &&
                copy_word(redis_at(fields, i + 1), k, known[j].to, known[j].size, err) != 0)
                return -1;
    }
    return 0;
}

static int history(void *store, const char *name, struct registry_change **all, size_t *n,
                   struct err *err)
{
    struct store *s = store;
    struct redisReply *reply;
    char *k = key(name, "history");
    size_t count = 0;
    int rc = redis_call(s->redis, &reply, err, "XRANGE", k, "-", "+", NULL);
    if (rc == 0) {
        rc = redis_list(reply, k, &count, err);
        struct registry_change *got = xcalloc(count + 1, sizeof *got);
        for (size_t i = 0; i < count && rc == 0; i++)
            rc = change_of(redis_at(reply, i), k, &got[i], err);
        redis_free(reply);
        if (rc == 0) {
            *all = got;
            *n = count;
        } else {
            free(got);
        }
    }
    free(k);
    return rc;
}

static int wait_for_hint(void *store, const char *name, int ms)
{
    struct store *s = store;
    if (!s->hints) {
        char *channel = file_path("rubric:%s", name);
        int rc = redis_open(s->url, &s->hints, NULL);
        if (rc == 0)
            rc = redis_subscribe(s->hints, channel, NULL);
        free(channel);
        if (rc != 0) {
            redis_close(s->hints);
            s->hints = NULL;
            return -1;
        }
        return 1; /* what changed before it listened is not known */
    }
    int rc = redis_wait(s->hints, ms);
    if (rc < 0) {
        redis_close(s->hints);
        s->hints = NULL;
    }
    return rc;
}

const struct registry_backend registry_redis = {
    .scheme = "redis",
    .form = "redis://HOST:PORT/DB",
    .open = redis_backend_open,
    .close = redis_backend_close,
    .push = push,
    .set_alias = set_alias,
    .resolve = resolve,
    .fetch = fetch,
    .list = list,
    .verify = verify,
    .aliases = aliases_of,
    .history = history,
    .remove = remove_version,
    .gc = gc,
    .set_cache = set_cache,
    .wait = wait_for_hint,
};
