/* The lock of a registry in Redis. Its keys:
 *
 *   PREFIX:lock    "TOKEN OWNER", expires when its holder does not renew it
 *   PREFIX:token   the last token given, at least the milliseconds of Redis' clock: greater than all before
 *                  even where Redis lost the last ones
 *
 * A thread of its own renews the lock at a third of its life time, on a connection that belongs to
 * the lock alone. When renewing fails for a life time, or Redis forgot, another job may take it: what
 * stops the first one then is the guard below, not the lock.
 *
 * This file knows no client library: the connection comes as a function. */
#ifndef MODELS_REGISTRY_LOCK_REDIS_H
#define MODELS_REGISTRY_LOCK_REDIS_H

#include <stddef.h>

#include "base/err.h"

#define REGISTRY_LOCK_REPLY 256

/* EVAL script with words[0..n_keys) as KEYS and words[n_keys..n) as ARGV; the reply, a string, is
 * written to reply (cut to fit). Never called by two threads at once. */
struct registry_lock_link {
    int (*eval)(void *connection, const char *script, const char *const *words, int n_keys, int n,
                char reply[REGISTRY_LOCK_REPLY], struct err *err);
    void *connection; /* borrowed until release */
};

/* Lua to stand before any change that only the holder of the latest token may make. KEYS[1] is
 * PREFIX:token, ARGV[1] the holder's token; a stale one returns "stale N". A lock that ran out, but
 * that nobody has taken since, still passes: no harm can come of it. A Redis that lost the key
 * (restarted empty) answers "stale nothing". */
#define REGISTRY_LOCK_GUARD                                                                        \
    "local last = redis.call('GET', KEYS[1])\n"                                                    \
    "if last ~= ARGV[1] then return 'stale ' .. (last or 'nothing') end\n"

struct registry_lock_redis;

/* Takes PREFIX's lock for life_ms (100 at least), now or not at all. ERR_CONFLICT and retriable when
 * another holds it, with its owner in the message. owner: one line. */
int registry_lock_redis_take(struct registry_lock_link link, const char *prefix, const char *owner,
                             long life_ms, struct registry_lock_redis **out, struct err *err);
long long registry_lock_redis_token(const struct registry_lock_redis *l);

/* Runs REGISTRY_LOCK_GUARD and then change, whose KEYS[2..] and ARGV[2..] are words; answer is what it
 * returns. ERR_CONFLICT when the token is stale: nothing has changed. */
int registry_lock_redis_change(struct registry_lock_redis *l, const char *change,
                               const char *const *words, int n_keys, int n,
                               char answer[REGISTRY_LOCK_REPLY], struct err *err);

/* Stops renewing; the lock's key goes if it is still ours. NULL allowed. */
void registry_lock_redis_release(struct registry_lock_redis *l);

#endif
