/* Which chunks the files of a version consist of: lines "FILE SHA256 BYTES", FILE counting the
 * manifest's files from 0, in the order of the files and of their bytes. */
#ifndef MODELS_REGISTRY_CHUNKS_H
#define MODELS_REGISTRY_CHUNKS_H

#include "models/manifest.h"

#define CHUNK_BYTES ((size_t)2 << 20) /* of every chunk but a file's last; 4 MiB are read */
#define CHUNKS_MAX_TEXT ((size_t)16 << 20)

struct chunk {
    size_t file, bytes;
    char sha256[SHA256_HEX];
};
struct chunks {
    struct chunk *list;
    size_t n;
};

/* Refused, with the line: another form, a file that the manifest has not, files out of order, a chunk
 * of no or more than 4 MiB, chunks that do not add up to the file. */
int chunks_parse(struct chunks *c, const struct manifest *m, const char *where, const char *text,
                 size_t len, struct err *err);
void chunks_done(struct chunks *c); /* safe on a zeroed one */

#endif
