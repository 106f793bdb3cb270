#include "models/redis.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { CONNECT_MS = 2000, SLICE_MS = 200, MAX_WORDS = 32 };

struct redis {
    const struct redis_target *target;
    redisContext *ctx;               /* NULL: not connected */
    size_t budget;                   /* bytes that the reply being read may still allocate */
    bool over;                       /* it wanted more */
    bool attached, subscribed, away; /* away: the last failure was of the connection */
};

#if HIREDIS_MAJOR >= 1
typedef size_t reader_count;
#else
typedef int reader_count;
#endif

/* hiredis parses; what it makes of a reply are our values, paid from the reply's budget. NULL ends
 * the parsing with an error. */
static struct redis_value *make(const redisReadTask *task, enum redis_type type, size_t extra)
{
    struct redis *c = task->privdata;
    size_t cost = sizeof(struct redis_value) + 32 + extra;
    if (cost > c->budget) {
        c->over = true;
        return NULL;
    }
    c->budget -= cost;
    struct redis_value *v = xcalloc(1, sizeof *v);
    v->type = type;
    if (task->parent && task->parent->obj) {
        struct redis_value *list = task->parent->obj;
        list->item[task->idx] = v;
    }
    return v;
}

static void *make_text(const redisReadTask *task, char *text, size_t len)
{
    bool error = task->type == REDIS_REPLY_ERROR;
    bool known = error || task->type == REDIS_REPLY_STATUS || task->type == REDIS_REPLY_STRING;
    struct redis_value *v = known ? make(task, error ? REDIS_ERROR : REDIS_TEXT, len) : NULL;
    if (!v)
        return NULL;
    v->text = xmalloc(len + 1);
    memcpy(v->text, text, len);
    v->text[len] = '\0';
    v->len = len;
    return v;
}

static void *make_list(const redisReadTask *task, reader_count n)
{
    size_t count = (size_t)n;
    if (task->type != REDIS_REPLY_ARRAY || count > REDIS_MAX_REPLY / sizeof(void *))
        return NULL;
    struct redis_value *v = make(task, REDIS_LIST, count * sizeof(void *));
    if (!v)
        return NULL;
    v->item = xcalloc(count, sizeof *v->item);
    v->len = count;
    return v;
}

static void *make_int(const redisReadTask *task, long long n)
{
    struct redis_value *v = make(task, REDIS_INT, 0);
    if (v)
        v->n = n;
    return v;
}

static void *make_nil(const redisReadTask *task)
{
    return make(task, REDIS_NIL, 0);
}

void redis_free(struct redis_value *v)
{
    if (!v)
        return;
    for (size_t i = 0; v->item && i < v->len; i++)
        redis_free(v->item[i]);
    free(v->item);
    free(v->text);
    free(v);
}

static void free_object(void *v)
{
    redis_free(v);
}

#if HIREDIS_MAJOR >= 1
/* Of RESP3, which we never ask for. */
static void *no_double(const redisReadTask *task, double v, char *text, size_t len)
{
    (void)task, (void)v, (void)text, (void)len;
    return NULL;
}
static void *no_bool(const redisReadTask *task, int v)
{
    (void)task, (void)v;
    return NULL;
}
#endif

static redisReplyObjectFunctions makers = {
    .createString = make_text,
    .createArray = make_list,
    .createInteger = make_int,
    .createNil = make_nil,
    .freeObject = free_object,
#if HIREDIS_MAJOR >= 1
    .createDouble = no_double,
    .createBool = no_bool,
#endif
};

static void hang_up(struct redis *c)
{
    if (c->ctx)
        redisFree(c->ctx);
    c->ctx = NULL;
    c->subscribed = false;
}

static int away(struct redis *c, struct err *err, const char *what, const char *why)
{
    c->away = true;
    (void)err_set(err, ERR_UNAVAILABLE, "%s: %s: %s", c->target->url, what, why);
    if (err)
        err->retriable = true;
    hang_up(c); /* last: why may be the connection's own text */
    return -1;
}

static int odd(struct redis *c, struct err *err, const char *what)
{
    c->away = false;
    hang_up(c);
    return err_set(err, ERR_FORMAT, "%s: %s", c->target->url, what);
}

static struct timeval span(int ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* The reader makes our values from here on. */
static void adopt(struct redis *c, redisContext *ctx)
{
    ctx->reader->fn = &makers;
    ctx->reader->privdata = c;
    (void)redisSetTimeout(ctx, span(c->target->call_ms));
    c->ctx = ctx;
}

static bool cancelled(const struct redis *c)
{
    return c->target->cancelled && atomic_load(c->target->cancelled);
}

/* hiredis writes without MSG_NOSIGNAL: a server that left must not kill the process, and what the
 * program does with SIGPIPE is not ours to change. */
static int write_all(const struct redis *c)
{
    redisContext *ctx = c->ctx;
    int64_t end = clock_ns() + (int64_t)c->target->call_ms * 1000000;
    sigset_t pipe_only, before, pending;
    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    (void)sigpending(&pending);
    bool was = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    int done = 0, rc = 0;
    int kept = ETIMEDOUT;
    while (rc == 0 && !done) {
        if (clock_ns() > end || cancelled(c)) {
            rc = -1;
        } else if (redisBufferWrite(ctx, &done) != REDIS_OK) {
            rc = -1;
            kept = errno;
        }
    }
    if (rc != 0 && !was)
        while (sigtimedwait(&pipe_only, NULL, &(struct timespec){0}) < 0 && errno == EINTR)
            ;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = kept;
    return rc;
}

static const char *why(const redisContext *ctx, int number)
{
    if (ctx->err == REDIS_ERR_IO)
        return number == EAGAIN || number == EWOULDBLOCK ? "no answer in time" : strerror(number);
    return ctx->errstr;
}

/* One reply, in call_ms whatever the server does. */
static int read_reply(struct redis *c, struct redis_value **out, struct err *err)
{
    int64_t end = clock_ns() + (int64_t)c->target->call_ms * 1000000;
    c->budget = REDIS_MAX_REPLY;
    c->over = false;
    for (;;) {
        void *v = NULL;
        if (redisReaderGetReply(c->ctx->reader, &v) != REDIS_OK)
            return odd(c, err, c->over ? "a reply of more than 16 MiB" : "not a reply of Redis");
        if (v) {
            *out = v;
            return 0;
        }
        if (c->ctx->reader->len > REDIS_MAX_REPLY)
            return odd(c, err, "a reply of more than 16 MiB");
        struct pollfd p = {.fd = c->ctx->fd, .events = POLLIN};
        int64_t left = (end - clock_ns()) / 1000000;
        if (left <= 0 || cancelled(c))
            return away(c, err, "read", left <= 0 ? "no answer in time" : "cancelled");
        /* Nothing came, or a signal did, perhaps the one that cancels: reading now would block. */
        if (poll(&p, 1, (int)(left < SLICE_MS ? left : SLICE_MS)) <= 0)
            continue;
        if (redisBufferRead(c->ctx) != REDIS_OK)
            return away(c, err, "read", why(c->ctx, errno));
    }
}

static const char *type_name(enum redis_type t)
{
    static const char *const names[] = {"nil", "an integer", "text", "a list", "an error"};
    return names[t];
}

/* Server's words in a message: printable, and not many. */
static int refused(struct redis *c, const struct redis_value *v, struct err *err)
{
    char words[200];
    size_t n = v->len < sizeof words - 1 ? v->len : sizeof words - 1;
    for (size_t i = 0; i < n; i++)
        words[i] = v->text[i] >= ' ' && v->text[i] < 127 ? v->text[i] : '?';
    words[n] = '\0';
    if (c->target->password && strstr(words, c->target->password)) /* "unknown command AUTH x" */
        (void)snprintf(words, sizeof words, "ERR with the password in it");
    static const char *const later[] = {"LOADING", "BUSY", "MASTERDOWN", "READONLY", "OOM"};
    bool again = false;
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        again |= strncmp(words, later[i], strlen(later[i])) == 0;
    bool type = strncmp(words, "WRONGTYPE", 9) == 0;
    (void)err_set(err,
                  again  ? ERR_UNAVAILABLE
                  : type ? ERR_FORMAT
                         : ERR_CONFIG,
                  "%s: %s", c->target->url, words);
    if (err)
        err->retriable = again;
    return -1;
}

static int checked(struct redis *c, struct redis_value *v, enum redis_type want, bool nil,
                   struct redis_value **out, struct err *err)
{
    int rc = 0;
    if (v->type == REDIS_ERROR)
        rc = refused(c, v, err);
    else if (v->type != want && !(nil && v->type == REDIS_NIL)) {
        char what[80];
        (void)snprintf(what, sizeof what, "expected %s, found %s", type_name(want),
                       type_name(v->type));
        rc = odd(c, err, what);
    }
    if (rc == 0 && out)
        *out = v;
    else
        redis_free(v);
    return rc;
}

static int send_words(struct redis *c, const struct redis_word *words, int n, struct err *err)
{
    const char *data[MAX_WORDS];
    size_t len[MAX_WORDS];
    if (!c->ctx)
        return away(c, err, "send", "the connection is gone");
    if (n > MAX_WORDS)
        return err_set(err, ERR_USAGE, "%s: a command of %d words", c->target->url, n);
    for (int i = 0; i < n; i++) {
        data[i] = words[i].data;
        len[i] = words[i].len;
    }
    if (redisAppendCommandArgv(c->ctx, n, data, len) != REDIS_OK)
        return away(c, err, "send", c->ctx->errstr);
    return write_all(c) == 0 ? 0 : away(c, err, "write", why(c->ctx, errno));
}

static int take_reply(struct redis *c, enum redis_type want, bool nil, struct redis_value **out,
                      struct err *err)
{
    struct redis_value *v = NULL;
    return read_reply(c, &v, err) != 0 ? -1 : checked(c, v, want, nil, out, err);
}

static int greet(struct redis *c, const char *const *text, int n, struct err *err)
{
    struct redis_word words[3];
    for (int i = 0; i < n; i++)
        words[i] = (struct redis_word){text[i], strlen(text[i])};
    if (send_words(c, words, n, err) != 0 || take_reply(c, REDIS_TEXT, false, NULL, err) != 0) {
        hang_up(c);
        return -1;
    }
    return 0;
}

static int dial(struct redis *c, struct err *err)
{
    const struct redis_target *t = c->target;
    if (c->attached)
        return away(c, err, "connect", "the connection is gone");
    if (cancelled(c))
        return away(c, err, "connect", "cancelled");
    redisContext *ctx = redisConnectWithTimeout(t->host, t->port, span(CONNECT_MS));
    if (!ctx || ctx->err) {
        char text[128];
        (void)snprintf(text, sizeof text, "%s", ctx ? ctx->errstr : "out of memory");
        if (ctx)
            redisFree(ctx);
        return away(c, err, "connect", text);
    }
    adopt(c, ctx);
    const char *login[3] = {"AUTH", t->user ? t->user : t->password, t->password};
    char db[16];
    (void)snprintf(db, sizeof db, "%d", t->db);
    if (t->password && greet(c, login, t->user ? 3 : 2, err) != 0)
        return -1;
    if (t->db && greet(c, (const char *[]){"SELECT", db}, 2, err) != 0)
        return -1;
    return 0;
}

int redis_call(struct redis *c, const struct redis_word *words, int n, enum redis_type want,
               bool nil, struct redis_value **out, struct err *err)
{
    struct redis_value *v = NULL;
    bool old = c->ctx;
    if (!old && dial(c, err) != 0)
        return -1;
    int rc = send_words(c, words, n, err) != 0 ? -1 : read_reply(c, &v, err);
    /* Once more where the server may have gone and come back since the last call. */
    if (rc != 0 && old && !c->attached && !c->ctx && c->away && !cancelled(c)) {
        if (dial(c, err) != 0)
            return -1;
        rc = send_words(c, words, n, err) != 0 ? -1 : read_reply(c, &v, err);
    }
    return rc != 0 ? -1 : checked(c, v, want, nil, out, err);
}

int redis_do(struct redis *c, enum redis_type want, bool nil, struct redis_value **out,
             struct err *err, ...)
{
    struct redis_word words[MAX_WORDS];
    int n = 0;
    va_list ap;
    va_start(ap, err);
    for (const char *s; n < MAX_WORDS && (s = va_arg(ap, const char *)); n++)
        words[n] = (struct redis_word){s, strlen(s)};
    va_end(ap);
    return redis_call(c, words, n, want, nil, out, err);
}

/* What is there already, without waiting. 1: a message, 0: none, -1: gone. */
static int take_message(struct redis *c)
{
    void *v = NULL;
    c->budget = REDIS_MAX_REPLY;
    if (redisReaderGetReply(c->ctx->reader, &v) != REDIS_OK || c->ctx->reader->len > 65536) {
        redis_free(v);
        hang_up(c);
        return -1;
    }
    const struct redis_value *r = v;
    int found = 0;
    if (r)
        found = r->type == REDIS_LIST && r->len == 3 && r->item[0]->type == REDIS_TEXT &&
                        (strcmp(r->item[0]->text, "message") == 0 ||
                         strcmp(r->item[0]->text, "subscribe") == 0)
                    ? 1
                    : 2;
    redis_free(v);
    return found;
}

int redis_wait(struct redis *c, const char *channel, int ms)
{
    int64_t end = clock_ns() + (int64_t)ms * 1000000;
    struct redis_word words[2] = {{"SUBSCRIBE", 9}, {channel, strlen(channel)}};
    if (!c->ctx && dial(c, NULL) != 0)
        return -1;
    if (!c->subscribed && send_words(c, words, 2, NULL) != 0)
        return -1;
    c->subscribed = true;
    for (;;) {
        int found = take_message(c);
        if (found == 1 || found < 0)
            return found;
        if (found == 2)
            continue;
        int64_t left = (end - clock_ns()) / 1000000;
        struct pollfd p = {.fd = c->ctx->fd, .events = POLLIN};
        int rc = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (rc == 0 || (rc < 0 && errno == EINTR))
            return 0;
        if (rc < 0 || redisBufferRead(c->ctx) != REDIS_OK) {
            hang_up(c);
            return -1;
        }
    }
}

struct redis *redis_open(const struct redis_target *t)
{
    struct redis *c = xcalloc(1, sizeof *c);
    c->target = t;
    return c;
}

struct redis *redis_attach(const struct redis_target *t, int fd)
{
    struct redis *c = redis_open(t);
    redisContext *ctx = redisConnectFd(fd);
    if (ctx)
        adopt(c, ctx);
    c->attached = true;
    return c;
}

void redis_close(struct redis *c)
{
    if (!c)
        return;
    hang_up(c);
    free(c);
}
