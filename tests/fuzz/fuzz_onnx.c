/* ONNX files and what import makes of them: an error or an encoder whose tensors have the bytes that their shapes
 * say. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "trainer/import_onnx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static int fd = -1;
    char path[40];
    struct onnx_graph *g;
    struct imported m;
    struct err err;
    if (fd < 0)
        fd = memfd_create("onnx", 0);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, n, 0) != (ssize_t)n)
        abort();
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (onnx_open(path, &g, &err) != 0)
        return 0;
    if (import_onnx(g, &m, &err) == 0) {
        for (size_t i = 0; i < m.n; i++) {
            size_t bytes = sizeof(float);
            for (int k = 0; k < m.tensors[i].n_dims; k++)
                bytes *= (size_t)m.tensors[i].dims[k];
            if (bytes != m.tensors[i].bytes)
                abort();
        }
        imported_done(&m);
    }
    onnx_close(g);
    return 0;
}
