#include "models/registry_lock_redis.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/signals.h"

enum { NUMBER = 24, MAX_WORDS = 16 };

/* SET NX PX and INCR in one step: a token is only spent on a lock that is given. */
static const char script_take[] =
    "local held = redis.call('GET', KEYS[1])\n"
    "if held then return 'held ' .. held end\n"
    /* Greater than any before, also where Redis lost the last ones: they follow its clock. */
    "local t = redis.call('TIME')\n"
    "local token = math.max((tonumber(redis.call('GET', KEYS[2])) or 0) + 1,\n"
    "                       t[1] * 1000 + math.floor(t[2] / 1000))\n"
    "token = string.format('%.0f', token)\n"
    "redis.call('SET', KEYS[2], token)\n"
    "redis.call('SET', KEYS[1], token .. ' ' .. ARGV[1], 'PX', ARGV[2])\n"
    "return 'token ' .. token\n";

/* Whose lock it is stands before the blank. */
#define OWN "string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) ') == ARGV[1]"
static const char script_renew[] = "if " OWN " then redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"
                                   "return 'ok' end\nreturn 'lost'\n";
static const char script_release[] = "if " OWN " then redis.call('DEL', KEYS[1]) end\n"
                                     "return 'ok'\n";

struct registry_lock_redis {
    struct registry_lock_link link;
    char *lock_key, *token_key;
    char token[NUMBER], life[NUMBER];
    long life_ms;
    pthread_t renewer;
    pthread_mutex_t mutex; /* of the link and of done */
    pthread_cond_t wake;
    bool done;
};

static int eval(struct registry_lock_redis *l, const char *script, const char *const *words,
                int n_keys, int n, char reply[REGISTRY_LOCK_REPLY], struct err *err)
{
    reply[0] = '\0';
    return l->link.eval(l->link.connection, script, words, n_keys, n, reply, err);
}

/* Failures are left to the next round, and in the end to the guard. */
static void *renew(void *arg)
{
    struct registry_lock_redis *l = arg;
    (void)pthread_mutex_lock(&l->mutex);
    while (!l->done) {
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        long ms = l->life_ms / 3;
        until.tv_sec += ms / 1000;
        until.tv_nsec += ms % 1000 * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        int rc = 0;
        while (!l->done && rc == 0)
            rc = pthread_cond_timedwait(&l->wake, &l->mutex, &until);
        char reply[REGISTRY_LOCK_REPLY];
        const char *const words[] = {l->lock_key, l->token, l->life};
        if (!l->done)
            (void)eval(l, script_renew, words, 1, 3, reply, NULL);
    }
    (void)pthread_mutex_unlock(&l->mutex);
    return NULL;
}

/* Signals are for the threads that look for them (trainer/stop.h). */
static int start_renewer(struct registry_lock_redis *l, struct err *err)
{
    sigset_t before;
    pthread_condattr_t monotonic;
    (void)pthread_mutex_init(&l->mutex, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&l->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    signals_hold(&before);
    int rc = pthread_create(&l->renewer, NULL, renew, l);
    signals_release(&before);
    if (rc == 0)
        return 0;
    (void)pthread_cond_destroy(&l->wake);
    (void)pthread_mutex_destroy(&l->mutex);
    return err_set(err, ERR_IO, "%s: no thread to renew it: %s", l->lock_key, strerror(rc));
}

static void give_back(struct registry_lock_redis *l)
{
    char reply[REGISTRY_LOCK_REPLY];
    const char *const words[] = {l->lock_key, l->token};
    if (l->token[0])
        (void)eval(l, script_release, words, 1, 2, reply, NULL); /* else it runs out by itself */
    free(l->lock_key);
    free(l->token_key);
    free(l);
}

static int take(struct registry_lock_redis *l, const char *owner, struct err *err)
{
    char reply[REGISTRY_LOCK_REPLY], *end;
    const char *const words[] = {l->lock_key, l->token_key, owner, l->life};
    if (eval(l, script_take, words, 2, 4, reply, err) != 0)
        return -1;
    if (strncmp(reply, "held ", 5) == 0) {
        (void)err_set(err, ERR_CONFLICT, "%s: another job works on this model: %s", l->lock_key,
                      reply + 5 + strcspn(reply + 5, " ") + (strchr(reply + 5, ' ') != NULL));
        if (err)
            err->retriable = true;
        return -1;
    }
    long long token = strncmp(reply, "token ", 6) == 0 ? strtoll(reply + 6, &end, 10) : 0;
    if (token < 1 || *end)
        return err_set(err, ERR_FORMAT, "%s: expected \"token N\", found \"%.60s\"", l->lock_key,
                       reply);
    (void)snprintf(l->token, sizeof l->token, "%lld", token);
    return start_renewer(l, err);
}

int registry_lock_redis_take(struct registry_lock_link link, const char *prefix, const char *owner,
                             long life_ms, struct registry_lock_redis **out, struct err *err)
{
    if (life_ms < 100)
        return err_set(err, ERR_CONFIG, "a lock of %ld ms: at least 100 are needed", life_ms);
    struct registry_lock_redis *l = xcalloc(1, sizeof *l);
    l->link = link;
    l->life_ms = life_ms;
    l->lock_key = file_path("%s:lock", prefix);
    l->token_key = file_path("%s:token", prefix);
    (void)snprintf(l->life, sizeof l->life, "%ld", life_ms);
    if (take(l, owner, err) != 0) {
        give_back(l);
        return -1;
    }
    *out = l;
    return 0;
}

long long registry_lock_redis_token(const struct registry_lock_redis *l)
{
    return strtoll(l->token, NULL, 10);
}

int registry_lock_redis_change(struct registry_lock_redis *l, const char *change,
                               const char *const *words, int n_keys, int n,
                               char answer[REGISTRY_LOCK_REPLY], struct err *err)
{
    const char *all[MAX_WORDS + 2];
    if (n > MAX_WORDS || n_keys > n)
        return err_set(err, ERR_USAGE, "%d words for a script, at most %d", n, MAX_WORDS);
    all[0] = l->token_key;
    for (int i = 0; i < n_keys; i++)
        all[i + 1] = words[i];
    all[n_keys + 1] = l->token;
    for (int i = n_keys; i < n; i++)
        all[i + 2] = words[i];
    char *script = file_path("%s%s", REGISTRY_LOCK_GUARD, change);
    (void)pthread_mutex_lock(&l->mutex);
    int rc = eval(l, script, all, n_keys + 1, n + 2, answer, err);
    (void)pthread_mutex_unlock(&l->mutex);
    free(script);
    if (rc == 0 && strncmp(answer, "stale ", 6) == 0)
        rc = err_set(err, ERR_CONFLICT, "%s: token %s is stale: the last one given is %s",
                     l->token_key, l->token, answer + 6);
    return rc;
}

void registry_lock_redis_release(struct registry_lock_redis *l)
{
    if (!l)
        return;
    (void)pthread_mutex_lock(&l->mutex);
    l->done = true;
    (void)pthread_cond_signal(&l->wake);
    (void)pthread_mutex_unlock(&l->mutex);
    (void)pthread_join(l->renewer, NULL);
    (void)pthread_cond_destroy(&l->wake);
    (void)pthread_mutex_destroy(&l->mutex);
    give_back(l);
}
