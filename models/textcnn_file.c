/* TextCNN's directory: config.json and the tensors of the parameter table. */
#include "models/textcnn_parts.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "models/arch.h"
#include "models/textcnn_arch.h"

enum { MAX_CONFIG = 16 << 20, MAX_EMBEDDING = 8192, MAX_FILTERS = 65536, MAX_VOCAB = 1 << 21 };

static int widths_read(const json_t *config, struct textcnn_config *cfg, struct err *err)
{
    const json_t *list = json_object_get(config, "filter_widths");
    size_t n = json_array_size(list); /* 0 when it is no array */
    if (n < 1 || n > TEXTCNN_MAX_WIDTHS)
        return err_set(err, ERR_FORMAT, "\"filter_widths\": expected a list of 1 to %d widths",
                       TEXTCNN_MAX_WIDTHS);
    cfg->n_widths = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *w = json_array_get(list, i);
        json_int_t width = json_integer_value(w); /* 0 when it is no integer */
        if (width < 1 || width > TEXTCNN_MAX_WIDTH)
            return err_set(err, ERR_FORMAT,
                           "\"filter_widths\": number %zu is not an integer between 1 and %d",
                           i + 1, TEXTCNN_MAX_WIDTH);
        cfg->widths[i] = (int32_t)width;
    }
    return 0;
}

int textcnn_config_read(const json_t *config, struct textcnn_config *out, struct err *err)
{
    struct textcnn_config cfg = {0};
    double dropout = 0.5;
    if (arch_need_int(config, "vocab_size", VOCAB_FIRST, MAX_VOCAB, &cfg.vocab_size, err) != 0 ||
        arch_need_int(config, "embedding_size", 1, MAX_EMBEDDING, &cfg.embedding_size, err) != 0 ||
        arch_need_int(config, "num_filters", 1, MAX_FILTERS, &cfg.n_filters, err) != 0 ||
        arch_need_int(config, "num_labels", 1, DATASET_MAX_CLASSES, &cfg.n_labels, err) != 0 ||
        arch_need_int(config, "max_length", 1, CONVPOOL_MAX_TOKENS, &cfg.max_tokens, err) != 0 ||
        widths_read(config, &cfg, err) != 0 ||
        json_get_real(config, "hidden_dropout_prob", &dropout, err) != 0)
        return -1;
    if (!(dropout >= 0.0 && dropout < 1.0))
        return err_set(err, ERR_FORMAT, "\"hidden_dropout_prob\": %g is not in [0, 1)", dropout);
    cfg.dropout = (float)dropout;
    *out = cfg;
    return 0;
}

/* A convolution lies [F, E, width] in the file and [width][F][E] in memory. to_file tells the
 * direction. */
static void turn(const struct textcnn_param *p, const float *from, float *to, bool to_file)
{
    if (p->n_dims != 3) {
        memcpy(to, from, p->size * sizeof *to);
        return;
    }
    size_t f = (size_t)p->dims[0], e = (size_t)p->dims[1], width = (size_t)p->dims[2];
    for (size_t i = 0; i < f; i++)
        for (size_t k = 0; k < e; k++)
            for (size_t j = 0; j < width; j++) {
                size_t file = (i * e + k) * width + j, memory = (j * f + i) * e + k;
                to[to_file ? file : memory] = from[to_file ? memory : file];
            }
}

static int check_values(const struct textcnn_config *cfg, const struct textcnn_param *p,
                        const float *w, struct err *err)
{
    for (size_t k = 0; k < p->size; k++)
        if (!isfinite(w[k]))
            return err_set(err, ERR_NUMERIC, "tensor \"%s\": value %zu is %s", p->name, k,
                           isnan(w[k]) ? "not a number" : "infinite");
    for (size_t k = 0; p->offset == 0 && k < (size_t)cfg->embedding_size; k++)
        if (w[(size_t)VOCAB_PAD * (size_t)cfg->embedding_size + k] != 0.0f)
            return err_set(err, ERR_NUMERIC, "tensor \"%s\": the row of [PAD] is not zero",
                           p->name);
    return 0;
}

int textcnn_weights_read(const struct tensor_set *set, const struct textcnn_config *cfg,
                         float **out, struct err *err)
{
    struct textcnn_param p[TEXTCNN_MAX_PARAMS];
    const struct tensor *t[TEXTCNN_MAX_PARAMS];
    int n = textcnn_params(cfg, p);
    /* Shapes first: then the file has the bytes that are about to be allocated. */
    for (int i = 0; i < n; i++)
        if (tensor_set_need(set, p[i].name, p[i].n_dims, p[i].dims, &t[i], err) != 0)
            return -1;
    for (size_t k = 0; k < set->n; k++) {
        int i = 0;
        while (i < n && &set->tensors[k] != t[i])
            i++;
        if (i == n)
            return err_set(err, ERR_FORMAT, "tensor \"%s\" does not belong to a textcnn model",
                           set->tensors[k].name);
    }
    float *w = xmalloc(textcnn_size(cfg) * sizeof *w), *raw = NULL;
    int rc = 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        raw = xrealloc(raw, p[i].size * sizeof *raw);
        rc = tensor_to_f32(t[i], raw, err);
        if (rc == 0)
            rc = check_values(cfg, &p[i], raw, err);
        if (rc == 0)
            turn(&p[i], raw, w + p[i].offset, false);
    }
    free(raw);
    if (rc == 0)
        *out = w;
    else
        free(w);
    return rc;
}

int textcnn_load(const char *dir, struct textcnn_config *cfg, float **w, struct err *err)
{
    char *config_path = file_path("%s/config.json", dir);
    char *weights_path = file_path("%s/model.safetensors", dir);
    struct safetensors *st = NULL;
    struct textcnn_config got;
    const char *type = NULL;
    int rc = -1;
    json_t *config = json_parse_file(config_path, MAX_CONFIG, err);
    if (!config)
        goto done;
    if (json_get_str(config, "model_type", &type, err) != 0 ||
        textcnn_config_read(config, &got, err) != 0) {
        (void)err_prefix(err, "%s", config_path);
        goto done;
    }
    if (!type || strcmp(type, textcnn_arch.model_type) != 0) {
        (void)err_set(err, ERR_FORMAT, "%s: model_type is %.100s, expected textcnn", config_path,
                      type ? type : "missing");
        goto done;
    }
    if (safetensors_open(weights_path, &st, err) != 0)
        goto done;
    rc = textcnn_weights_read(safetensors_tensors(st), &got, w, err);
    if (rc != 0)
        (void)err_prefix(err, "%s", weights_path);
    else
        *cfg = got;
done:
    safetensors_close(st);
    json_decref(config);
    free(weights_path);
    free(config_path);
    return rc;
}

/* The tensor's values as the file has them, in a block the caller frees. */
static int pack(const struct textcnn_config *cfg, const struct textcnn_param *p, const float *w,
                enum dtype dtype, struct tensor *t, struct err *err)
{
    float *values = xmalloc(p->size * sizeof *values);
    turn(p, w + p->offset, values, true);
    *t = (struct tensor){.name = p->name, .dtype = dtype, .n_dims = p->n_dims, .data = values};
    memcpy(t->dims, p->dims, sizeof p->dims);
    t->bytes = p->size * dtype_size(dtype);
    if (check_values(cfg, p, values, err) != 0)
        return -1;
    if (dtype == DT_F32)
        return 0;
    uint16_t *half = xmalloc(p->size * sizeof *half);
    t->data = half;
    int rc = 0;
    for (size_t k = 0; rc == 0 && k < p->size; k++) {
        half[k] = f16_from_f32(values[k]);
        if (!isfinite(f16_to_f32(half[k])))
            rc = err_set(err, ERR_NUMERIC, "tensor \"%s\": value %zu, %g, is beyond F16", p->name,
                         k, (double)values[k]);
    }
    free(values);
    return rc;
}

static json_t *config_of(const struct textcnn_config *cfg, enum dtype dtype)
{
    json_t *widths = json_array(), *config = json_object();
    for (int i = 0; i < cfg->n_widths; i++)
        (void)json_array_append_new(widths, json_integer(cfg->widths[i]));
    (void)json_object_set_new(config, "architectures", json_pack("[s]", "TextCNN"));
    (void)json_object_set_new(config, "embedding_size", json_integer(cfg->embedding_size));
    (void)json_object_set_new(config, "num_filters", json_integer(cfg->n_filters));
    (void)json_object_set_new(config, "filter_widths", widths);
    (void)json_object_set_new(config, "max_length", json_integer(cfg->max_tokens));
    (void)json_object_set_new(config, "hidden_dropout_prob", json_real((double)cfg->dropout));
    (void)json_object_set_new(config, "pad_token_id", json_integer(VOCAB_PAD));
    (void)json_object_set_new(config, "torch_dtype",
                              json_string(dtype == DT_F16 ? "float16" : "float32"));
    return config;
}

int textcnn_save(const char *dir, const char *name, const struct textcnn_config *cfg,
                 const float *w, const struct vocab *v, const struct classes *classes,
                 enum dtype dtype, struct err *err)
{
    assert(dtype == DT_F32 || dtype == DT_F16);
    assert(vocab_size(v) == cfg->vocab_size && classes->n == cfg->n_labels);
    struct textcnn_param p[TEXTCNN_MAX_PARAMS];
    struct tensor t[TEXTCNN_MAX_PARAMS] = {0};
    int n = textcnn_params(cfg, p), rc = 0;
    for (int i = 0; rc == 0 && i < n; i++)
        rc = pack(cfg, &p[i], w, dtype, &t[i], err);
    if (rc == 0) {
        json_t *config = config_of(cfg, dtype);
        rc = arch_save(dir, textcnn_arch.model_type, name, config, t, (size_t)n, v, classes, err);
        json_decref(config);
    }
    for (int i = 0; i < n; i++)
        free((void *)(uintptr_t)t[i].data);
    return rc;
}
