/* The registry in Redis; keys and their meaning are in models/registry.h.  Chunks go first, leased
 * so that gc lets them be; the version appears by one script at the end.  What is fetched is checked
 * chunk by chunk against its sum, file by file against the manifest. */
#include "models/registry_redis.h"

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
#include "models/registry_chunks.h"
#include "models/registry_scripts.h"

enum { LEASE_MS = 10 * 60 * 1000, MAX_WORDS = 16 };

char *redis_key(const char *name, const char *rest)
{
    return file_path("rubric:{%s}:%s", name, rest);
}

char *redis_key_of(const char *name, const char *kind, const char *id)
{
    return file_path("rubric:{%s}:%s:%s", name, kind, id);
}

int redis_no_version(const struct redis_store *s, const char *name, const char *version,
                     struct err *err)
{
    return err_set(err, ERR_MISSING, "%s: rubric:{%s}:version:%s: no such version", s->target.url,
                   name, version);
}

int redis_script(struct redis_store *s, const char *script, int n_keys, const char *const *words,
                 enum redis_type want, struct redis_value **out, struct err *err)
{
    char keys[12];
    struct redis_word argv[MAX_WORDS] = {{"EVAL", 4}, {script, strlen(script)}};
    int n = 3;
    argv[2] = (struct redis_word){keys, (size_t)snprintf(keys, sizeof keys, "%d", n_keys)};
    for (; *words; words++, n++) {
        if (n == MAX_WORDS)
            return err_set(err, ERR_USAGE, "a script with more than %d words", MAX_WORDS - 3);
        argv[n] = (struct redis_word){*words, strlen(*words)};
    }
    return redis_call(s->conn, argv, n, want, false, out, err);
}

int redis_script_word(struct redis_store *s, const char *script, int n_keys,
                      const char *const *words, char word[16], struct err *err)
{
    struct redis_value *v;
    if (redis_script(s, script, n_keys, words, REDIS_TEXT, &v, err) != 0)
        return -1;
    (void)snprintf(word, 16, "%s", v->text);
    redis_free(v);
    return 0;
}

static int store_open(const char *rest, void **store, struct err *err)
{
    char *url = file_path("redis:%s", rest);
    struct redis_store *s = xcalloc(1, sizeof *s);
    int rc = redis_target_parse(url, &s->target, err);
    explicit_bzero(url, strlen(url)); /* it may hold a password */
    free(url);
    if (rc != 0) {
        free(s);
        return -1;
    }
    s->target.cancelled = &s->cancelled;
    s->conn = redis_open(&s->target);
    *store = s;
    return 0;
}

static void store_close(void *store)
{
    struct redis_store *s = store;
    redis_close(s->hints);
    redis_close(s->conn);
    redis_target_done(&s->target);
    free(s);
}

static void set_cache(void *store, struct registry_cache *cache)
{
    ((struct redis_store *)store)->cache = cache;
}

static void cancel(void *store)
{
    atomic_store(&((struct redis_store *)store)->cancelled, true);
}

/* What could drop a model silently. */
static int check_eviction(struct redis_store *s, struct err *err)
{
    struct redis_value *v;
    const char *policy, *limit;
    int rc = 0;
    if (redis_do(s->conn, REDIS_TEXT, false, &v, err, "INFO", "memory", NULL) != 0)
        return -1;
    if ((policy = strstr(v->text, "maxmemory_policy:allkeys-")) &&
        (limit = strstr(v->text, "\nmaxmemory:")) && strtoll(limit + 11, NULL, 10) > 0)
        rc = err_set(err, ERR_CONFIG,
                     "%s: maxmemory-policy is %.*s with maxmemory set: Redis may drop parts of a "
                     "model without a word; use noeviction or volatile-*",
                     s->target.url, (int)strcspn(policy + 17, "\r\n"), policy + 17);
    redis_free(v);
    return rc;
}

/* Sends what the server does not have; leased first, so that gc cannot take it in between. */
static int send_chunk(struct redis_store *s, const char *name, const char *sha, const char *data,
                      size_t len, struct err *err)
{
    char *chunk = redis_key_of(name, "chunk", sha), *chunks = redis_key(name, "chunks"),
         *leases = redis_key(name, "leases"), until[24];
    struct redis_value *there = NULL;
    (void)snprintf(until, sizeof until, "%" PRId64, clock_wall_ms() + LEASE_MS);
    int rc = redis_do(s->conn, REDIS_INT, false, NULL, err, "ZADD", leases, until, sha, NULL);
    if (rc == 0)
        rc = redis_do(s->conn, REDIS_INT, false, &there, err, "STRLEN", chunk, NULL);
    if (rc == 0 && there->n != (int64_t)len) {
        struct redis_word words[] = {{"SET", 3}, {chunk, strlen(chunk)}, {data, len}};
        rc = redis_call(s->conn, words, 3, REDIS_TEXT, false, NULL, err);
    }
    if (rc == 0)
        rc = redis_do(s->conn, REDIS_INT, false, NULL, err, "SADD", chunks, sha, NULL);
    redis_free(there);
    free(chunk);
    free(chunks);
    free(leases);
    return rc;
}

static int send_file(struct redis_store *s, const char *name, const char *path, size_t index,
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

static int publish(struct redis_store *s, const char *name, const struct manifest *m,
                   const struct buf *lines, struct err *err)
{
    char *version = redis_key_of(name, "version", m->version),
         *versions = redis_key(name, "versions");
    char *text = manifest_text(m), now[24], word[16];
    (void)snprintf(now, sizeof now, "%" PRId64, clock_wall_ms());
    const char *words[] = {version, versions, m->version, text, lines->data ? lines->data : "",
                           now,     NULL};
    int rc = redis_script_word(s, script_publish, 2, words, word, err);
    free(version);
    free(versions);
    free(text);
    return rc;
}

static int verify(void *store, const char *name, const char *version, struct err *err);

static int push(void *store, const char *name, const char *dir, char version[REGISTRY_VERSION],
                struct err *err)
{
    struct redis_store *s = store;
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
static int parse_version(const struct redis_value *v, const char *where, const char *name,
                         const char *version, struct manifest *m, struct chunks *chunks,
                         struct err *err)
{
    if (v->item[0]->type != REDIS_TEXT || v->item[1]->type != REDIS_TEXT)
        return err_set(err, ERR_FORMAT, "%s: manifest and chunks are no texts", where);
    if (manifest_parse(m, where, v->item[0]->text, v->item[0]->len, err) != 0)
        return -1;
    int rc = 0;
    if (strcmp(m->name, name) != 0 || strcmp(m->version, version) != 0)
        rc = err_set(err, ERR_CONFLICT, "%s: is of %s %s", where, m->name, m->version);
    if (rc == 0)
        rc = chunks_parse(chunks, m, where, v->item[1]->text, v->item[1]->len, err);
    if (rc != 0)
        manifest_done(m);
    return rc;
}

static int describe(struct redis_store *s, const char *name, const char *version,
                    struct manifest *m, struct chunks *chunks, struct err *err)
{
    char *k = redis_key_of(name, "version", version),
         *where = file_path("%s: %s", s->target.url, k);
    struct redis_value *v = NULL;
    int rc = redis_do(s->conn, REDIS_LIST, false, &v, err, "HMGET", k, "manifest", "chunks", NULL);
    if (rc == 0 && v->len != 2)
        rc = err_set(err, ERR_FORMAT, "%s: %zu fields instead of 2", where, v->len);
    if (rc == 0 && v->item[0]->type == REDIS_NIL)
        rc = redis_no_version(s, name, version, err);
    if (rc == 0)
        rc = parse_version(v, where, name, version, m, chunks, err);
    redis_free(v);
    free(where);
    free(k);
    return rc;
}

/* One chunk, checked; written to fd unless that is < 0. */
static int take_chunk(struct redis_store *s, const char *name, const struct chunk *c, int fd,
                      struct err *err)
{
    char *k = redis_key_of(name, "chunk", c->sha256), sha[SHA256_HEX] = "";
    struct redis_value *v = NULL;
    int rc = redis_do(s->conn, REDIS_TEXT, true, &v, err, "GET", k, NULL);
    if (rc == 0 && v->type == REDIS_NIL)
        rc = err_set(err, ERR_MISSING, "%s: %s: the chunk is not there", s->target.url, k);
    if (rc == 0 && v->len != c->bytes)
        rc = err_set(err, ERR_FORMAT, "%s: %s: %zu bytes instead of %zu", s->target.url, k, v->len,
                     c->bytes);
    if (rc == 0) {
        sha256_hex(v->text, v->len, sha);
        if (strcmp(sha, c->sha256) != 0)
            rc = err_set(err, ERR_FORMAT, "%s: %s: its bytes have the sum %s", s->target.url, k,
                         sha);
    }
    for (size_t at = 0; rc == 0 && fd >= 0 && at < v->len;) {
        ssize_t put = write(fd, v->text + at, v->len - at);
        if (put >= 0)
            at += (size_t)put;
        else if (errno != EINTR)
            rc = err_set(err, ERR_IO, "cache: write: %s", strerror(errno));
    }
    redis_free(v);
    free(k);
    return rc;
}

/* All chunks in turn: into the files of dir, or nowhere when dir is NULL. */
static int take_all(struct redis_store *s, const struct manifest *m, const struct chunks *chunks,
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
    struct redis_store *s = store;
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

static int wait_for_hint(void *store, const char *name, int ms)
{
    struct redis_store *s = store;
    bool new = !s->hints;
    if (new)
        s->hints = redis_open(&s->target);
    char *channel = file_path("rubric:%s", name);
    int rc = redis_wait(s->hints, channel, new ? 0 : ms);
    free(channel);
    if (rc < 0) {
        redis_close(s->hints);
        s->hints = NULL;
        return -1;
    }
    return new ? 1 : rc; /* what changed before it listened is not known */
}

const struct registry_backend registry_redis = {
    .scheme = "redis",
    .form = "redis://HOST:PORT/DB",
    .open = store_open,
    .close = store_close,
    .push = push,
    .set_alias = redis_set_alias,
    .resolve = redis_resolve,
    .fetch = fetch,
    .list = redis_list,
    .verify = verify,
    .aliases = redis_aliases,
    .history = redis_history,
    .remove = redis_remove,
    .gc = redis_gc,
    .set_cache = set_cache,
    .wait = wait_for_hint,
    .cancel = cancel,
};
