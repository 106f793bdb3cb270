/* Any bytes as a safetensors file: refused with a message, or every tensor can be found, read and
 * stays inside. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/safetensors.h"

static void require(int good)
{
    if (!good)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *st = NULL;
    struct err err = {0};
    if (safetensors_parse("fuzz", data, size, &st, &err) != 0) {
        require(!st && err.code == ERR_FORMAT && strncmp(err.msg, "fuzz: ", 6) == 0);
        return 0;
    }
    size_t total = 0;
    for (size_t i = 0; i < safetensors_tensors(st)->n; i++) {
        const struct tensor *t = &safetensors_tensors(st)->tensors[i], *needed;
        const uint8_t *p = t->data;
        require(p >= data && t->bytes <= size && p + t->bytes <= data + size);
        require(tensor_set_find(safetensors_tensors(st), t->name) == t);
        require(tensor_set_need(safetensors_tensors(st), t->name, t->n_dims, t->dims, &needed,
                                &err) == 0 &&
                needed == t);
        float *values = malloc(t->bytes / dtype_size(t->dtype) * sizeof *values + 1);
        (void)tensor_to_f32(t, values, &err);
        (void)tensor_check_weights(t, &err);
        free(values);
        total += t->bytes;
    }
    require(total <= size);
    (void)safetensors_meta(st, "format");
    safetensors_close(st);
    return 0;
}
