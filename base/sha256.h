/* SHA-256 (FIPS 180-4), by libcrypto. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stddef.h>

#include "base/err.h"

#define SHA256_HEX 65 /* 64 hex digits and a NUL */

void sha256_hex(const void *data, size_t len, char hex[SHA256_HEX]);
int sha256_file(const char *path, char hex[SHA256_HEX], size_t *len, struct err *err);

#endif
