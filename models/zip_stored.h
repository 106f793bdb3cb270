/* Files within a ZIP archive that stores them as they are, as torch.save() writes: each is a range of
 * the archive's bytes, nothing is copied.  Format: PKWARE's APPNOTE.TXT, with zip64.
 * Compressed or encrypted entries, two of one name, bytes that belong to two entries or to an entry
 * and the directory, offsets or sizes outside the archive and bytes behind its end are refused, each
 * with its place.  Checksums are not computed: weights are hashed as a whole where it matters. */
#ifndef MODELS_ZIP_STORED_H
#define MODELS_ZIP_STORED_H

#include <stddef.h>

#include "base/err.h"

struct zip_entry {
    const char *name; /* within the archive, name_len bytes, no NUL behind them */
    size_t name_len;
    const char *data;
    size_t len;
};

struct zip_stored {
    struct zip_entry *entries; /* [n], in the order of their names */
    size_t n;
};

/* name goes into messages; entries point into data.  zip_stored_done() after success. */
int zip_stored_open(const char *name, const char *data, size_t len, struct zip_stored *out,
                    struct err *err);
void zip_stored_done(struct zip_stored *z);
/* NULL when absent; log2(n) comparisons. */
const struct zip_entry *zip_stored_find(const struct zip_stored *z, const char *name, size_t len);

#endif
