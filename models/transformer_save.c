#include "models/transformer_save.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "models/arch.h"
#include "models/safetensors.h"

static char *class_of(const struct transformer_config *c, const char *type)
{
    static const char *const names[FAMILIES] = {
        [FAMILY_BERT] = "Bert",     [FAMILY_ERNIE] = "Ernie", [FAMILY_ELECTRA] = "Electra",
        [FAMILY_ALBERT] = "Albert", [FAMILY_NEZHA] = "Nezha", [FAMILY_XLNET] = "XLNet",
        [FAMILY_T5] = "T5"};
    return file_path("%sFor%s", strcmp(type, "mt5") == 0 ? "MT5" : names[c->family],
                     c->head == HEAD_MASKED ? "MaskedLM" : "SequenceClassification");
}

static void narrow(uint16_t *to, const float *w, size_t n, enum dtype dtype)
{
    for (size_t i = 0; i < n; i++)
        to[i] = dtype == DT_F16 ? f16_from_f32(w[i]) : bf16_from_f32(w[i]);
}

static int save_weights(const char *path, const struct trainable *t, const float *w,
                        enum dtype dtype, struct err *err)
{
    static const char *const meta[] = {"format", "pt", NULL};
    struct tensor *list = xcalloc(t->n, sizeof *list);
    uint16_t *half = dtype == DT_F32 ? NULL : xmalloc(t->size * sizeof *half);
    if (half)
        narrow(half, w, t->size, dtype);
    for (size_t i = 0; i < t->n; i++) {
        const struct trainable_tensor *x = &t->tensors[i];
        list[i] = (struct tensor){.name = x->name,
                                  .dtype = dtype,
                                  .n_dims = x->n_dims,
                                  .data = half ? (const void *)(half + x->offset)
                                               : (const void *)(w + x->offset),
                                  .bytes = x->size * dtype_size(dtype)};
        memcpy(list[i].dims, x->dims, sizeof list[i].dims);
    }
    int rc = 0;
    /* A half has no number beyond 65,504: what overflows would be refused when it is opened. */
    for (size_t i = 0; i < t->n && rc == 0; i++)
        if (tensor_check_weights(&list[i], err) != 0)
            rc = err_prefix(err, "%s in %s", path, dtype_name(dtype));
    if (rc == 0)
        rc = safetensors_write(path, list, t->n, meta, err);
    free(half);
    free(list);
    return rc;
}

static json_t *config_of(const json_t *config, const char *name, const struct trainable *t,
                         const struct classes *classes, enum dtype dtype)
{
    json_t *out = json_deep_copy(config), *names = json_array();
    const char *type = json_string_value(json_object_get(config, "model_type"));
    (void)json_object_del(out, "int8_keep"); /* all were found for other weights */
    (void)json_object_del(out, "rubric_temperature");
    (void)json_object_del(out, "rubric_quantization");
    type = type ? type : "bert";
    char *class = class_of(&t->cfg, type);
    arch_describe(out, type, name, t->cfg.vocab_size, classes);
    (void)json_array_append_new(names, json_string(class));
    free(class);
    (void)json_object_set_new(out, "architectures", names);
    (void)json_object_set_new(out, "torch_dtype",
                              json_string(dtype == DT_F16    ? "float16"
                                          : dtype == DT_BF16 ? "bfloat16"
                                                             : "float32"));
    return out;
}

int transformer_copy_tokenizer(const char *from, const char *dir, struct err *err)
{
    static const char *const files[] = {"vocab.txt", "spiece.model", "tokenizer_config.json",
                                        "special_tokens_map.json"};
    int rc = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files && rc == 0; i++) {
        char *a = file_path("%s/%s", from, files[i]), *b = file_path("%s/%s", dir, files[i]);
        if (file_exists(a))
            rc = file_copy(a, b, err);
        free(a);
        free(b);
    }
    return rc;
}

int transformer_save(const char *dir, const char *from, const json_t *config, const char *name,
                     const struct trainable *t, const float *w, const struct classes *classes,
                     enum dtype dtype, struct err *err)
{
    if (file_mkdirs(dir, err) != 0)
        return -1;
    char *path = file_path("%s/model.safetensors", dir);
    json_t *out = config_of(config, name, t, classes, dtype);
    int rc = save_weights(path, t, w, dtype, err);
    if (rc == 0)
        rc = transformer_copy_tokenizer(from, dir, err);
    if (rc == 0 && classes)
        rc = arch_write_labels(dir, classes, err);
    if (rc == 0)
        rc = arch_write_config(dir, out, err);
    json_decref(out);
    free(path);
    return rc;
}
