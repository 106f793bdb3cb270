#include "models/linear.h"

#include <assert.h>
#include <math.h>

#include "models/arch.h"
#include "models/linear_arch.h"
#include "ops/tfidf.h"

static int check_finite(const char *name, const float *x, size_t n, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return err_set(err, ERR_NUMERIC, "tensor \"%s\": value %zu is not a finite number",
                           name, i);
    return 0;
}

int linear_save(const char *dir, const char *name, const struct linear_weights *lw,
                const struct vocab *v, const struct classes *classes, struct err *err)
{
    assert(classes->n == lw->n_labels && lw->max_tokens >= 1 &&
           lw->max_tokens <= LINEAR_MAX_TOKENS);
    int64_t f = ngrams_count(lw->ngrams), labels = lw->n_labels;
    size_t n = (size_t)f, cells = n * (size_t)labels;
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
         .dtype = DT_F32,
         .n_dims = 2,
         .dims = {labels, f},
         .data = lw->weight,
         .bytes = cells * sizeof(float)},
        {.name = "bias",
         .dtype = DT_F32,
         .n_dims = 1,
         .dims = {labels},
         .data = lw->bias,
         .bytes = (size_t)labels * sizeof(float)},
    };
    if (check_finite("weight", lw->weight, cells, err) != 0 ||
        check_finite("bias", lw->bias, (size_t)labels, err) != 0)
        return -1;
    if (!isfinite(lw->scale) || !(lw->scale > 0.0f))
        return err_set(err, ERR_NUMERIC, "scale %g is not a positive number", (double)lw->scale);
    json_t *config = json_object();
    (void)json_object_set_new(config, "architectures", json_pack("[s]", "LinearNgrams"));
    (void)json_object_set_new(config, "ngram_max", json_integer(TFIDF_NGRAM));
    (void)json_object_set_new(config, "num_features", json_integer(f));
    (void)json_object_set_new(config, "max_length", json_integer(lw->max_tokens));
    (void)json_object_set_new(config, "scale", json_real((double)lw->scale));
    (void)json_object_set_new(config, "torch_dtype", json_string("float32"));
    int rc = arch_save(dir, linear_arch.model_type, name, config, tensors,
                       sizeof tensors / sizeof *tensors, v, classes, err);
    json_decref(config);
    return rc;
}
