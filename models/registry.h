/* Versions of models under names. A version is a directory's files, immutable, named by their
 * content; an alias ("production") points to one version. The backend is chosen by the URL:
 * dir:PATH here; others join behind the same interface.
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
 * Names of files: the same, up to 128. Every message names the path or key that it is about. */
#ifndef MODELS_REGISTRY_H
#define MODELS_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define REGISTRY_VERSION 17 /* 16 hex digits and a NUL */

struct registry;
int registry_open(const char *url, struct registry **out, struct err *err);
void registry_close(struct registry *r); /* NULL allowed */

/* Copies dir's plain files into a new version (hidden files and an old manifest.json are left out;
 * refused: sub-directories, a directory without config.json and model.safetensors, a file changing
 * meanwhile). An existing identical version is verified and kept. The version appears by one
 * rename: a reader sees all of it or none. */
int registry_push(struct registry *r, const char *name, const char *dir,
                  char version[REGISTRY_VERSION], struct err *err);
int registry_set_alias(struct registry *r, const char *name, const char *alias, const char *version,
                       struct err *err); /* the version must exist and verify */
/* what: an alias or a version. ERR_MISSING when there is none of that name, ERR_CONFLICT when the
 * alias points to a version that does not exist. */
int registry_resolve(struct registry *r, const char *name, const char *what,
                     char version[REGISTRY_VERSION], struct err *err);
/* Verifies every file against the manifest (names, sizes, sha256; no file more, none less), then
 * gives a local directory that model_open can read: malloc'd, caller frees. */
int registry_fetch(struct registry *r, const char *name, const char *version, char **dir,
                   struct err *err);
int registry_list(struct registry *r, const char *name, char ***versions, size_t *n,
                  struct err *err); /* caller frees all */

#endif
