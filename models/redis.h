/* A connection to one Redis server, by hiredis: the only door to it (no header of hiredis beyond
 * models/redis.c). What a server sends is hostile: the bytes, the nesting and the elements of a
 * reply are bounded before they are allocated, and a call ends in time whoever answers.
 *
 * A redis_open'ed connection connects at its first call. A call that finds a connection dead sends
 * once more on a new one, so a command may run twice: send only those for which that is the same.
 * Thread rule: one thread at a time. Errors name the URL, password masked. */
#ifndef MODELS_REDIS_H
#define MODELS_REDIS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define REDIS_MAX_REPLY (16u << 20) /* bytes of one reply with all it allocates */

struct redis_target {
    char *url; /* masked, for messages */
    char *host, *user, *password;
    int port, db;
    int call_ms; /* how long one reply may take */
    const atomic_bool
        *cancelled; /* once true, calls end soon, as if the server were away; or NULL */
};
/* redis://[user][:password]@host[:port][/db]; user and password may be percent-encoded; host may be
 * [v6]. The password may come from
 * RUBRIC_REDIS_PASSWORD or RUBRIC_REDIS_PASSWORD_FILE instead (the URL's wins; both of the others
 * set is an error). */
int redis_target_parse(const char *url, struct redis_target *out, struct err *err);
void redis_target_done(struct redis_target *t); /* safe on a zeroed one */

struct redis;
struct redis *redis_open(const struct redis_target *t);           /* t is borrowed for its life */
struct redis *redis_attach(const struct redis_target *t, int fd); /* takes fd; for tests: it never
                                                                     connects again */
void redis_close(struct redis *c);                                /* NULL allowed */

enum redis_type { REDIS_NIL, REDIS_INT, REDIS_TEXT, REDIS_LIST, REDIS_ERROR };
struct redis_value {
    enum redis_type type;
    int64_t n;                 /* REDIS_INT */
    char *text;                /* REDIS_TEXT, REDIS_ERROR: len bytes and a NUL */
    size_t len;                /* of text, or items */
    struct redis_value **item; /* REDIS_LIST: never NULL in them */
};
void redis_free(struct redis_value *v); /* NULL allowed */

/* One command, its words given by length, and its reply. A reply of another type than want is an
 * error, except that *out is of type REDIS_NIL where nil is allowed. An error reply is an error
 * with the server's words: ERR_FORMAT for WRONGTYPE, ERR_UNAVAILABLE where it asks to come back later,
 * else ERR_CONFIG.  A server that is away is ERR_UNAVAILABLE, one that speaks no Redis ERR_FORMAT. */
struct redis_word {
    const void *data;
    size_t len;
};
int redis_call(struct redis *c, const struct redis_word *words, int n, enum redis_type want,
               bool nil, struct redis_value **out, struct err *err);
/* The same with text words, ended by NULL. */
int redis_do(struct redis *c, enum redis_type want, bool nil, struct redis_value **out,
             struct err *err, ...);

/* Waits up to ms for a message on channel, which this connection then is for and nothing else. 1: a
 * message came, or listening began (what came before is not known); 0: none, -1: the connection is gone. */
int redis_wait(struct redis *c, const char *channel, int ms);

#endif
