/* SHA-256 (FIPS 180-4), by libcrypto. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stddef.h>

#include "base/err.h"

#define SHA256_HEX 65 /* 64 hex digits and a NUL */

void sha256_hex(const void *data, size_t len, char hex[SHA256_HEX]);
/* Read, not mapped: a file that is cut short meanwhile must not kill the process. */
int sha256_file(const char *path, char hex[SHA256_HEX], size_t *len, struct err *err);

/* Of bytes that come in parts. */
struct sha256;
struct sha256 *sha256_open(void);
void sha256_add(struct sha256 *s, const void *data, size_t len);
void sha256_close(struct sha256 *s,
                  char hex[SHA256_HEX]); /* hex NULL: not wanted; s NULL allowed */

#endif
