/* Bytes as a file of torch.save(): whatever they are, an error or tensors that lie within them. */
#include <stdint.h>
#include <stdlib.h>

#include "models/torch_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct torch_file *f = NULL;
    struct err err;
    if (torch_file_parse("fuzz", data, size, &f, &err) != 0) {
        if (f || !err.msg[0])
            abort();
        return 0;
    }
    const struct tensor_set *set = torch_file_tensors(f);
    volatile unsigned char last = 0;
    for (size_t i = 0; i < set->n; i++) {
        const struct tensor *t = &set->tensors[i];
        size_t n = dtype_size(t->dtype);
        for (int d = 0; d < t->n_dims; d++)
            n *= (size_t)t->dims[d];
        if (n != t->bytes || tensor_set_find(set, t->name) != t)
            abort();
        for (size_t b = 0; b < t->bytes; b++)
            last = ((const unsigned char *)t->data)[b];
    }
    (void)last;
    torch_file_close(f);
    return 0;
}
