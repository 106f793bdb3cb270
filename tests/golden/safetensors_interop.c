/* The C side of safetensors_interop.py.
 *   copy IN OUT   reads IN; writes its tensors as they are, and each floating one also as NAME.f32,
 * NAME.f16 and NAME.bf16 check FILE…   prints "ok" or the error for each */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "models/safetensors.h"

static int fail(const struct err *err)
{
    (void)fprintf(stderr, "%s\n", err->msg);
    return 1;
}

static struct tensor made(const struct tensor *t, enum dtype dtype, void *data)
{
    struct tensor out = *t;
    out.name = file_path("%s.%s", t->name,
                         dtype == DT_F32   ? "f32"
                         : dtype == DT_F16 ? "f16"
                                           : "bf16");
    out.dtype = dtype;
    out.data = data;
    out.bytes = t->bytes / dtype_size(t->dtype) * dtype_size(dtype);
    return out;
}

static int copy(const char *in, const char *out)
{
    struct safetensors *st;
    struct err err;
    if (safetensors_open(in, &st, &err) != 0)
        return fail(&err);
    size_t count = safetensors_tensors(st)->n, n = 0;
    struct tensor *list = xcalloc(4 * count, sizeof *list);
    for (size_t i = 0; i < count; i++) {
        const struct tensor *t = list + n;
        list[n++] = safetensors_tensors(st)->tensors[i];
        size_t elements = t->bytes / dtype_size(t->dtype);
        float *wide = xcalloc(elements, sizeof *wide);
        uint16_t *half = xcalloc(elements, sizeof *half), *bhalf = xcalloc(elements, sizeof *bhalf);
        if (tensor_to_f32(t, wide, &err) != 0)
            continue;
        for (size_t k = 0; k < elements; k++) {
            half[k] = f16_from_f32(wide[k]);
            bhalf[k] = bf16_from_f32(wide[k]);
        }
        list[n++] = made(t, DT_F32, wide);
        list[n++] = made(t, DT_F16, half);
        list[n++] = made(t, DT_BF16, bhalf);
    }
    const char *format = safetensors_meta(st, "format");
    const char *const meta[] = {"format", format ? format : "", NULL};
    return safetensors_write(out, list, n, meta, &err) == 0 ? 0 : fail(&err);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "copy") == 0)
        return copy(argv[2], argv[3]);
    for (int i = 2; i < argc; i++) {
        struct safetensors *st = NULL;
        struct err err;
        int rc = safetensors_open(argv[i], &st, &err);
        (void)printf("%s\n", rc == 0 ? "ok" : err.msg);
        safetensors_close(st);
    }
    return 0;
}
