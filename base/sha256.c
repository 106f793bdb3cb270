#include "base/sha256.h"

#include <openssl/sha.h>
#include <stdio.h>

#include "base/file.h"

void sha256_hex(const void *data, size_t len, char hex[SHA256_HEX])
{
    unsigned char sum[SHA256_DIGEST_LENGTH];
    (void)SHA256(len ? data : (const void *)"", len, sum);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}

int sha256_file(const char *path, char hex[SHA256_HEX], size_t *len, struct err *err)
{
    struct file_map m;
    if (file_map_open(&m, path, err) != 0)
        return -1;
    sha256_hex(m.data, m.len, hex);
    if (len)
        *len = m.len;
    file_map_close(&m);
    return 0;
}
