/* Files within a ZIP archive that stores them as they are, as torch.save() writes: each is a range of
 * the archive's bytes, nothing is copied.  Format: PKWARE's APPNOTE.TXT, with zip64.
 * Compressed, encrypted or overlapping entries, and offsets or sizes outside the archive, are
 * refused by name. */
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
    struct zip_entry *entries;
    size_t n;
};

/* name goes into messages; entries point into data.  zip_stored_done() after success. */
int zip_stored_open(const char *name, const char *data, size_t len, struct zip_stored *out,
                    struct err *err);
void zip_stored_done(struct zip_stored *z);
/* NULL when absent. */
const struct zip_entry *zip_stored_find(const struct zip_stored *z, const char *name, size_t len);

#endif
