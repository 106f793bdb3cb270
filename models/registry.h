/* Versions of models under names. A version is a directory's files, immutable, named by their
 * content; an alias ("production") points to one version. The backend is chosen by the URL: dir:PATH or
 * redis://….
 *
 * dir:PATH layout:  PATH/NAME/versions/VERSION/{manifest.json, config.json, model.safetensors, …}
 *                   PATH/NAME/aliases/ALIAS          one line: VERSION, replaced atomically
 *
 * manifest.json: {"format": 1, "name": …, "version": …, "created": RFC 3339,
 *                 "files": [{"name", "bytes", "sha256"}, …]}, sorted by name
 *
 * VERSION = first 16 hex digits of the sha256 over the lines "sha256  name\n" of the files
 * (manifest not among them), so the same files are the same version whoever pushes them. Names and
 * aliases: [A-Za-z0-9._-]{1,64}, not starting with '.'; an alias does not look like a version.
 * Names of files: the same, up to 128, and for the parts of an ensemble or cascade words with '/' between. Every message names the path or key that it is about.
 *
 *                  PATH/NAME/history                one line a change: ms, who, alias, from, to
 *
 * redis://[user][:password]@host[:port][/db] layout, all keys "rubric:{NAME}:…":
 *     version:VERSION  hash: "manifest", manifest.json's text; "chunks", a line "FILE SHA256 BYTES" for
 *                      each chunk of each file in turn (FILE counts the manifest's files from 0)
 *     chunk:SHA256     at most 2 MiB; the same bytes are sent and kept once
 *     versions         sorted set: VERSION by the time it was published (ms)
 *     aliases          hash: ALIAS to VERSION
 *     history          stream: alias, from, to, by
 *     chunks           set of all SHA256;  leases  sorted set: SHA256 by when a push gives it up (ms)
 * A version is published after its chunks, by one script; aliases flip by one that sees that it exists
 * and appends to the history; a hint goes to the channel "rubric:NAME".  Nothing has a time to live.
 *
 * A struct registry belongs to one thread at a time. */
#ifndef MODELS_REGISTRY_H
#define MODELS_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define REGISTRY_VERSION 17 /* 16 hex digits and a NUL */
#define REGISTRY_WORD 64    /* longest name of a model or an alias */
#define REGISTRY_CACHE_BYTES (INT64_C(4) << 30)
#define REGISTRY_BY 100 /* longest "who" */

struct registry;
bool registry_is_version(const char *s); /* 16 hex digits: a version, never an alias */
bool registry_is_word(const char *s);    /* may name a model or an alias */
/* Reads the URL, and for Redis the password from where it is; connects to nothing. */
int registry_open(const char *url, struct registry **out, struct err *err);
void registry_close(struct registry *r); /* NULL allowed */

/* Copies dir's plain files into a new version (hidden files and an old manifest.json are left out;
 * refused: sub-directories that are no parts of a composite, a directory without config.json and weights, a file changing
 * meanwhile). An existing identical version is verified and kept. The version appears by one
 * rename: a reader sees all of it or none. */
int registry_push(struct registry *r, const char *name, const char *dir,
                  char version[REGISTRY_VERSION], struct err *err);
/* The version must exist and verify. Appended to the history with who did it (registry_set_by). */
int registry_set_alias(struct registry *r, const char *name, const char *alias, const char *version,
                       struct err *err);
/* Only when the alias is at `from` ("": there is no such alias), else ERR_CONFLICT. */
int registry_move_alias(struct registry *r, const char *name, const char *alias, const char *from,
                        const char *to, struct err *err);
/* Back to the version that the alias named before, by the history; ERR_CONFLICT when somebody else
 * changes it meanwhile, ERR_MISSING when there is none. */
int registry_rollback(struct registry *r, const char *name, const char *alias,
                      char version[REGISTRY_VERSION], struct err *err);
/* what: an alias or a version. ERR_MISSING when there is none of that name, ERR_CONFLICT when the
 * alias points to a version that does not exist. */
int registry_resolve(struct registry *r, const char *name, const char *what,
                     char version[REGISTRY_VERSION], struct err *err);
/* Verifies every file against the manifest (names, sizes, sha256; no file more, none less), then
 * gives a local directory that model_open can read: malloc'd, caller frees. */
int registry_fetch(struct registry *r, const char *name, const char *version, char **dir,
                   struct err *err);
/* Called on the thread that fetches with every part that came in and was verified; of: bytes of the
 * whole version. Backends that read in place (dir) call nobody. */
struct registry_progress {
    void (*at)(void *arg, int64_t bytes, int64_t of); /* NULL: nobody asks */
    void *arg;
};
void registry_set_progress(struct registry *r, struct registry_progress progress);
int registry_list(
    struct registry *r, const char *name, char ***versions, size_t *n,
    struct err *err); /* caller frees all; the dir backend sorts by version, Redis by age */
/* Looks at every byte without writing any. */
int registry_verify(struct registry *r, const char *name, const char *version, struct err *err);

struct registry_alias {
    char alias[REGISTRY_WORD + 1], version[REGISTRY_VERSION];
};
struct registry_change {                                                         /* oldest first */
    char alias[REGISTRY_WORD + 1], from[REGISTRY_VERSION], to[REGISTRY_VERSION]; /* from "": none */
    char by[REGISTRY_BY + 1];
    int64_t unix_ms;
};
int registry_aliases(struct registry *r, const char *name, struct registry_alias **list, size_t *n,
                     struct err *err); /* caller frees *list */
int registry_history(struct registry *r, const char *name, struct registry_change **list, size_t *n,
                     struct err *err); /* the same */

/* Refused (ERR_CONFLICT) while an alias names it. */
int registry_remove(struct registry *r, const char *name, const char *version, struct err *err);
/* Removes the versions that no alias names but for the keep newest of them, and what no version uses
 * (chunks of killed pushes, once their lease of ten minutes is over). removed: as registry_list. */
int registry_gc(struct registry *r, const char *name, int keep, char ***removed, size_t *n,
                struct err *err);

/* Waits at most ms for a hint that an alias of name has changed: 1 look, 0 time over, -1 at once: no
 * hints (dir always, Redis while it is away). Hints can be lost: look at times without one. */
int registry_wait(struct registry *r, const char *name, int ms);

/* From any thread, while another one is in a call: it and all later ones end soon, in failure. */
void registry_cancel(struct registry *r);

const char *registry_by(const struct registry *r);        /* borrowed */
void registry_set_by(struct registry *r, const char *by); /* default: $USER@host name */

/* Versions fetched from afar are kept in dir (made when missing) as DIR/NAME/VERSION, at most `bytes`
 * of them in all: the ones used longest ago go.  Default $XDG_CACHE_HOME/rubric or ~/.cache/rubric,
 * 4 GiB.  The dir backend only notes there what was in use. */
void registry_set_cache(struct registry *r, const char *dir, int64_t bytes);
/* What registry_note last noted for the alias, verified: from the cache, for a start without the
 * registry (dir: from where it stands). */
int registry_fetch_last(struct registry *r, const char *name, const char *alias,
                        char version[REGISTRY_VERSION], char **dir, struct err *err);
/* Notes in the cache that the alias's version was fetched and is in use. dir: where there is a cache. */
int registry_note(struct registry *r, const char *name, const char *alias, const char *version,
                  struct err *err);

#endif
