/* A connection to Redis, by hiredis (redis.c is the only file that includes it).  Connects at the
 * first command and again after an error, every call bounded in time; replies are hostile: a type
 * that was not asked for is an error that says what came.  One thread at a time. */
#ifndef MODELS_REDIS_H
#define MODELS_REDIS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct redis;
struct redisReply; /* hiredis' own; free with redis_free */

/* url: redis://[user][:password]@host[:port][/db], each part percent-encoded where it must be; host
 * alone without '@'.  A password may also come from RUBRIC_REDIS_PASSWORD, or from the file that
 * RUBRIC_REDIS_PASSWORD_FILE names.  Connects nothing. */
int redis_open(const char *url, struct redis **out, struct err *err);
void redis_close(struct redis *r);                /* NULL allowed */
const char *redis_address(const struct redis *r); /* "redis://host:port/db", without credentials */

/* Sends a command of n strings and waits for its reply.  lens NULL: NUL-terminated.  -1: ERR_UNAVAILABLE
 * when the server is not there, ERR_CONFIG when it refuses (its words in the message). */
int redis_command(struct redis *r, struct redisReply **reply, struct err *err, size_t n,
                  const char *const *words, const size_t *lens);
/* The same for words that end with NULL. */
int redis_call(struct redis *r, struct redisReply **reply, struct err *err, ...)
    __attribute__((sentinel));
/* Listens to a channel; the connection is good for nothing else afterwards. */
int redis_subscribe(struct redis *r, const char *channel, struct err *err);
/* Waits at most ms for a message: 1 one came (they are not told apart), 0 time over, -1 the connection
 * is gone. */
int redis_wait(struct redis *r, int ms);
void redis_free(struct redisReply *reply); /* NULL allowed */

/* What a reply is; each gives -1 with what came instead, after `what`. */
int redis_is_nil(const struct redisReply *reply);
int redis_text(const struct redisReply *reply, const char *what, const char **s, size_t *len,
               struct err *err); /* a string, NUL-terminated too */
int redis_number(const struct redisReply *reply, const char *what, int64_t *n, struct err *err);
int redis_list(const struct redisReply *reply, const char *what, size_t *n, struct err *err);
const struct redisReply *redis_at(const struct redisReply *list, size_t i); /* i < n */

#endif
