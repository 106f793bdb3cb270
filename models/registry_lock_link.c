/* The lock of a registry in Redis, on a connection of its own: what registry_lock_redis needs of the
 * client library, and the change that the lock guards. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "models/registry_lock_backend.h"
#include "models/registry_lock_redis.h"
#include "models/registry_redis.h"
#include "models/registry_scripts.h"

#define LIFE_MS 30000 /* a job that was killed is in the way no longer */
#define MAX_WORDS 16

struct lock {
    struct redis_target target;
    struct redis *redis;
    struct registry_lock_redis *lock;
};

static int eval(void *connection, const char *script, const char *const *words, int n_keys, int n,
                char answer[REGISTRY_LOCK_REPLY], struct err *err)
{
    struct redis_word argv[MAX_WORDS] = {{"EVAL", 4}, {script, strlen(script)}};
    struct redis_value *v;
    char keys[12];
    if (n > MAX_WORDS - 3)
        return err_set(err, ERR_USAGE, "a script with %d words", n);
    argv[2] = (struct redis_word){keys, (size_t)snprintf(keys, sizeof keys, "%d", n_keys)};
    for (int i = 0; i < n; i++)
        argv[3 + i] = (struct redis_word){words[i], strlen(words[i])};
    if (redis_call(connection, argv, n + 3, REDIS_TEXT, false, &v, err) != 0)
        return -1;
    (void)snprintf(answer, REGISTRY_LOCK_REPLY, "%s", v->text);
    redis_free(v);
    return 0;
}

static void release(void *state)
{
    struct lock *l = state;
    registry_lock_redis_release(l->lock);
    redis_close(l->redis);
    redis_target_done(&l->target);
    free(l);
}

static int take(const char *rest, const char *name, const char *owner, void **state,
                long long *token, struct err *err)
{
    char *url = file_path("redis:%s", rest), *prefix = redis_key(name, "");
    prefix[strlen(prefix) - 1] = '\0'; /* without the last colon */
    struct lock *l = xcalloc(1, sizeof *l);
    int rc = redis_target_parse(url, &l->target, err);
    if (rc == 0) {
        l->redis = redis_open(&l->target);
        struct registry_lock_link link = {eval, l->redis};
        rc = registry_lock_redis_take(link, prefix, owner, LIFE_MS, &l->lock, err);
    }
    if (rc == 0) {
        *token = registry_lock_redis_token(l->lock);
        *state = l;
    } else {
        release(l);
    }
    free(url);
    free(prefix);
    return rc;
}

/* The same change as without a lock, behind the lock's guard. */
static int run_guarded(void *state, const char *const *words, char word[REDIS_WORD],
                       struct err *err)
{
    struct lock *l = state;
    char answer[REGISTRY_LOCK_REPLY];
    if (registry_lock_redis_change(l->lock, script_alias, words, SCRIPT_ALIAS_KEYS,
                                   SCRIPT_ALIAS_WORDS, answer, err) != 0)
        return -1;
    (void)snprintf(word, REDIS_WORD, "%.*s", REDIS_WORD - 1, answer);
    return 0;
}

static int promote(void *state, struct registry *r, const char *name, const char *alias,
                   const char *from, const char *to, long long token, struct err *err)
{
    struct lock *l = state;
    (void)token; /* the lock knows its own */
    if (registry_verify(r, name, to, err) != 0)
        return -1;
    struct redis_alias_run run = {run_guarded, l};
    return redis_move_alias(&run, l->target.url, name, alias, to, from, registry_by(r), err);
}

const struct registry_lock_backend registry_lock_of_redis = {
    .scheme = "redis", .take = take, .promote = promote, .release = release};
