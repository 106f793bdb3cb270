/* One job at a time may work on a model's aliases in a registry, and one that lost its turn without
 * noticing (stopped, cut off) can do no harm any more: every taker gets a token greater than all
 * before, and an alias moves only for the job whose token is the latest. The kind of lock follows
 * from the registry's URL.
 *
 * dir:PATH  the file PATH/NAME/.lock, locked by flock(2) as long as the process lives; it holds the
 *           last token and who took it. Hosts that share PATH must share its locks (NFS does).
 *
 * redis://…  the key rubric:{NAME}:lock, renewed by a thread while the process lives, and a counter of
 *           tokens beside it (models/registry_lock_redis.h).
 *
 * After M. Kleppmann, "How to do distributed locking" (2016). A lock belongs to one thread. */
#ifndef MODELS_REGISTRY_LOCK_H
#define MODELS_REGISTRY_LOCK_H

#include "base/err.h"
#include "models/registry.h"

struct registry_lock;

/* Takes the lock of a model, now or not at all. r: the opened registry of that URL, borrowed until
 * release. ERR_CONFLICT and retriable when another job has it (the message says who). */
int registry_lock_take(const char *url, struct registry *r, const char *name,
                       struct registry_lock **out, struct err *err);
long long registry_lock_token(const struct registry_lock *l); /* from 1 on */

/* Moves alias to version `to`, for the holder of the latest token only, and only when the alias is
 * still at `from` ("": there is no such alias); else ERR_CONFLICT, and nothing has changed. */
int registry_lock_promote(struct registry_lock *l, const char *alias, const char *from,
                          const char *to, struct err *err);
void registry_lock_release(struct registry_lock *l); /* NULL allowed */

#endif
