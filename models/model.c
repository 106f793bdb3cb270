#include "models/model.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "data/dataset.h"
#include "data/tokenizer.h"
#include "models/arch.h"
#include "models/checkpoint.h"
#include "models/composite.h"
#include "models/fasttext_arch.h"
#include "models/fasttext_file.h"
#include "models/labels.h"

enum { MAX_JSON = 16 << 20, SHORT_VERSION = 12 };

struct model {
    struct model_info info;
    char *name, *version;
    struct classes classes;
    struct tokenizer *tokenizer;
    const struct arch *arch;
    void *impl;
    float sharpness; /* 1 / config.json's "rubric_temperature" */
};

struct workspace {
    const struct arch *arch;
    void *impl;
    int32_t max_titles, max_ids;
};

static const char *const precisions[] = {"auto", "fp32", "bf16", "int16", "int8"};

int precision_parse(const char *name, enum precision *p, struct err *err)
{
    for (int i = PRECISION_AUTO; i < PRECISION_COUNT; i++)
        if (strcmp(name, precisions[i]) == 0) {
            *p = (enum precision)i;
            return 0;
        }
    return err_set(err, ERR_CONFIG,
                   "precision \"%.50s\" is not one of auto, fp32, bf16, int16, int8", name);
}

int model_options_parse(const char *precision, const char *head, struct model_options *out,
                        struct err *err)
{
    static const char *const heads[] = {"auto", "pooled", "row"};
    struct model_options got = {PRECISION_AUTO, MODEL_HEAD_AUTO};
    if (precision_parse(precision, &got.precision, err) != 0)
        return -1;
    for (int i = 0; i < 3; i++)
        if (strcmp(head, heads[i]) == 0) {
            got.head = (enum model_head)i;
            *out = got;
            return 0;
        }
    return err_set(err, ERR_CONFIG, "head \"%.50s\" is not one of auto, pooled, row", head);
}

const char *precision_name(enum precision p)
{
    return precisions[p];
}

/* A registry's version goes by the registry's name and version; a directory without manifest.json
 * by its own name and its weights. */
static int read_manifest(const char *dir, struct model *m, struct err *err)
{
    char *path = file_path("%s/manifest.json", dir);
    const char *version = NULL, *name = NULL;
    int rc = 0;
    json_t *manifest = NULL;
    if (file_exists(path)) {
        manifest = json_parse_file(path, MAX_JSON, err);
        rc = manifest ? 0 : -1;
        if (rc == 0 && (json_get_str(manifest, "version", &version, err) != 0 ||
                        json_get_str(manifest, "name", &name, err) != 0))
            rc = err_prefix(err, "%s", path);
    }
    if (rc == 0)
        m->version = version ? xstrdup(version) : file_path("%.*s", SHORT_VERSION, m->info.sha256);
    if (rc == 0 && name) {
        free(m->name);
        m->name = xstrdup(name);
    }
    json_decref(manifest);
    free(path);
    return rc;
}

/* What config.json says of labels and vocabulary must be what the files beside it hold. */
static int check_counts(const json_t *config, const struct model *m, struct err *err)
{
    int32_t labels, vocab;
    if (m->arch->tokenizer != TOKENIZER_CHARACTERS)
        return 0; /* a transformer's weights and vocabulary may be of different sizes */
    if (arch_need_int(config, "num_labels", 1, DATASET_MAX_CLASSES, &labels, err) != 0 ||
        arch_need_int(config, "vocab_size", 1, INT32_MAX, &vocab, err) != 0)
        return -1;
    if (labels != m->classes.n)
        return err_set(err, ERR_CONFLICT, "num_labels is %d, but labels.txt has %d lines",
                       (int)labels, (int)m->classes.n);
    if (vocab != tokenizer_size(m->tokenizer))
        return err_set(err, ERR_CONFLICT, "vocab_size is %d, but vocab.txt has %d lines",
                       (int)vocab, (int)tokenizer_size(m->tokenizer));
    return 0;
}

/* config.json into *config (the caller's), the row of the table and the name into m. */
static int read_config(const char *path, json_t **config, struct model *m, struct err *err)
{
    const char *type = NULL, *name = NULL;
    *config = json_parse_file(path, MAX_JSON, err);
    if (!*config)
        return -1;
    if (!json_is_object(*config))
        return err_set(err, ERR_FORMAT, "%s: expected an object", path);
    if (json_get_str(*config, "model_type", &type, err) != 0 ||
        json_get_str(*config, "model_name", &name, err) != 0)
        return err_prefix(err, "%s", path);
    if (!type && !json_object_get(*config, "num_hidden_layers"))
        return err_set(err, ERR_FORMAT, "%s: \"model_type\" is missing", path);
    if (!type)
        type = "bert"; /* the first ones had no other */
    m->arch = arch_find(type, err);
    if (!m->arch)
        return err_prefix(err, "%s", path);
    m->name = xstrdup(name ? name : m->arch->model_type);
    return 0;
}

/* "rubric_temperature": probabilities are softmax(logits / temperature), Guo et al., arXiv:1706.04599. */
static int read_temperature(const json_t *config, struct model *m, struct err *err)
{
    double t = 1;
    if (json_get_real(config, "rubric_temperature", &t, err) != 0)
        return -1;
    if (!(t >= 0.01 && t <= 100))
        return err_set(err, ERR_FORMAT, "\"rubric_temperature\" is %g, expected 0.01 to 100", t);
    m->sharpness = (float)(1 / t);
    return 0;
}

static void soften(float *p, size_t rows, int32_t labels, float sharpness)
{
    for (size_t i = 0; i < rows; i++, p += labels) {
        float most = p[0], sum = 0;
        for (int32_t k = 1; k < labels; k++)
            most = p[k] > most ? p[k] : most;
        for (int32_t k = 0; k < labels; k++)
            sum += p[k] = powf(p[k] / most, sharpness);
        for (int32_t k = 0; k < labels; k++)
            p[k] /= sum;
    }
}

static void take_facts(struct model *m, const struct arch_facts *facts)
{
    m->info.parameters = facts->parameters;
    m->info.weights_bytes = facts->weights_bytes;
    m->info.max_tokens = facts->max_tokens;
    m->info.n_labels = facts->n_labels;
    m->info.each_for_itself = facts->each_for_itself;
    m->info.spaced_words = facts->spaced_words;
    m->info.precision = facts->precision;
    m->info.kernels = facts->kernels;
}

static int open_weights(const char *dir, struct arch_source *src, struct model *m, struct err *err)
{
    struct checkpoint *ck = NULL;
    struct arch_facts facts = {0};
    int rc = checkpoint_open(dir, &ck, err);
    if (rc == 0) {
        src->weights = checkpoint_tensors(ck);
        (void)snprintf(m->info.sha256, sizeof m->info.sha256, "%s", checkpoint_sha256(ck));
        rc = m->arch->open(src, &m->impl, &facts, err);
        /* Some of its messages name the file already. */
        if (rc != 0 && err && !strstr(err->msg, src->weights->name) &&
            !strstr(err->msg, src->config_path))
            (void)err_prefix(err, "%s", src->weights->name);
    }
    checkpoint_close(ck);
    if (rc != 0)
        return -1;
    if (m->classes.n == 0 && facts.n_labels > 0 &&
        labels_numbered(facts.n_labels, &m->classes, err) != 0)
        return -1;
    take_facts(m, &facts);
    return 0;
}

/* A family that reads files of its own: fastText's. config NULL: path is such a file. */
static int open_own(const char *path, const json_t *config, const struct model_options *opt,
                    struct model *m, struct err *err)
{
    struct arch_facts facts = {0};
    struct arch_place place = {path, config, &m->classes, opt->precision};
    if (m->arch->open_path(&place, &m->impl, &facts, err) != 0)
        return -1;
    memcpy(m->info.sha256, facts.sha256, sizeof m->info.sha256);
    if (m->classes.n == 0)
        m->classes = facts.classes;
    take_facts(m, &facts);
    return 0;
}

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* A bare file: fastText's alone are models by themselves. */
static int open_file(const char *path, const struct model_options *opt, struct model *m,
                     struct err *err)
{
    const char *slash = strrchr(path, '/');
    if (!fasttext_file_is(path))
        return err_set(err, ERR_FORMAT,
                       "%s: neither a model's directory nor a file of fastText's (.bin, .ftz)",
                       path);
    m->arch = &fasttext_arch;
    m->name = xstrdup(slash ? slash + 1 : path);
    if (open_own(path, NULL, opt, m, err) != 0)
        return -1;
    m->version = file_path("%.*s", SHORT_VERSION, m->info.sha256);
    return 0;
}

static int open_parts(const char *dir, const struct model_options *opt, struct model *m,
                      struct err *err)
{
    char *config_path = file_path("%s/config.json", dir),
         *labels_path = file_path("%s/labels.txt", dir);
    json_t *config = NULL;
    int rc = read_config(config_path, &config, m, err);
    if (rc == 0 && labels_read(labels_path, config,
                               m->arch->tokenizer == TOKENIZER_CHARACTERS && !m->arch->open_path,
                               &m->classes, err) != 0)
        rc = strstr(err->msg, labels_path) ? -1 : err_prefix(err, "%s", config_path);
    if (rc == 0 && read_temperature(config, m, err) != 0)
        rc = err_prefix(err, "%s", config_path);
    bool own = rc == 0 && m->arch->open_path;
    if (own)
        rc = open_own(dir, config, opt, m, err);
    if (own && rc == 0 && m->info.each_for_itself && m->sharpness != 1.0f)
        rc = err_set(err, ERR_FORMAT,
                     "%s: \"rubric_temperature\" is of probabilities that sum to 1, these are each "
                     "for itself",
                     config_path);
    if (rc == 0 && !own)
        rc = tokenizer_open(dir, m->arch->tokenizer, &m->tokenizer, err);
    if (rc == 0 && !own && check_counts(config, m, err) != 0)
        rc = err_prefix(err, "%s", config_path);
    if (rc == 0 && !own) {
        struct arch_source src = {.config_path = config_path,
                                  .config = config,
                                  .vocab_size = tokenizer_size(m->tokenizer),
                                  .n_labels = m->classes.n,
                                  .precision = opt->precision,
                                  .head = opt->head};
        rc = open_weights(dir, &src, m, err);
    }
    if (rc == 0)
        rc = read_manifest(dir, m, err);
    json_decref(config);
    free(config_path);
    free(labels_path);
    return rc;
}

int model_open(const char *dir, enum precision precision, struct model **out, struct err *err)
{
    return model_open_with(dir, &(struct model_options){.precision = precision}, out, err);
}

int model_open_with(const char *dir, const struct model_options *opt, struct model **out,
                    struct err *err)
{
    struct model *m = xcalloc(1, sizeof *m);
    m->sharpness = 1;
    struct err why;
    err = err ? err : &why; /* messages are read and added to on the way */
    if ((is_file(dir) ? open_file : open_parts)(dir, opt, m, err) != 0) {
        model_close(m);
        return -1;
    }
    m->info.family = m->arch->model_type;
    m->info.name = m->name;
    m->info.version = m->version;
    m->info.labels = (const char *const *)m->classes.names;
    *out = m;
    return 0;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    if (m->impl)
        m->arch->close(m->impl);
    tokenizer_close(m->tokenizer);
    classes_done(&m->classes);
    free(m->name);
    free(m->version);
    free(m);
}

const struct model_info *model_info(const struct model *m)
{
    return &m->info;
}

int32_t model_encode(const struct model *m, const char *title, size_t n, int32_t *ids, int32_t max,
                     bool *cut)
{
    max = max < m->info.max_tokens ? max : m->info.max_tokens;
    return m->arch->encode ? m->arch->encode(m->impl, title, n, ids, max, cut)
                           : tokenizer_encode(m->tokenizer, title, n, ids, max, cut);
}

struct workspace *workspace_open(const struct model *m, int32_t max_titles, int32_t max_ids)
{
    struct workspace *ws = xmalloc(sizeof *ws);
    *ws = (struct workspace){m->arch, m->arch->workspace_open(m->impl, max_titles, max_ids),
                             max_titles, max_ids};
    return ws;
}

bool workspace_profile(struct workspace *ws, struct profile *p)
{
    if (ws->arch->profile)
        ws->arch->profile(ws->impl, p);
    return ws->arch->profile != NULL;
}

void workspace_close(struct workspace *ws)
{
    if (!ws)
        return;
    ws->arch->workspace_close(ws->impl);
    free(ws);
}

void model_trace(const struct model *m, struct workspace *ws, const struct batch *b,
                 const struct trace *t, float *probabilities)
{
    if (b->n == 0)
        return;
    assert(ws->arch == m->arch && b->n <= ws->max_titles && b->start[b->n] <= ws->max_ids);
    if (m->arch->trace)
        m->arch->trace(m->impl, ws->impl, b, t, probabilities);
    else
        m->arch->classify(m->impl, ws->impl, b, probabilities);
}

void model_classify(const struct model *m, struct workspace *ws, const struct batch *b,
                    float *probabilities)
{
    if (b->n == 0)
        return;
    assert(ws->arch == m->arch && b->n <= ws->max_titles && b->start[b->n] <= ws->max_ids);
    m->arch->classify(m->impl, ws->impl, b, probabilities);
    if (m->sharpness != 1.0f)
        soften(probabilities, (size_t)b->n, m->info.n_labels, m->sharpness);
}

int model_stages(const struct model *m, const char *names[MODEL_MAX_STAGES],
                 int64_t answered[MODEL_MAX_STAGES])
{
    return m->arch == &cascade_arch ? cascade_answered(m->impl, names, answered) : 0;
}

int32_t model_top_k(const float *p, int32_t n, int32_t k, int32_t *best)
{
    if (k > n)
        k = n;
    for (int32_t i = 0; i < k; i++) {
        int32_t at = -1;
        for (int32_t c = 0; c < n; c++) {
            /* What is below the last one found, or equal and behind it, is still to come. */
            bool left =
                i == 0 || p[c] < p[best[i - 1]] || (p[c] == p[best[i - 1]] && c > best[i - 1]);
            if (left && (at < 0 || p[c] > p[at]))
                at = c;
        }
        best[i] = at;
    }
    return k < 0 ? 0 : k;
}
