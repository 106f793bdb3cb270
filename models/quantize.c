#include "models/quantize.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "models/arch.h"
#include "models/body_parts.h"
#include "models/checkpoint.h"
#include "models/params.h"
#include "models/safetensors.h"
#include "models/textcnn_arch.h"
#include "models/transformer_save.h"
#include "ops/int8.h"

enum { MAX_CONFIG = 16 << 20, MAX_PARTS = 3 /* of a unit */ };

struct unit {
    char *name;
    const struct tensor *parts[MAX_PARTS];
    bool trails; /* outputs are not the first dimension */
};

struct quantize {
    char *dir;
    json_t *config;
    struct checkpoint *ck;
    const struct tensor_set *set;
    struct unit *units;
    int n_units;
};

static void add_unit(struct quantize *q, const struct tensor *const *parts, int n, bool trails)
{
    for (int i = 0; i < q->n_units; i++)
        if (q->units[i].parts[0] == parts[0]) /* layers that share it */
            return;
    q->units = xrealloc(q->units, ((size_t)q->n_units + 1) * sizeof *q->units);
    struct unit *u = &q->units[q->n_units++];
    const char *name = parts[0]->name, *end = strstr(name, ".weight");
    *u = (struct unit){.trails = trails};
    u->name = end && strcmp(end, ".weight") == 0 ? file_path("%.*s", (int)(end - name), name)
                                                 : xstrdup(name);
    for (int i = 0; i < n; i++)
        u->parts[i] = parts[i];
}

static void add_param(struct quantize *q, const struct params *p, enum stack stack, int32_t layer,
                      enum param which, enum family family)
{
    const struct tensor *parts[MAX_PARTS] = {params_of(p, stack, which, layer)};
    bool trails = family == FAMILY_XLNET && (which == P_Q_W || which == P_K_W || which == P_V_W);
    int n = 1;
    if (!parts[0] || which == P_K_W || which == P_V_W)
        return;
    if (which == P_Q_W) {
        parts[n++] = params_of(p, stack, P_K_W, layer);
        parts[n++] = params_of(p, stack, P_V_W, layer);
    }
    add_unit(q, parts, n, trails);
}

static int transformer_units(struct quantize *q, struct err *err)
{
    struct transformer_config cfg;
    struct params p;
    if (transformer_config_read(q->config, q->set, &cfg, err) != 0)
        return err_prefix(err, "%s/config.json", q->dir);
    if (params_find(q->set, &cfg, HEAD_NONE, &p, err) != 0)
        return -1;
    for (int w = 0; w < P_FIRST_OF_LAYER; w++)
        if (parts_may_be_bytes((enum param)w))
            add_param(q, &p, STACK_ENCODER, 0, (enum param)w, cfg.family);
    for (int stack = 0; stack < STACKS; stack++)
        for (int32_t l = 0; l < p.layers[stack]; l++)
            for (int w = P_FIRST_OF_LAYER; w < PARAMS; w++)
                if (parts_may_be_bytes((enum param)w))
                    add_param(q, &p, (enum stack)stack, l, (enum param)w, cfg.family);
    params_done(&p);
    return 0;
}

/* The embedding and the convolutions: all that has more than a row for each label. */
static int textcnn_units(struct quantize *q, struct err *err)
{
    for (size_t i = 0; i < q->set->n; i++) {
        const struct tensor *t = &q->set->tensors[i];
        bool embedding = strcmp(t->name, "embedding.weight") == 0;
        if (!embedding && t->n_dims != 3)
            continue;
        if (tensor_check_weights(t, err) != 0)
            return err_prefix(err, "%s", q->set->name);
        char shape[TENSOR_SHAPE_TEXT];
        if (t->n_dims != (embedding ? 2 : 3) || t->bytes == 0)
            return err_set(err, ERR_FORMAT,
                           "%s: tensor \"%s\" of shape %s is no matrix to quantise", q->set->name,
                           t->name, tensor_shape_text(t->n_dims, t->dims, shape));
        add_unit(q, &t, 1, false);
    }
    return 0;
}

static int find_units(struct quantize *q, struct err *err)
{
    const char *type = "bert";
    if (json_get_str(q->config, "model_type", &type, err) != 0)
        return err_prefix(err, "%s/config.json", q->dir);
    const struct arch *arch = arch_find(type, err);
    if (!arch)
        return err_prefix(err, "%s/config.json", q->dir);
    if (json_object_get(q->config, "rubric_quantization"))
        return err_set(err, ERR_CONFLICT, "%s: its weights are in bytes already", q->dir);
    if (arch->open_path || (arch->tokenizer == TOKENIZER_CHARACTERS && arch != &textcnn_arch))
        return err_set(err, ERR_USAGE,
                       "%s: %s has no matrices to quantise; transformers and textcnn have", q->dir,
                       type);
    if (checkpoint_open(q->dir, &q->ck, err) != 0)
        return -1;
    q->set = checkpoint_tensors(q->ck);
    return arch == &textcnn_arch ? textcnn_units(q, err) : transformer_units(q, err);
}

int quantize_open(const char *dir, struct quantize **out, struct err *err)
{
    struct quantize *q = xcalloc(1, sizeof *q);
    char *path = file_path("%s/config.json", dir);
    q->dir = xstrdup(dir);
    q->config = json_parse_file(path, MAX_CONFIG, err);
    int rc = q->config ? 0 : -1;
    if (rc == 0 && !json_is_object(q->config))
        rc = err_set(err, ERR_FORMAT, "%s: expected an object", path);
    if (rc == 0)
        rc = find_units(q, err);
    free(path);
    if (rc == 0)
        *out = q;
    else
        quantize_close(q);
    return rc;
}

void quantize_close(struct quantize *q)
{
    if (!q)
        return;
    for (int i = 0; i < q->n_units; i++)
        free(q->units[i].name);
    free(q->units);
    checkpoint_close(q->ck);
    json_decref(q->config);
    free(q->dir);
    free(q);
}

int quantize_units(const struct quantize *q)
{
    return q->n_units;
}

const char *quantize_unit_name(const struct quantize *q, int unit)
{
    return q->units[unit].name;
}

int quantize_mark(const struct quantize *q, const char *name, bool *keep)
{
    int named = 0;
    for (int i = 0; i < q->n_units; i++) {
        bool is = false;
        for (int k = 0; k < MAX_PARTS && q->units[i].parts[k]; k++)
            is = is || parts_keeps(name, q->units[i].parts[k]->name);
        keep[i] = keep[i] || is;
        named += is;
    }
    return named;
}

void quantize_mark_kept(const struct quantize *q, bool *keep)
{
    const json_t *kept = json_object_get(q->config, "int8_keep");
    for (size_t i = 0; i < json_array_size(kept); i++)
        if (json_is_string(json_array_get(kept, i)))
            (void)quantize_mark(q, json_string_value(json_array_get(kept, i)), keep);
}

/* A matrix [outputs, inputs], or with the outputs behind, as bytes and steps; both freed by the caller. */
static void quantized(const struct tensor *t, bool trails, struct tensor *bytes,
                      struct tensor *steps)
{
    size_t n = t->bytes / dtype_size(t->dtype), first = (size_t)t->dims[0], rest = n / first;
    size_t outputs = trails ? rest : first, inputs = n / outputs;
    float *w = xmalloc(n * sizeof *w), *step = xmalloc(outputs * sizeof *step);
    int8_t *q = xmalloc(n);
    (void)tensor_to_f32(t, w, NULL); /* checked when it was found */
    for (size_t i = 0; i < outputs; i++) {
        size_t at = trails ? i : i * inputs;
        step[i] = int8_quantize(q + at, w + at, inputs, trails ? outputs : 1);
    }
    free(w);
    *bytes = *t;
    bytes->dtype = DT_I8;
    bytes->data = q;
    bytes->bytes = n;
    *steps = (struct tensor){.name = file_path("%s" TENSOR_SCALE, t->name),
                             .dtype = DT_F32,
                             .n_dims = trails ? t->n_dims - 1 : 1,
                             .data = step,
                             .bytes = outputs * sizeof *step};
    memcpy(steps->dims, t->dims + trails, sizeof t->dims - sizeof *t->dims);
    if (!trails)
        steps->dims[0] = t->dims[0];
}

/* Which unit a tensor belongs to; -1: none. */
static int unit_of(const struct quantize *q, const struct tensor *t)
{
    for (int i = 0; i < q->n_units; i++)
        for (int k = 0; k < MAX_PARTS; k++)
            if (q->units[i].parts[k] == t)
                return i;
    return -1;
}

static int write_weights(const struct quantize *q, const bool *keep, const char *out,
                         struct err *err)
{
    static const char *const meta[] = {"format", "pt", NULL};
    size_t n = q->set->n, made = 0, whole = 0;
    struct tensor *list = xcalloc(2 * n, sizeof *list), *bytes = xcalloc(n, sizeof *bytes);
    /* Floats first, bytes behind them: all are aligned. */
    for (size_t i = 0; i < n; i++) {
        const struct tensor *t = &q->set->tensors[i];
        int unit = unit_of(q, t);
        if (unit < 0 || keep[unit])
            list[whole++] = *t;
    }
    for (size_t i = 0; i < n; i++) {
        const struct tensor *t = &q->set->tensors[i];
        int unit = unit_of(q, t);
        if (unit >= 0 && !keep[unit]) {
            quantized(t, q->units[unit].trails, &bytes[made], &list[whole + made]);
            made++;
        }
    }
    memcpy(list + whole + made, bytes, made * sizeof *bytes);
    char *path = file_path("%s/model.safetensors", out);
    int rc = safetensors_write(path, list, whole + 2 * made, meta, err);
    for (size_t i = 0; i < made; i++) {
        free((void *)(uintptr_t)bytes[i].data);
        free((void *)(uintptr_t)list[whole + i].data);
        free((void *)(uintptr_t)list[whole + i].name);
    }
    free(path);
    free(list);
    free(bytes);
    return rc;
}

static int write_config(const struct quantize *q, const bool *keep, const char *out,
                        struct err *err)
{
    json_t *config = json_deep_copy(q->config), *kept = json_array();
    for (int i = 0; i < q->n_units; i++)
        for (int k = 0; k < MAX_PARTS && keep[i] && q->units[i].parts[k]; k++)
            (void)json_array_append_new(kept, json_string(q->units[i].parts[k]->name));
    (void)json_object_set_new(config, "rubric_quantization",
                              json_pack("{s:i, s:s, s:s}", "bits", 8, "scheme",
                                        "symmetric, a step per output", "source",
                                        checkpoint_sha256(q->ck)));
    (void)json_object_set_new(config, "int8_keep", kept);
    int rc = arch_write_config(out, config, err);
    json_decref(config);
    return rc;
}

static int copy_labels(const char *from, const char *to, struct err *err)
{
    char *a = file_path("%s/labels.txt", from), *b = file_path("%s/labels.txt", to);
    int rc = file_exists(a) ? file_copy(a, b, err) : 0;
    free(a);
    free(b);
    return rc;
}

int quantize_write(const struct quantize *q, const bool *keep, const char *out, struct err *err)
{
    if (file_mkdirs(out, err) != 0 || write_weights(q, keep, out, err) != 0 ||
        transformer_copy_tokenizer(q->dir, out, err) != 0 || copy_labels(q->dir, out, err) != 0)
        return -1;
    return write_config(q, keep, out, err);
}
