/* The C side of safetensors_interop.py and transformers_open.py.
 *   copy IN OUT         reads IN; writes its tensors as they are, and each floating one also as
 *                       NAME.f32, NAME.f16 and NAME.bf16
 *   convert DIR OUT T   writes the weights of a model directory, the floating ones as F32, F16 or BF16
 *   check FILE…         prints "ok" or the error for each */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "models/checkpoint.h"
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

static int convert(const char *dir, const char *out, const char *type)
{
    struct checkpoint *ck;
    struct err err;
    enum dtype dtype = DT_F32;
    while (dtype < DT_COUNT && strcmp(dtype_name(dtype), type) != 0)
        dtype++;
    if (dtype > DT_BF16 || checkpoint_open(dir, &ck, &err) != 0)
        return fail(dtype > DT_BF16 ? &(struct err){.msg = "no such type"} : &err);
    const struct tensor_set *set = checkpoint_tensors(ck);
    struct tensor *list = xcalloc(set->n, sizeof *list);
    for (size_t i = 0; i < set->n; i++) {
        struct tensor *t = &list[i];
        *t = set->tensors[i];
        size_t n = t->bytes / dtype_size(t->dtype);
        float *wide = xcalloc(n, sizeof *wide);
        if (tensor_to_f32(t, wide, &err) != 0) /* whole numbers stay as they are */
            continue;
        uint16_t *half = xcalloc(n, sizeof *half);
        for (size_t k = 0; k < n; k++)
            half[k] = dtype == DT_F16 ? f16_from_f32(wide[k]) : bf16_from_f32(wide[k]);
        t->dtype = dtype;
        t->bytes = n * dtype_size(dtype);
        t->data = dtype == DT_F32 ? (const void *)wide : half;
    }
    static const char *const meta[] = {"format", "pt", NULL}; /* transformers asks for it */
    return safetensors_write(out, list, set->n, meta, &err) == 0 ? 0 : fail(&err);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "copy") == 0)
        return copy(argv[2], argv[3]);
    if (argc == 5 && strcmp(argv[1], "convert") == 0)
        return convert(argv[2], argv[3], argv[4]);
    for (int i = 2; i < argc; i++) {
        struct safetensors *st = NULL;
        struct err err;
        int rc = safetensors_open(argv[i], &st, &err);
        (void)printf("%s\n", rc == 0 ? "ok" : err.msg);
        safetensors_close(st);
    }
    return 0;
}
