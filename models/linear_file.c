#include "models/linear.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "models/arch.h"
#include "models/linear_arch.h"
#include "ops/tfidf.h"

static void narrow(uint16_t *to, const float *x, size_t n, enum dtype dtype)
{
    for (size_t i = 0; i < n; i++)
        to[i] = dtype == DT_F16 ? f16_from_f32(x[i]) : bf16_from_f32(x[i]);
}

static int check(const struct linear_weights *lw, const struct tensor *weight,
                 const struct tensor *bias, struct err *err)
{
    if (tensor_check_weights(weight, err) != 0 || tensor_check_weights(bias, err) != 0)
        return -1;
    return isfinite(lw->scale) && lw->scale > 0.0f
               ? 0
               : err_set(err, ERR_NUMERIC, "scale %g is not a positive number", (double)lw->scale);
}

int linear_save(const char *dir, const char *name, const struct linear_weights *lw,
                const struct vocab *v, const struct classes *classes, enum dtype dtype,
                struct err *err)
{
    assert(dtype == DT_F32 || dtype == DT_F16 || dtype == DT_BF16);
    assert(classes->n == lw->n_labels && lw->max_tokens >= 1 &&
           lw->max_tokens <= LINEAR_MAX_TOKENS);
    int64_t f = ngrams_count(lw->ngrams), labels = lw->n_labels;
    size_t n = (size_t)f, cells = n * (size_t)labels;
    uint16_t *half = NULL;
    if (dtype != DT_F32) {
        half = xmalloc((cells + (size_t)labels) * sizeof *half);
        narrow(half, lw->weight, cells, dtype);
        narrow(half + cells, lw->bias, (size_t)labels, dtype);
    }
    const struct tensor tensors[] = {
        {.name = "ngrams",
         .dtype = DT_I64,
         .n_dims = 1,
         .dims = {f},
         .data = ngrams_keys(lw->ngrams),
         .bytes = n * sizeof(int64_t)},
        {.name = "idf",
         .dtype = DT_F32,
         .n_dims = 1,
         .dims = {f},
         .data = ngrams_idf(lw->ngrams),
         .bytes = n * sizeof(float)},
        {.name = "weight",
         .dtype = dtype,
         .n_dims = 2,
         .dims = {labels, f},
         .data = half ? (const void *)half : lw->weight,
         .bytes = cells * dtype_size(dtype)},
        {.name = "bias",
         .dtype = dtype,
         .n_dims = 1,
         .dims = {labels},
         .data = half ? (const void *)(half + cells) : lw->bias,
         .bytes = (size_t)labels * dtype_size(dtype)},
    };
    int rc = check(lw, &tensors[2], &tensors[3], err);
    if (rc != 0) {
        free(half);
        return -1;
    }
    json_t *config = json_object();
    (void)json_object_set_new(config, "architectures", json_pack("[s]", "LinearNgrams"));
    (void)json_object_set_new(config, "ngram_max", json_integer(TFIDF_NGRAM));
    (void)json_object_set_new(config, "num_features", json_integer(f));
    (void)json_object_set_new(config, "max_length", json_integer(lw->max_tokens));
    (void)json_object_set_new(config, "scale", json_real((double)lw->scale));
    (void)json_object_set_new(config, "torch_dtype",
                              json_string(dtype == DT_F16    ? "float16"
                                          : dtype == DT_BF16 ? "bfloat16"
                                                             : "float32"));
    rc = arch_save(dir, linear_arch.model_type, name, config, tensors,
                   sizeof tensors / sizeof *tensors, v, classes, err);
    json_decref(config);
    free(half);
    return rc;
}
