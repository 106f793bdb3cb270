/* Any bytes as the chunk lines that a registry sends, against manifests of a few files: refused with a
 * message, or chunks that add up to the files. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "models/registry_chunks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char names[3][8] = {"a", "b", "c"};
    struct manifest_entry files[3];
    struct manifest m = {.files = files};
    struct chunks c;
    struct err err = {0};
    if (size < 4)
        return 0;
    m.n = data[0] % 4;
    for (size_t i = 0; i < 3; i++)
        files[i] = (struct manifest_entry){.name = names[i], .bytes = data[1 + i] % 50};
    if (chunks_parse(&c, &m, "here", (const char *)data + 4, size - 4, &err) != 0) {
        if (!err.msg[0] || c.list)
            abort();
        return 0;
    }
    int64_t sum = 0, expected = 0;
    for (size_t i = 0; i < c.n; i++) {
        if (c.list[i].file >= m.n || strlen(c.list[i].sha256) != SHA256_HEX - 1)
            abort();
        sum += (int64_t)c.list[i].bytes;
    }
    for (size_t i = 0; i < m.n; i++)
        expected += files[i].bytes;
    if (sum != expected)
        abort();
    chunks_done(&c);
    return 0;
}
