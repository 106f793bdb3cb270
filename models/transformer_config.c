#include "models/transformer_config.h"

#include <stddef.h>
#include <string.h>

/* One integer key: where it goes, its bounds, the default of the family's published configuration
 * class. */
struct key {
    const char *name;
    size_t at; /* of an int32_t in struct transformer_config */
    long min, max, def;
};

#define AT(field) offsetof(struct transformer_config, field)
#define MOST 1000000
#define BERT_KEYS                                                                                  \
    {"hidden_size", AT(hidden), 1, 65536, 768}, {"num_hidden_layers", AT(layers), 1, 1000, 12},    \
        {"num_attention_heads", AT(heads), 1, 4096, 12},                                           \
        {"intermediate_size", AT(inner), 1, MOST, 3072},                                           \
        {"max_position_embeddings", AT(positions), 1, MOST, 512},                                  \
    {                                                                                              \
        "type_vocab_size", AT(types), 1, 4096, 2                                                   \
    }

static const struct key bert_keys[] = {{"vocab_size", AT(vocab_size), 1, 10 * MOST, 30522},
                                       BERT_KEYS};
static const struct key ernie_keys[] = {{"vocab_size", AT(vocab_size), 1, 10 * MOST, 30522},
                                        {"task_type_vocab_size", AT(tasks), 1, 4096, 3},
                                        BERT_KEYS};
static const struct key electra_keys[] = {
    {"vocab_size", AT(vocab_size), 1, 10 * MOST, 30522},
    {"embedding_size", AT(embedding_size), 1, 65536, 128},
    {"hidden_size", AT(hidden), 1, 65536, 256},
    {"num_hidden_layers", AT(layers), 1, 1000, 12},
    {"num_attention_heads", AT(heads), 1, 4096, 4},
    {"intermediate_size", AT(inner), 1, MOST, 1024},
    {"max_position_embeddings", AT(positions), 1, MOST, 512},
    {"type_vocab_size", AT(types), 1, 4096, 2},
};
static const struct key albert_keys[] = {
    {"vocab_size", AT(vocab_size), 1, 10 * MOST, 30000},
    {"embedding_size", AT(embedding_size), 1, 65536, 128},
    {"hidden_size", AT(hidden), 1, 65536, 4096},
    {"num_hidden_layers", AT(layers), 1, 1000, 12},
    {"num_hidden_groups", AT(groups), 1, 1000, 1},
    {"inner_group_num", AT(inner_layers), 1, 1000, 1},
    {"num_attention_heads", AT(heads), 1, 4096, 64},
    {"intermediate_size", AT(inner), 1, MOST, 16384},
    {"max_position_embeddings", AT(positions), 1, MOST, 512},
    {"type_vocab_size", AT(types), 1, 4096, 2},
};
static const struct key nezha_keys[] = {
    {"vocab_size", AT(vocab_size), 1, 10 * MOST, 21128},
    {"hidden_size", AT(hidden), 1, 65536, 768},
    {"num_hidden_layers", AT(layers), 1, 1000, 12},
    {"num_attention_heads", AT(heads), 1, 4096, 12},
    {"intermediate_size", AT(inner), 1, MOST, 3072},
    {"max_position_embeddings", AT(positions), 1, MOST, 512},
    {"max_relative_position", AT(max_relative), 1, MOST, 64},
    {"type_vocab_size", AT(types), 1, 4096, 2},
};
static const struct key xlnet_keys[] = {
    {"vocab_size", AT(vocab_size), 1, 10 * MOST, 32000},
    {"d_model", AT(hidden), 1, 65536, 1024},
    {"n_layer", AT(layers), 1, 1000, 24},
    {"n_head", AT(heads), 1, 4096, 16},
    {"d_inner", AT(inner), 1, MOST, 4096},
};
static const struct key t5_keys[] = {
    {"vocab_size", AT(vocab_size), 1, 10 * MOST, 32128},
    {"d_model", AT(hidden), 1, 65536, 512},
    {"d_kv", AT(head_size), 1, 65536, 64},
    {"d_ff", AT(inner), 1, MOST, 2048},
    {"num_layers", AT(layers), 1, 1000, 6},
    {"num_heads", AT(heads), 1, 4096, 8},
    {"relative_attention_num_buckets", AT(buckets), 4, MOST, 32},
    {"relative_attention_max_distance", AT(max_distance), 2, MOST, 128},
    {"decoder_start_token_id", AT(start_token), 0, 10 * MOST, 0},
};

/* Everything about a family that its configuration decides. */
struct row {
    const char *name; /* "model_type" */
    const struct key *keys;
    size_t n_keys;
    const char *act_key, *act; /* where the activation stands, and its default */
    const char *eps_key;
    double eps;
    const char *others; /* further keys that are read: names between blanks */
};

#define N(keys) keys, sizeof(keys) / sizeof *(keys)
static const struct row rows[FAMILIES] = {
    [FAMILY_BERT] = {"bert", N(bert_keys), "hidden_act", "gelu", "layer_norm_eps", 1e-12,
                     " position_embedding_type is_decoder "},
    [FAMILY_ERNIE] = {"ernie", N(ernie_keys), "hidden_act", "gelu", "layer_norm_eps", 1e-12,
                      " use_task_id position_embedding_type is_decoder "},
    [FAMILY_ELECTRA] = {"electra", N(electra_keys), "hidden_act", "gelu", "layer_norm_eps", 1e-12,
                        " position_embedding_type is_decoder "},
    [FAMILY_ALBERT] = {"albert", N(albert_keys), "hidden_act", "gelu_new", "layer_norm_eps", 1e-12,
                       " position_embedding_type "},
    [FAMILY_NEZHA] = {"nezha", N(nezha_keys), "hidden_act", "gelu", "layer_norm_eps", 1e-12,
                      " is_decoder use_relative_position "},
    [FAMILY_XLNET] = {"xlnet", N(xlnet_keys), "ff_activation", "gelu", "layer_norm_eps", 1e-12,
                      " attn_type bi_data clamp_len untie_r d_head summary_type summary_use_proj "
                      "summary_activation summary_last_dropout same_length "},
    [FAMILY_T5] = {"t5", N(t5_keys), "feed_forward_proj", "relu", "layer_norm_epsilon", 1e-6,
                   " num_decoder_layers rubric_decoder "},
};

const char *family_name(enum family f)
{
    return rows[f].name;
}

static const char *const always[] = {
    "model_type",         "architectures",       "id2label",    "label2id",
    "num_labels",         "model_name",          "torch_dtype", "int8_keep",
    "rubric_temperature", "rubric_quantization", NULL};

bool transformer_config_uses(enum family f, const char *key)
{
    const struct row *r = &rows[f];
    for (size_t i = 0; i < r->n_keys; i++)
        if (strcmp(r->keys[i].name, key) == 0)
            return true;
    for (size_t i = 0; always[i]; i++)
        if (strcmp(always[i], key) == 0)
            return true;
    if (strcmp(key, r->act_key) == 0 || strcmp(key, r->eps_key) == 0)
        return true;
    const char *at = strstr(r->others, key);
    size_t n = strlen(key);
    return n && at && at[-1] == ' ' && at[n] == ' ';
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static bool has_tensor(const struct tensor_set *weights, const char *end)
{
    for (size_t i = 0; weights && i < weights->n; i++)
        if (ends_with(weights->tensors[i].name, end))
            return true;
    return false;
}

static int find_family(const json_t *config, const struct tensor_set *weights, enum family *out,
                       struct err *err)
{
    const char *type = NULL;
    bool relative = false;
    if (json_get_str(config, "model_type", &type, err) != 0)
        return -1;
    /* The very first files have none; BERT was all there was. */
    if (!type)
        type = "bert";
    if (strcmp(type, "mt5") == 0) {
        *out = FAMILY_T5;
        return 0;
    }
    for (int f = 0; f < FAMILIES; f++) {
        if (strcmp(rows[f].name, type) != 0)
            continue;
        *out = (enum family)f;
        if (f != FAMILY_BERT)
            return 0;
        if (json_object_get(config, "use_relative_position") &&
            json_get_bool(config, "use_relative_position", &relative, err) != 0)
            return -1;
        if (relative)
            *out = FAMILY_NEZHA;
        else if (has_tensor(weights, "embeddings.task_type_embeddings.weight"))
            *out = FAMILY_ERNIE;
        return 0;
    }
    return err_set(err, ERR_FORMAT, "model_type \"%.100s\" is no transformer that is known here",
                   type);
}

static int find_activation(const char *key, const char *name, enum activation *out, struct err *err)
{
    static const struct {
        const char *name;
        enum activation act;
    } known[] = {{"gelu", ACT_GELU},
                 {"gelu_new", ACT_GELU_TANH},
                 {"gelu_pytorch_tanh", ACT_GELU_TANH},
                 {"relu", ACT_RELU},
                 {"tanh", ACT_TANH}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, name) == 0) {
            *out = known[i].act;
            return 0;
        }
    return err_set(err, ERR_FORMAT,
                   "\"%s\": the activation \"%.100s\" is not known here (known: gelu, gelu_new, "
                   "gelu_pytorch_tanh, relu, tanh)",
                   key, name);
}

/* T5 writes "relu", "gated-gelu" or "gated-relu": gated-gelu means gelu_new. */
static int read_activation(const json_t *config, const struct row *row, bool mt5,
                           struct transformer_config *cfg, struct err *err)
{
    const char *name = mt5 ? "gated-gelu" : row->act;
    if (json_get_str(config, row->act_key, &name, err) != 0)
        return -1;
    if (cfg->family == FAMILY_T5 && strncmp(name, "gated-", 6) == 0) {
        cfg->gated = true;
        name = strcmp(name, "gated-gelu") == 0 ? "gelu_new" : name + 6;
    }
    return find_activation(row->act_key, name, &cfg->act, err);
}

/* A key that must have this value (when it is there) for what is computed here to be right. */
static int only_str(const json_t *config, const char *key, const char *want, struct err *err)
{
    const char *value = want;
    const json_t *got = json_object_get(config, key);
    if (got && json_is_null(got))
        return 0;
    if (json_get_str(config, key, &value, err) != 0)
        return -1;
    return strcmp(value, want) == 0
               ? 0
               : err_set(err, ERR_FORMAT, "\"%s\" is \"%.100s\"; only \"%s\" is known here", key,
                         value, want);
}

static int only_bool(const json_t *config, const char *key, bool want, struct err *err)
{
    bool value = want;
    if (json_get_bool(config, key, &value, err) != 0)
        return -1;
    return value == want ? 0
                         : err_set(err, ERR_FORMAT, "\"%s\" is %s; only %s is known here", key,
                                   value ? "true" : "false", want ? "true" : "false");
}

static int only_int(const json_t *config, const char *key, long want, struct err *err)
{
    long value = want;
    const json_t *got = json_object_get(config, key);
    if (got && json_is_null(got))
        return 0;
    if (json_get_int(config, key, INT32_MIN, INT32_MAX, &value, err) != 0)
        return -1;
    return value == want ? 0
                         : err_set(err, ERR_FORMAT, "\"%s\" is %ld; only %ld is known here", key,
                                   value, want);
}

static int check_particulars(const json_t *config, const char *type, struct transformer_config *cfg,
                             struct err *err)
{
    /* A revision that calls itself a BERT lacks the key, but was trained with task types. */
    bool task = strcmp(type, "ernie") != 0;
    switch (cfg->family) {
    case FAMILY_ERNIE:
        if (json_get_bool(config, "use_task_id", &task, err) != 0)
            return -1;
        if (!task)
            cfg->tasks = 0;
        /* fall through */
    case FAMILY_BERT:
    case FAMILY_ELECTRA:
    case FAMILY_ALBERT:
        if (only_str(config, "position_embedding_type", "absolute", err) != 0)
            return -1;
        return only_bool(config, "is_decoder", false, err);
    case FAMILY_NEZHA:
        return only_bool(config, "is_decoder", false, err);
    case FAMILY_XLNET:
        if (only_str(config, "attn_type", "bi", err) != 0 ||
            only_str(config, "summary_type", "last", err) != 0 ||
            only_bool(config, "summary_use_proj", true, err) != 0 ||
            only_str(config, "summary_activation", "tanh", err) != 0 ||
            only_bool(config, "untie_r", true, err) != 0 ||
            only_bool(config, "bi_data", false, err) != 0)
            return -1;
        return only_int(config, "clamp_len", -1, err);
    default:
        return 0;
    }
}

static int read_t5(const json_t *config, bool mt5, struct transformer_config *cfg, struct err *err)
{
    long decoder = cfg->layers;
    const char *how = "shifted";
    if (mt5) { /* its own published defaults */
        const struct key keys[] = {{"vocab_size", AT(vocab_size), 1, 10 * MOST, 250112},
                                   {"d_ff", AT(inner), 1, MOST, 1024},
                                   {"num_layers", AT(layers), 1, 1000, 8},
                                   {"num_heads", AT(heads), 1, 4096, 6}};
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            if (!json_object_get(config, keys[i].name))
                *(int32_t *)((char *)cfg + keys[i].at) = (int32_t)keys[i].def;
        decoder = cfg->layers;
    }
    const json_t *given = json_object_get(config, "num_decoder_layers");
    if (given && !json_is_null(given) &&
        json_get_int(config, "num_decoder_layers", 1, 1000, &decoder, err) != 0)
        return -1;
    cfg->decoder_layers = (int32_t)decoder;
    if (json_get_str(config, "rubric_decoder", &how, err) != 0)
        return -1;
    if (strcmp(how, "shifted") != 0 && strcmp(how, "start") != 0)
        return err_set(err, ERR_FORMAT, "\"rubric_decoder\" is \"%.100s\": shifted or start", how);
    cfg->single_start = strcmp(how, "start") == 0;
    return 0;
}

static int finish(const json_t *config, struct transformer_config *cfg, struct err *err)
{
    if (cfg->family == FAMILY_ALBERT || cfg->family == FAMILY_ELECTRA) {
        if (cfg->groups && cfg->layers % cfg->groups != 0)
            return err_set(err, ERR_FORMAT,
                           "\"num_hidden_layers\" is %d, no multiple of \"num_hidden_groups\", %d",
                           (int)cfg->layers, (int)cfg->groups);
    } else {
        cfg->embedding_size = cfg->hidden; /* NEZHA's own key says 128, and changes nothing */
    }
    if (cfg->family == FAMILY_T5)
        return 0;
    if (cfg->hidden % cfg->heads != 0)
        return err_set(err, ERR_FORMAT, "a hidden size of %d is no multiple of %d heads",
                       (int)cfg->hidden, (int)cfg->heads);
    cfg->head_size = cfg->hidden / cfg->heads;
    if (cfg->family == FAMILY_NEZHA)
        cfg->positions = 0;
    return cfg->family == FAMILY_XLNET ? only_int(config, "d_head", cfg->head_size, err) : 0;
}

int transformer_config_read(const json_t *config, const struct tensor_set *weights,
                            struct transformer_config *out, struct err *err)
{
    struct transformer_config cfg = {0};
    const char *type = "bert";
    if (find_family(config, weights, &cfg.family, err) != 0)
        return -1;
    const struct row *row = &rows[cfg.family];
    for (size_t i = 0; i < row->n_keys; i++) {
        const struct key *k = &row->keys[i];
        long value = k->def;
        if (json_get_int(config, k->name, k->min, k->max, &value, err) != 0)
            return -1;
        *(int32_t *)((char *)&cfg + k->at) = (int32_t)value;
    }
    cfg.eps = row->eps;
    (void)json_get_str(config, "model_type", &type, NULL);
    bool mt5 = strcmp(type, "mt5") == 0;
    if (json_get_real(config, row->eps_key, &cfg.eps, err) != 0 ||
        read_activation(config, row, mt5, &cfg, err) != 0 ||
        (cfg.family == FAMILY_T5 && read_t5(config, mt5, &cfg, err) != 0) ||
        check_particulars(config, type, &cfg, err) != 0 || finish(config, &cfg, err) != 0)
        return -1;
    if (!(cfg.eps >= 0 && cfg.eps < 1))
        return err_set(err, ERR_FORMAT, "\"%s\" is %g, expected [0, 1)", row->eps_key, cfg.eps);
    *out = cfg;
    return 0;
}
