#include "base/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 1 << 18 };

struct sha256 {
    EVP_MD_CTX *ctx;
};

struct sha256 *sha256_open(void)
{
    struct sha256 *s = xmalloc(sizeof *s);
    s->ctx = EVP_MD_CTX_new();
    if (!s->ctx || EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) != 1) {
        (void)fputs("libcrypto has no SHA-256\n", stderr);
        abort();
    }
    return s;
}

void sha256_add(struct sha256 *s, const void *data, size_t len)
{
    if (len)
        (void)EVP_DigestUpdate(s->ctx, data, len);
}

void sha256_close(struct sha256 *s, char hex[SHA256_HEX])
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    if (!s)
        return;
    (void)EVP_DigestFinal_ex(s->ctx, sum, NULL);
    for (int i = 0; hex && i < (SHA256_HEX - 1) / 2; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    EVP_MD_CTX_free(s->ctx);
    free(s);
}

void sha256_hex(const void *data, size_t len, char hex[SHA256_HEX])
{
    struct sha256 *s = sha256_open();
    sha256_add(s, data, len);
    sha256_close(s, hex);
}

int sha256_file(const char *path, char hex[SHA256_HEX], size_t *len, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, errno == ENOENT ? ERR_MISSING : ERR_IO, "%s: open: %s", path,
                       strerror(errno));
    struct sha256 *s = sha256_open();
    char *block = xmalloc(BLOCK);
    size_t sum = 0;
    ssize_t got;
    while ((got = read(fd, block, BLOCK)) > 0 || (got < 0 && errno == EINTR)) {
        if (got < 0)
            continue;
        sha256_add(s, block, (size_t)got);
        sum += (size_t)got;
    }
    int rc = got == 0 ? 0 : err_set(err, ERR_IO, "%s: read: %s", path, strerror(errno));
    sha256_close(s, rc == 0 ? hex : NULL);
    free(block);
    (void)close(fd);
    if (rc == 0 && len)
        *len = sum;
    return rc;
}
