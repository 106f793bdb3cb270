/* What a registry version consists of: manifest.json, its rules, and the check of a directory
 * against it. Every backend stores versions by it; the format and how VERSION follows from the
 * files are described in models/registry.h. Functions are pure but for the files they read; a
 * struct manifest belongs to one thread at a time. */
#ifndef MODELS_MANIFEST_H
#define MODELS_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/sha256.h"
#include "models/registry.h"

#define MANIFEST_FILE "manifest.json"
#define MANIFEST_MAX_BYTES (1024 * 1024)
#define MANIFEST_MAX_FILES 1000
#define MANIFEST_WORD REGISTRY_WORD
#define MANIFEST_FILE_NAME 128 /* longest name of a file, directories included */

struct manifest_entry {
    char *name;
    int64_t bytes;
    char sha256[SHA256_HEX];
};

struct manifest {
    char name[MANIFEST_WORD + 1];
    char version[REGISTRY_VERSION];
    char created[40];             /* RFC 3339, UTC */
    struct manifest_entry *files; /* ascending by name */
    size_t n;
};

/* [A-Za-z0-9._-]{1,max}, not starting with '.': such a word is one path component and never leaves
 * its directory. */
bool manifest_word(const char *s, size_t max);
bool manifest_is_version(const char *s); /* 16 lower-case hex digits */

/* The names of the files that a version made from dir holds: neither hidden ones nor manifest.json;
 * those of a composite's parts with their directory in front ("0-linear/config.json").
 * Refused: a name that is no word, a directory without config.json and weights, a sub-directory
 * that no config.json names as a part, too many.  file_list_free it. */
int manifest_list(const char *dir, struct file_list *list, struct err *err);

/* Describes those files, created now. Refused: anything that is no plain file. */
int manifest_make(struct manifest *m, const char *name, const char *dir, struct err *err);

/* Reads one. Refused, each with its own message after where: no JSON of the expected form, another
 * format number, a file name that is not words with '/' between ("../x", "a//b", ".hidden",
 * manifest.json itself),
 * names not ascending or twice, sizes below zero, a sha256 that is none, a version that does not
 * follow from the files. */
int manifest_parse(struct manifest *m, const char *where, const char *data, size_t len,
                   struct err *err);
int manifest_read(struct manifest *m, const char *dir, struct err *err); /* dir/manifest.json */

/* The files of dir are exactly those listed, with their sizes and sums. Messages name the file's
 * path. */
int manifest_verify(const struct manifest *m, const char *dir, struct err *err);

char *manifest_text(const struct manifest *m); /* malloc'd, for the caller to free */
void manifest_done(struct manifest *m);        /* safe on a zeroed one */

#endif
