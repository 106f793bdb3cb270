#include "models/redis.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"

#define CONNECT_SECONDS 3
#define COMMAND_SECONDS 10 /* of a chunk or a script */
#define MAX_WORDS 16

struct redis {
    char *host, *user, *password, *address;
    int port, db;
    redisContext *c; /* NULL: not connected */
};

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 32);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A percent-encoded part of the URL, malloc'd; NULL when its encoding is broken. */
static char *part(const char *s, size_t n)
{
    char *out = xmalloc(n + 1);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        out[k] = s[i];
        if (s[i] == '%') {
            if (i + 2 >= n)
                goto broken;
            int a = hex(s[i + 1]), b = hex(s[i + 2]);
            if (a < 0 || b < 0 || (a | b) == 0)
                goto broken;
            out[k] = (char)(a * 16 + b);
            i += 2;
        }
        k++;
    }
    out[k] = '\0';
    return out;
broken:
    free(out);
    return NULL;
}

static int number(const char *s, size_t n, long max)
{
    long v = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9' || v > max)
            return -1;
        v = v * 10 + (s[i] - '0');
    }
    return n && v <= max ? (int)v : -1;
}

/* The URL is never printed: it may hold a password. */
static int parse(struct redis *r, const char *url, struct err *err)
{
    static const char form[] = "expected redis://[user][:password]@host[:port][/db]";
    if (strncmp(url, "redis://", 8) != 0)
        return err_set(err, ERR_CONFIG, "registry: %s", form);
    const char *s = url + 8, *end = s + strcspn(s, "/"), *at = NULL;
    for (const char *p = s; p < end; p++)
        at = *p == '@' ? p : at;
    if (at) {
        const char *colon = memchr(s, ':', (size_t)(at - s));
        const char *user_end = colon ? colon : at;
        r->user = part(s, (size_t)(user_end - s));
        r->password = colon ? part(colon + 1, (size_t)(at - colon - 1)) : NULL;
        if (!r->user || (colon && !r->password))
            return err_set(err, ERR_CONFIG, "registry: bad percent-encoding before '@'");
        s = at + 1;
    }
    const char *host_end = *s == '[' ? memchr(s, ']', (size_t)(end - s)) : NULL;
    const char *host = host_end ? s + 1 : s;
    const char *colon =
        memchr(host_end ? host_end : s, ':', (size_t)(end - (host_end ? host_end : s)));
    if (!host_end)
        host_end = colon ? colon : end;
    r->host = part(host, (size_t)(host_end - host));
    r->port = colon ? number(colon + 1, (size_t)(end - colon - 1), 65535) : 6379;
    r->db = *end && end[1] ? number(end + 1, strlen(end + 1), 1 << 20) : 0;
    if (!r->host || !*r->host || r->port <= 0 || r->db < 0)
        return err_set(err, ERR_CONFIG, "registry: %s", form);
    return 0;
}

static int find_password(struct redis *r, struct err *err)
{
    const char *direct = getenv("RUBRIC_REDIS_PASSWORD");
    const char *path = getenv("RUBRIC_REDIS_PASSWORD_FILE");
    if (r->password || (!direct && !path))
        return 0;
    if (direct) {
        r->password = xstrdup(direct);
        return 0;
    }
    if (file_read(path, 4096, &r->password, NULL, err) != 0)
        return err_prefix(err, "RUBRIC_REDIS_PASSWORD_FILE");
    r->password[strcspn(r->password, "\r\n")] = '\0';
    return 0;
}

int redis_open(const char *url, struct redis **out, struct err *err)
{
    struct redis *r = xcalloc(1, sizeof *r);
    if (parse(r, url, err) != 0 || find_password(r, err) != 0) {
        redis_close(r);
        return -1;
    }
    r->address = file_path("redis://%s:%d/%d", r->host, r->port, r->db);
    *out = r;
    return 0;
}

static void drop(struct redis *r)
{
    if (r->c)
        redisFree(r->c);
    r->c = NULL;
}

void redis_close(struct redis *r)
{
    if (!r)
        return;
    drop(r);
    if (r->password)
        explicit_bzero(r->password, strlen(r->password));
    free(r->host);
    free(r->user);
    free(r->password);
    free(r->address);
    free(r);
}

const char *redis_address(const struct redis *r)
{
    return r->address;
}

static int lost(struct redis *r, struct err *err, const char *why)
{
    (void)err_set(err, ERR_UNAVAILABLE, "%s: %s", r->address, why);
    if (err)
        err->retriable = true;
    drop(r);
    return -1;
}

/* The reply of a command on a live connection, or NULL with err. */
static redisReply *exchange(struct redis *r, size_t n, const char *const *words, const size_t *lens,
                            struct err *err)
{
    size_t own[MAX_WORDS];
    const char *argv[MAX_WORDS];
    for (size_t i = 0; i < n; i++) {
        own[i] = lens ? lens[i] : strlen(words[i]);
        argv[i] = words[i];
    }
    redisReply *reply = redisCommandArgv(r->c, (int)n, argv, own);
    if (!reply) {
        (void)lost(r, err, r->c->errstr);
        return NULL;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        bool later = strncmp(reply->str, "LOADING", 7) == 0 ||
                     strncmp(reply->str, "BUSY", 4) == 0 ||
                     strncmp(reply->str, "MASTERDOWN", 10) == 0;
        (void)err_set(err, later ? ERR_UNAVAILABLE : ERR_CONFIG, "%s: %s: %.300s", r->address,
                      words[0], reply->str);
        freeReplyObject(reply);
        return NULL;
    }
    return reply;
}

static int say(struct redis *r, size_t n, const char *const *words, struct err *err)
{
    redisReply *reply = exchange(r, n, words, NULL, err);
    if (reply)
        freeReplyObject(reply);
    else
        drop(r);
    return reply ? 0 : -1;
}

static int connect_to(struct redis *r, struct err *err)
{
    char db[16];
    r->c = redisConnectWithTimeout(r->host, r->port, (struct timeval){CONNECT_SECONDS, 0});
    if (!r->c || r->c->err)
        return lost(r, err, r->c ? r->c->errstr : "out of memory");
    (void)redisSetTimeout(r->c, (struct timeval){COMMAND_SECONDS, 0});
    (void)redisEnableKeepAlive(r->c);
    if (r->password) {
        bool named = r->user && *r->user;
        const char *words[] = {"AUTH", named ? r->user : r->password, r->password};
        if (say(r, named ? 3 : 2, words, err) != 0)
            return -1;
    }
    (void)snprintf(db, sizeof db, "%d", r->db);
    return r->db ? say(r, 2, (const char *const[]){"SELECT", db}, err) : 0;
}

int redis_command(struct redis *r, struct redisReply **reply, struct err *err, size_t n,
                  const char *const *words, const size_t *lens)
{
    struct err own;
    *reply = NULL;
    if (n > MAX_WORDS)
        return err_set(err, ERR_USAGE, "a command of %zu words", n);
    bool kept = r->c != NULL; /* a server may have closed it while it was idle */
    if (!kept && connect_to(r, err) != 0)
        return -1;
    *reply = exchange(r, n, words, lens, err ? err : &own);
    if (!*reply && kept && !r->c && (err ? err : &own)->code == ERR_UNAVAILABLE &&
        connect_to(r, err) == 0)
        *reply = exchange(r, n, words, lens, err);
    return *reply ? 0 : -1;
}

int redis_call(struct redis *r, struct redisReply **reply, struct err *err, ...)
{
    const char *words[MAX_WORDS];
    size_t n = 0;
    va_list ap;
    va_start(ap, err);
    for (const char *w; n < MAX_WORDS && (w = va_arg(ap, const char *));)
        words[n++] = w;
    va_end(ap);
    return redis_command(r, reply, err, n, words, NULL);
}

int redis_subscribe(struct redis *r, const char *channel, struct err *err)
{
    struct redisReply *reply;
    if (redis_call(r, &reply, err, "SUBSCRIBE", channel, NULL) != 0)
        return -1;
    redis_free(reply);
    return 0;
}

int redis_wait(struct redis *r, int ms)
{
    int64_t until = clock_ns() + ms * INT64_C(1000000);
    while (r->c) {
        void *reply = NULL;
        if (redisGetReplyFromReader(r->c, &reply) != REDIS_OK)
            break;
        if (reply) {
            freeReplyObject(reply);
            return 1;
        }
        int64_t left = until - clock_ns();
        if (left <= 0)
            return 0;
        struct pollfd p = {.fd = r->c->fd, .events = POLLIN};
        int got = poll(&p, 1, (int)(left / 1000000) + 1);
        if ((got < 0 && errno != EINTR) || (got > 0 && redisBufferRead(r->c) != REDIS_OK))
            break;
    }
    drop(r);
    return -1;
}

void redis_free(struct redisReply *reply)
{
    if (reply)
        freeReplyObject(reply);
}

int redis_is_nil(const struct redisReply *reply)
{
    return !reply || reply->type == REDIS_REPLY_NIL;
}

static int other(const struct redisReply *reply, const char *what, const char *expected,
                 struct err *err)
{
    static const char *const names[] = {"nothing", "a string", "a list",  "a number",
                                        "nil",     "a status", "an error"};
    int type = reply ? reply->type : 0;
    return err_set(err, ERR_FORMAT, "%s: expected %s, Redis sent %s", what, expected,
                   type >= 0 && type < 7 ? names[type] : "something else");
}

int redis_text(const struct redisReply *reply, const char *what, const char **s, size_t *len,
               struct err *err)
{
    if (!reply || (reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_STATUS))
        return other(reply, what, "a string", err);
    *s = reply->str;
    *len = reply->len;
    return 0;
}

int redis_number(const struct redisReply *reply, const char *what, int64_t *n, struct err *err)
{
    if (!reply || reply->type != REDIS_REPLY_INTEGER)
        return other(reply, what, "a number", err);
    *n = reply->integer;
    return 0;
}

int redis_list(const struct redisReply *reply, const char *what, size_t *n, struct err *err)
{
    if (!reply || reply->type != REDIS_REPLY_ARRAY)
        return other(reply, what, "a list", err);
    *n = reply->elements;
    return 0;
}

const struct redisReply *redis_at(const struct redisReply *list, size_t i)
{
    return list->element[i];
}
