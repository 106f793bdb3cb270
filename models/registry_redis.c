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
#include "base/file.h"
#include "base/sha256.h"
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

int redis_no_version(const char *url, const char *name, const char *version, struct err *err)
{
    return err_set(err, ERR_MISSING, "%s: rubric:{%s}:version:%s: no such version", url, name,
                   version);
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
                      const char *const *words, char word[REDIS_WORD], struct err *err)
{
    struct redis_value *v;
    if (redis_script(s, script, n_keys, words, REDIS_TEXT, &v, err) != 0)
        return -1;
    (void)snprintf(word, REDIS_WORD, "%s", v->text);
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

static void set_cache(void *store, struct registry_cache *cache,
                      const struct registry_progress *progress)
{
    struct redis_store *s = store;
    s->cache = cache;
    s->progress = progress;
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

/* A push under way. force: send and publish again what is there, for it was found damaged. */
struct push {
    struct redis_store *s;
    const char *name, *dir;
    struct buf lines;
    bool force;
};

/* Sends what the server does not have; leased first, so that gc cannot take it in between. */
static int send_chunk(const struct push *p, const char *sha, const char *data, size_t len,
                      struct err *err)
{
    char *chunk = redis_key_of(p->name, "chunk", sha), *chunks = redis_key(p->name, "chunks"),
         *leases = redis_key(p->name, "leases"), life[24];
    struct redis_value *there = NULL;
    (void)snprintf(life, sizeof life, "%d", LEASE_MS);
    const char *words[] = {leases, chunks, chunk, sha, life, NULL};
    int rc = redis_script(p->s, script_lease, 3, words, REDIS_INT, &there, err);
    if (rc == 0 && (p->force || there->n != (int64_t)len)) {
        struct redis_word set[] = {{"SET", 3}, {chunk, strlen(chunk)}, {data, len}};
        rc = redis_call(p->s->conn, set, 3, REDIS_TEXT, false, NULL, err);
    }
    redis_free(there);
    free(chunk);
    free(chunks);
    free(leases);
    return rc;
}

/* As many bytes as there are, up to n. */
static ssize_t read_block(int fd, char *to, size_t n)
{
    size_t at = 0;
    while (at < n) {
        ssize_t got = read(fd, to + at, n - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        at += (size_t)got;
    }
    return (ssize_t)at;
}

/* Sends a file in chunks; its sum must come out as the manifest has it. */
static int send_file(struct push *p, const struct manifest_entry *e, size_t index, struct err *err)
{
    char *path = file_path("%s/%s", p->dir, e->name), sum[SHA256_HEX], sha[SHA256_HEX];
    char *block = xmalloc(CHUNK_BYTES);
    struct sha256 *whole = sha256_open();
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
    ssize_t got = 0;
    if (fd < 0)
        rc = err_set(err, ERR_IO, "%s: open: %s", path, strerror(errno));
    while (rc == 0 && (got = read_block(fd, block, CHUNK_BYTES)) > 0) {
        sha256_hex(block, (size_t)got, sha);
        sha256_add(whole, block, (size_t)got);
        rc = send_chunk(p, sha, block, (size_t)got, err);
        buf_printf(&p->lines, "%zu %s %zd\n", index, sha, got);
    }
    if (rc == 0 && got < 0)
        rc = err_set(err, ERR_IO, "%s: read: %s", path, strerror(errno));
    sha256_close(whole, sum);
    if (rc == 0 && strcmp(sum, e->sha256) != 0)
        rc = err_set(err, ERR_CONFLICT, "%s: changed while it was sent", path);
    if (fd >= 0)
        (void)close(fd);
    free(block);
    free(path);
    return rc;
}

static int publish(const struct push *p, const struct manifest *m, struct err *err)
{
    char *version = redis_key_of(p->name, "version", m->version),
         *versions = redis_key(p->name, "versions"), *prefix = redis_key(p->name, "");
    char *text = manifest_text(m), word[REDIS_WORD];
    const char *words[] = {version,
                           versions,
                           m->version,
                           text,
                           p->lines.data ? p->lines.data : "",
                           prefix,
                           p->force ? "1" : "",
                           NULL};
    int rc = redis_script_word(p->s, script_publish, 2, words, word, err);
    if (rc == 0 && strcmp(word, "ok") != 0)
        rc = err_set(err, ERR_CONFLICT,
                     "%s: %s: chunks were collected before it was published; push again",
                     p->s->target.url, version);
    free(version);
    free(versions);
    free(prefix);
    free(text);
    return rc;
}

static int verify(void *store, const char *name, const char *version, struct err *err);

static int send_all(struct push *p, const struct manifest *m, struct err *err)
{
    int rc = 0;
    buf_reset(&p->lines);
    for (size_t i = 0; i < m->n && rc == 0; i++)
        rc = send_file(p, &m->files[i], i, err);
    if (rc == 0)
        rc = publish(p, m, err);
    return rc == 0 ? verify(p->s, p->name, m->version, err) : rc; /* written is not kept */
}

static bool damaged(const struct err *err)
{
    return err->code == ERR_FORMAT || err->code == ERR_TRUNCATED || err->code == ERR_INCOMPLETE;
}

static int push(void *store, const char *name, const char *dir, char version[REGISTRY_VERSION],
                struct err *err)
{
    struct push p = {.s = store, .name = name, .dir = dir};
    struct manifest m;
    struct err own;
    err = err ? err : &own;
    if (check_eviction(p.s, err) != 0 || manifest_make(&m, name, dir, err) != 0)
        return -1;
    buf_init(&p.lines, CHUNKS_MAX_TEXT);
    int rc = send_all(&p, &m, err);
    if (rc != 0 && damaged(err)) { /* what was there already: pushing the same content mends it */
        p.force = true;
        rc = send_all(&p, &m, err);
    }
    if (rc == 0)
        memcpy(version, m.version, sizeof m.version);
    buf_done(&p.lines);
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
    if (v->item[0]->len > MANIFEST_MAX_BYTES)
        return err_set(err, ERR_FORMAT, "%s: a manifest of %zu bytes", where, v->item[0]->len);
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
        rc = redis_no_version(s->target.url, name, version, err);
    if (rc == 0)
        rc = parse_version(v, where, name, version, m, chunks, err);
    redis_free(v);
    free(where);
    free(k);
    return rc;
}

/* One chunk, checked; written to fd unless that is < 0. */
static int take_chunk(struct redis_store *s, const char *name, const struct chunk *c, int fd,
                      struct sha256 *whole, struct err *err)
{
    char *k = redis_key_of(name, "chunk", c->sha256), sha[SHA256_HEX] = "";
    struct redis_value *v = NULL;
    int rc = redis_do(s->conn, REDIS_TEXT, true, &v, err, "GET", k, NULL);
    if (rc == 0 && v->type == REDIS_NIL)
        rc = err_set(err, ERR_INCOMPLETE, "%s: %s: the chunk is not there", s->target.url, k);
    if (rc == 0 && v->len != c->bytes)
        rc = err_set(err, v->len < c->bytes ? ERR_TRUNCATED : ERR_FORMAT,
                     "%s: %s: %zu bytes instead of %zu", s->target.url, k, v->len, c->bytes);
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
    if (rc == 0)
        sha256_add(whole, v->text, v->len);
    redis_free(v);
    free(k);
    return rc;
}

/* How much of a version with a chunk missing is there: none of it (published before its chunks,
 * evicted), or some. */
static void say_missing(struct redis_store *s, const struct manifest *m,
                        const struct chunks *chunks, struct err *err)
{
    size_t there = 0;
    for (size_t i = 0; i < chunks->n; i++) {
        char *k = redis_key_of(m->name, "chunk", chunks->list[i].sha256);
        struct redis_value *v = NULL;
        if (redis_do(s->conn, REDIS_INT, false, &v, NULL, "EXISTS", k, NULL) == 0)
            there += v->n > 0;
        redis_free(v);
        free(k);
    }
    (void)err_prefix(err, "%zu of its %zu chunks are there", there, chunks->n);
    if (there == 0)
        err->code = ERR_MISSING;
}

static int64_t bytes_of(const struct manifest *m)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < m->n; i++)
        bytes += m->files[i].bytes;
    return bytes;
}

/* All chunks in turn: into the files of dir, or nowhere when dir is NULL. */
static int take_file(struct redis_store *s, const struct manifest *m, size_t i,
                     const struct chunks *chunks, size_t *at, const char *dir, struct err *err)
{
    char *path = dir ? file_path("%s/%s", dir, m->files[i].name) : NULL, sum[SHA256_HEX];
    int rc = path ? file_mkdirs_below(dir, m->files[i].name, err) : 0,
        fd = path && rc == 0 ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644) : -1;
    struct sha256 *whole = sha256_open();
    int64_t came = 0;
    for (size_t f = 0; f < i; f++)
        came += m->files[f].bytes;
    if (rc == 0 && path && fd < 0)
        rc = err_set(err, ERR_IO, "%s: create: %s", path, strerror(errno));
    for (; rc == 0 && *at < chunks->n && chunks->list[*at].file == i; ++*at) {
        rc = take_chunk(s, m->name, &chunks->list[*at], fd, whole, err);
        came += rc == 0 ? (int64_t)chunks->list[*at].bytes : 0;
        if (rc == 0 && dir && s->progress->at)
            s->progress->at(s->progress->arg, came, bytes_of(m));
    }
    sha256_close(whole, sum);
    if (rc == 0 && strcmp(sum, m->files[i].sha256) != 0)
        rc =
            err_set(err, ERR_FORMAT, "%s: rubric:{%s}:version:%s: the chunks of %s have the sum %s",
                    s->target.url, m->name, m->version, m->files[i].name, sum);
    if (fd >= 0 && (fsync(fd) != 0) + (close(fd) != 0) && rc == 0)
        rc = err_set(err, ERR_IO, "%s: close: %s", path, strerror(errno));
    if (rc == 0 && path && strchr(m->files[i].name, '/'))
        rc = file_sync_above(path, err);
    free(path);
    return rc;
}

static int take_all(struct redis_store *s, const struct manifest *m, const struct chunks *chunks,
                    const char *dir, struct err *err)
{
    struct err own;
    size_t at = 0;
    int rc = 0;
    err = err ? err : &own;
    for (size_t i = 0; i < m->n && rc == 0; i++)
        rc = take_file(s, m, i, chunks, &at, dir, err);
    if (rc != 0 && err->code == ERR_INCOMPLETE)
        say_missing(s, m, chunks, err);
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

static int fetch_into_cache(struct redis_store *s, const struct manifest *m,
                            const struct chunks *chunks, char **dir, struct err *err)
{
    char *tmp;
    int64_t bytes = bytes_of(m);
    if (bytes > s->cache->bytes)
        return err_set(err, ERR_CONFIG, "version %s has %lld bytes, the cache may hold %lld",
                       m->version, (long long)bytes, (long long)s->cache->bytes);
    if (cache_begin(s->cache, m->name, &tmp, err) != 0)
        return -1;
    if (take_all(s, m, chunks, tmp, err) == 0)
        return cache_keep(s->cache, tmp, m, dir, err);
    cache_drop(tmp);
    return -1;
}

static int fetch(void *store, const char *name, const char *version, char **dir, struct err *err)
{
    struct redis_store *s = store;
    struct manifest m;
    struct chunks chunks;
    int found = cache_find(s->cache, name, version, dir, err);
    if (found <= 0)
        return found;
    if (describe(s, name, version, &m, &chunks, err) != 0)
        return -1;
    int rc = fetch_into_cache(s, &m, &chunks, dir, err);
    chunks_done(&chunks);
    manifest_done(&m);
    return rc;
}

static int wait_for_hint(void *store, const char *name, int ms)
{
    struct redis_store *s = store;
    if (!s->hints)
        s->hints = redis_open(&s->target);
    char *channel = file_path("rubric:%s", name);
    int rc = redis_wait(s->hints, channel, ms);
    free(channel);
    if (rc < 0) {
        redis_close(s->hints);
        s->hints = NULL;
        return -1;
    }
    return rc;
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
