#include "models/params.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum { MAX_NAME = 500 };

/* A weight's place in the table.  In names, # is the layer, @ ALBERT's group and % its layer within
 * the group.  Shapes are letters: V E C F P Y K O as in models/transformer_config.h, H heads, D head
 * size, A all heads (H D), B buckets, 2 two. */
struct param_row {
    enum param which;
    const char *dims, *name;
};

#define BERT_EMBEDDINGS                                                                            \
    {P_WORD, "VE", "embeddings.word_embeddings.weight"},                                           \
        {P_TYPE, "YE", "embeddings.token_type_embeddings.weight"},                                 \
        {P_EMB_NORM_W, "E", "embeddings.LayerNorm.weight"},                                        \
    {                                                                                              \
        P_EMB_NORM_B, "E", "embeddings.LayerNorm.bias"                                             \
    }
#define BERT_POSITIONS                                                                             \
    {                                                                                              \
        P_POSITION, "PE", "embeddings.position_embeddings.weight"                                  \
    }
#define BERT_LAYER                                                                                 \
    {P_Q_W, "CC", "encoder.layer.#.attention.self.query.weight"},                                  \
        {P_Q_B, "C", "encoder.layer.#.attention.self.query.bias"},                                 \
        {P_K_W, "CC", "encoder.layer.#.attention.self.key.weight"},                                \
        {P_K_B, "C", "encoder.layer.#.attention.self.key.bias"},                                   \
        {P_V_W, "CC", "encoder.layer.#.attention.self.value.weight"},                              \
        {P_V_B, "C", "encoder.layer.#.attention.self.value.bias"},                                 \
        {P_O_W, "CC", "encoder.layer.#.attention.output.dense.weight"},                            \
        {P_O_B, "C", "encoder.layer.#.attention.output.dense.bias"},                               \
        {P_ATT_NORM_W, "C", "encoder.layer.#.attention.output.LayerNorm.weight"},                  \
        {P_ATT_NORM_B, "C", "encoder.layer.#.attention.output.LayerNorm.bias"},                    \
        {P_INNER_W, "FC", "encoder.layer.#.intermediate.dense.weight"},                            \
        {P_INNER_B, "F", "encoder.layer.#.intermediate.dense.bias"},                               \
        {P_OUTER_W, "CF", "encoder.layer.#.output.dense.weight"},                                  \
        {P_OUTER_B, "C", "encoder.layer.#.output.dense.bias"},                                     \
        {P_OUT_NORM_W, "C", "encoder.layer.#.output.LayerNorm.weight"},                            \
    {                                                                                              \
        P_OUT_NORM_B, "C", "encoder.layer.#.output.LayerNorm.bias"                                 \
    }

static const struct param_row bert_rows[] = {BERT_EMBEDDINGS, BERT_POSITIONS, BERT_LAYER};
static const struct param_row ernie_rows[] = {
    BERT_EMBEDDINGS,
    BERT_POSITIONS,
    {P_TASK, "KE", "embeddings.task_type_embeddings.weight"},
    BERT_LAYER};
static const struct param_row electra_rows[] = {BERT_EMBEDDINGS,
                                                BERT_POSITIONS,
                                                {P_EMB_PROJ_W, "CE", "embeddings_project.weight"},
                                                {P_EMB_PROJ_B, "C", "embeddings_project.bias"},
                                                BERT_LAYER};
static const struct param_row nezha_rows[] = {BERT_EMBEDDINGS, BERT_LAYER};

#define ALBERT "encoder.albert_layer_groups.@.albert_layers.%."
static const struct param_row albert_rows[] = {
    BERT_EMBEDDINGS,
    BERT_POSITIONS,
    {P_EMB_PROJ_W, "CE", "encoder.embedding_hidden_mapping_in.weight"},
    {P_EMB_PROJ_B, "C", "encoder.embedding_hidden_mapping_in.bias"},
    {P_Q_W, "CC", ALBERT "attention.query.weight"},
    {P_Q_B, "C", ALBERT "attention.query.bias"},
    {P_K_W, "CC", ALBERT "attention.key.weight"},
    {P_K_B, "C", ALBERT "attention.key.bias"},
    {P_V_W, "CC", ALBERT "attention.value.weight"},
    {P_V_B, "C", ALBERT "attention.value.bias"},
    {P_O_W, "CC", ALBERT "attention.dense.weight"},
    {P_O_B, "C", ALBERT "attention.dense.bias"},
    {P_ATT_NORM_W, "C", ALBERT "attention.LayerNorm.weight"},
    {P_ATT_NORM_B, "C", ALBERT "attention.LayerNorm.bias"},
    {P_INNER_W, "FC", ALBERT "ffn.weight"},
    {P_INNER_B, "F", ALBERT "ffn.bias"},
    {P_OUTER_W, "CF", ALBERT "ffn_output.weight"},
    {P_OUTER_B, "C", ALBERT "ffn_output.bias"},
    {P_OUT_NORM_W, "C", ALBERT "full_layer_layer_norm.weight"},
    {P_OUT_NORM_B, "C", ALBERT "full_layer_layer_norm.bias"},
};

static const struct param_row xlnet_rows[] = {
    {P_WORD, "VE", "word_embedding.weight"},
    {P_Q_W, "CHD", "layer.#.rel_attn.q"},
    {P_K_W, "CHD", "layer.#.rel_attn.k"},
    {P_V_W, "CHD", "layer.#.rel_attn.v"},
    {P_O_W, "CHD", "layer.#.rel_attn.o"},
    {P_R_W, "CHD", "layer.#.rel_attn.r"},
    {P_R_W_BIAS, "HD", "layer.#.rel_attn.r_w_bias"},
    {P_R_R_BIAS, "HD", "layer.#.rel_attn.r_r_bias"},
    {P_R_S_BIAS, "HD", "layer.#.rel_attn.r_s_bias"},
    {P_SEGMENT, "2HD", "layer.#.rel_attn.seg_embed"},
    {P_ATT_NORM_W, "C", "layer.#.rel_attn.layer_norm.weight"},
    {P_ATT_NORM_B, "C", "layer.#.rel_attn.layer_norm.bias"},
    {P_INNER_W, "FC", "layer.#.ff.layer_1.weight"},
    {P_INNER_B, "F", "layer.#.ff.layer_1.bias"},
    {P_OUTER_W, "CF", "layer.#.ff.layer_2.weight"},
    {P_OUTER_B, "C", "layer.#.ff.layer_2.bias"},
    {P_OUT_NORM_W, "C", "layer.#.ff.layer_norm.weight"},
    {P_OUT_NORM_B, "C", "layer.#.ff.layer_norm.bias"},
};

#define T5_ATTENTION(q, k, v, o, norm, at, name)                                                   \
    {q, "AC", at name ".q.weight"}, {k, "AC", at name ".k.weight"},                                \
        {v, "AC", at name ".v.weight"}, {o, "CA", at name ".o.weight"},                            \
    {                                                                                              \
        norm, "C", at "layer_norm.weight"                                                          \
    }
#define T5_SELF(stack)                                                                             \
    T5_ATTENTION(P_Q_W, P_K_W, P_V_W, P_O_W, P_ATT_NORM_W, stack ".block.#.layer.0.",              \
                 "SelfAttention")
/* wi where it is not gated, wi_0 and wi_1 where it is: one of the first two is skipped. */
#define T5_INNER(at)                                                                               \
    {P_INNER_W, "FC", at "DenseReluDense.wi.weight"},                                              \
        {P_INNER_W, "FC", at "DenseReluDense.wi_0.weight"},                                        \
        {P_GATE_W, "FC", at "DenseReluDense.wi_1.weight"},                                         \
        {P_OUTER_W, "CF", at "DenseReluDense.wo.weight"},                                          \
    {                                                                                              \
        P_OUT_NORM_W, "C", at "layer_norm.weight"                                                  \
    }
#define T5_ONCE(stack)                                                                             \
    {P_FINAL_NORM_W, "C", stack ".final_layer_norm.weight"},                                       \
    {                                                                                              \
        P_BIAS_TABLE, "BH", stack ".block.0.layer.0.SelfAttention.relative_attention_bias.weight"  \
    }
static const struct param_row t5_rows[] = {{P_WORD, "VE", "shared.weight"},
                                           T5_ONCE("encoder"),
                                           T5_SELF("encoder"),
                                           T5_INNER("encoder.block.#.layer.1.")};
static const struct param_row t5_decoder_rows[] = {
    T5_ONCE("decoder"), T5_SELF("decoder"),
    T5_ATTENTION(P_CROSS_Q_W, P_CROSS_K_W, P_CROSS_V_W, P_CROSS_O_W, P_CROSS_NORM_W,
                 "decoder.block.#.layer.1.", "EncDecAttention"),
    T5_INNER("decoder.block.#.layer.2.")};

static const struct param_row pooler_rows[] = {{P_POOL_W, "CC", "pooler.dense.weight"},
                                               {P_POOL_B, "C", "pooler.dense.bias"}};
static const struct param_row albert_pooler_rows[] = {{P_POOL_W, "CC", "pooler.weight"},
                                                      {P_POOL_B, "C", "pooler.bias"}};

/* Heads stand outside the base model's prefix.  The first one that the file has is its own. */
struct head_rows {
    enum head head;
    struct param_row rows[4];
};
#define OUT(name)                                                                                  \
    {P_HEAD_W, "OC", name ".weight"},                                                              \
    {                                                                                              \
        P_HEAD_B, "O", name ".bias"                                                                \
    }
static const struct head_rows dense_heads[] = {
    {HEAD_ELECTRA,
     {{P_HEAD_DENSE_W, "CC", "classifier.dense.weight"},
      {P_HEAD_DENSE_B, "C", "classifier.dense.bias"},
      OUT("classifier.out_proj")}},
    {HEAD_T5,
     {{P_HEAD_DENSE_W, "CC", "classification_head.dense.weight"},
      {P_HEAD_DENSE_B, "C", "classification_head.dense.bias"},
      OUT("classification_head.out_proj")}},
    {HEAD_SUMMARY,
     {{P_HEAD_DENSE_W, "CC", "sequence_summary.summary.weight"},
      {P_HEAD_DENSE_B, "C", "sequence_summary.summary.bias"},
      OUT("logits_proj")}},
};
static const struct param_row plain_heads[][2] = {
    {OUT("classifier")}, {OUT("fc")}, {OUT("head")}, {OUT("linear")}, {OUT("out")}};
enum { PLAIN_HEADS = sizeof plain_heads / sizeof *plain_heads };

#define N(rows) rows, sizeof(rows) / sizeof *(rows)
static const struct base_rows {
    const struct param_row *rows;
    size_t n;
    const char *anchor; /* what tells the prefix */
} bases[FAMILIES] = {
    [FAMILY_BERT] = {N(bert_rows), "embeddings.word_embeddings.weight"},
    [FAMILY_ERNIE] = {N(ernie_rows), "embeddings.word_embeddings.weight"},
    [FAMILY_ELECTRA] = {N(electra_rows), "embeddings.word_embeddings.weight"},
    [FAMILY_ALBERT] = {N(albert_rows), "embeddings.word_embeddings.weight"},
    [FAMILY_NEZHA] = {N(nezha_rows), "embeddings.word_embeddings.weight"},
    [FAMILY_XLNET] = {N(xlnet_rows), "word_embedding.weight"},
    [FAMILY_T5] = {N(t5_rows), "shared.weight"},
};

/* One search over a file. */
struct search {
    const struct tensor_set *set;
    struct transformer_config *cfg;
    struct params *p;
    char prefix[MAX_NAME]; /* of the base model's names */
    size_t outer;          /* how much of it comes before the base model's own name */
    struct err *err;
};

static int64_t size_of(const struct transformer_config *c, char letter)
{
    switch (letter) {
    case 'V':
        return c->vocab_size;
    case 'E':
        return c->embedding_size;
    case 'C':
        return c->hidden;
    case 'F':
        return c->inner;
    case 'P':
        return c->positions;
    case 'Y':
        return c->types;
    case 'K':
        return c->tasks;
    case 'O':
        return c->labels;
    case 'H':
        return c->heads;
    case 'D':
        return c->head_size;
    case 'A':
        return (int64_t)c->heads * c->head_size;
    case 'B':
        return c->buckets;
    default:
        return 2;
    }
}

static void layer_name(const struct search *s, const char *pattern, int32_t layer, char *name)
{
    const struct transformer_config *c = s->cfg;
    int32_t group = c->groups ? layer / (c->layers / c->groups * c->inner_layers) : 0,
            within = c->inner_layers ? layer % c->inner_layers : 0;
    size_t at = 0;
    for (const char *p = pattern; *p && at + 20 < MAX_NAME; p++)
        if (*p == '#' || *p == '@' || *p == '%')
            at += (size_t)snprintf(name + at, MAX_NAME - at, "%d",
                                   (int)(*p == '#'   ? layer
                                         : *p == '@' ? group
                                                     : within));
        else
            name[at++] = *p;
    name[at] = '\0';
}

/* Old files call LayerNorm's weight gamma and its bias beta; T5's one vocabulary goes by two names, of
 * which a file may have either. */
static bool old_name(const char *name, char *old)
{
    static const char *const pairs[][2] = {{"shared.weight", "encoder.embed_tokens.weight"},
                                           {"LayerNorm.weight", "LayerNorm.gamma"},
                                           {"LayerNorm.bias", "LayerNorm.beta"},
                                           {"layer_norm.weight", "layer_norm.gamma"},
                                           {"layer_norm.bias", "layer_norm.beta"}};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        size_t m = strlen(pairs[i][0]);
        if (n >= m && strcmp(name + n - m, pairs[i][0]) == 0) {
            (void)snprintf(old, MAX_NAME, "%.*s%s", (int)(n - m), name, pairs[i][1]);
            return true;
        }
    }
    return false;
}

static const struct tensor *find(const struct search *s, const char *name)
{
    char old[MAX_NAME];
    const struct tensor *t = tensor_set_find(s->set, name);
    return t || !old_name(name, old) ? t : tensor_set_find(s->set, old);
}

/* One weight by its full name, with its shape; counted when met for the first time. */
static int take(struct search *s, const struct param_row *row, const char *name,
                const struct tensor **out)
{
    int64_t dims[TENSOR_MAX_DIMS];
    int n = (int)strlen(row->dims);
    const struct tensor *t = find(s, name);
    for (int i = 0; i < n; i++)
        dims[i] = size_of(s->cfg, row->dims[i]);
    if (tensor_set_need(s->set, t ? t->name : name, n, dims, out, s->err) != 0)
        return -1;
    size_t at = (size_t)(*out - s->set->tensors);
    if (s->p->role[at] != PARAMS)
        return 0;
    int64_t count = 1;
    for (int i = 0; i < n; i++)
        count *= dims[i];
    s->p->role[at] = row->which;
    s->p->count += count;
    return 0;
}

/* Rows of the table that this configuration does not have. */
static bool absent(const struct search *s, const struct param_row *row)
{
    const struct transformer_config *c = s->cfg;
    switch (row->which) {
    case P_TASK:
        return c->tasks == 0;
    case P_EMB_PROJ_W:
    case P_EMB_PROJ_B:
        return c->family == FAMILY_ELECTRA && c->embedding_size == c->hidden;
    case P_GATE_W:
        return !c->gated;
    case P_INNER_W: /* T5 alone has two rows of it */
        return c->family == FAMILY_T5 && (strstr(row->name, "wi_0") != NULL) != c->gated;
    default:
        return false;
    }
}

static size_t layer_at(int32_t layer, enum param which)
{
    return (size_t)layer * (PARAMS - P_FIRST_OF_LAYER) + (size_t)which - P_FIRST_OF_LAYER;
}

static int take_stack(struct search *s, enum stack stack, const struct param_row *rows, size_t n,
                      int32_t layers)
{
    struct params *p = s->p;
    char name[MAX_NAME], full[2 * MAX_NAME];
    p->layers[stack] = layers;
    p->layer[stack] = xcalloc((size_t)layers * (PARAMS - P_FIRST_OF_LAYER), sizeof(void *));
    for (size_t i = 0; i < n; i++) {
        bool once = rows[i].which < P_FIRST_OF_LAYER;
        if (absent(s, &rows[i]))
            continue;
        for (int32_t l = 0; l < (once ? 1 : layers); l++) {
            const struct tensor **to = once ? &p->once[stack][rows[i].which]
                                            : &p->layer[stack][layer_at(l, rows[i].which)];
            layer_name(s, rows[i].name, l, name);
            (void)snprintf(full, sizeof full, "%s%s", s->prefix, name);
            if (take(s, &rows[i], full, to) != 0)
                return -1;
        }
    }
    return 0;
}

static int find_prefix(struct search *s, const char *anchor)
{
    char other[MAX_NAME];
    size_t best = SIZE_MAX;
    bool has_other = old_name(anchor, other);
    for (size_t i = 0; i < s->set->n; i++) {
        const char *name = s->set->tensors[i].name;
        size_t n = strlen(name), m = strlen(anchor);
        if (has_other && n >= strlen(other) && strcmp(name + n - strlen(other), other) == 0)
            m = strlen(other);
        bool at_border = n == m || (n > m && name[n - m - 1] == '.');
        if (!at_border || n - m >= best || n - m >= MAX_NAME ||
            (strcmp(name + n - m, anchor) != 0 && (!has_other || strcmp(name + n - m, other) != 0)))
            continue;
        best = n - m;
        memcpy(s->prefix, name, best);
        s->prefix[best] = '\0';
    }
    if (best == SIZE_MAX)
        return err_set(s->err, ERR_FORMAT,
                       "%s: none of its %zu tensors is called %s, under any prefix: no weights of "
                       "%s family",
                       s->set->name, s->set->n, anchor, family_name(s->cfg->family));
    s->outer = best;
    while (s->outer > 1 && s->prefix[s->outer - 2] != '.')
        s->outer--;
    if (s->outer)
        s->outer--;
    return 0;
}

static void head_name(const struct search *s, const char *name, char *full)
{
    (void)snprintf(full, 2 * MAX_NAME, "%.*s%s", (int)s->outer, s->prefix, name);
}

static int take_head(struct search *s, const struct param_row *rows, size_t n)
{
    char full[2 * MAX_NAME];
    for (size_t i = 0; i < n; i++) {
        head_name(s, rows[i].name, full);
        if (take(s, &rows[i], full, &s->p->once[STACK_ENCODER][rows[i].which]) != 0)
            return -1;
    }
    return 0;
}

static int take_pooler(struct search *s)
{
    const struct param_row *rows =
        s->cfg->family == FAMILY_ALBERT ? albert_pooler_rows : pooler_rows;
    char full[2 * MAX_NAME];
    for (int i = 0; i < 2; i++) {
        (void)snprintf(full, sizeof full, "%s%s", s->prefix, rows[i].name);
        if (take(s, &rows[i], full, &s->p->once[STACK_ENCODER][rows[i].which]) != 0)
            return -1;
    }
    return 0;
}

static bool has_pooler(const struct search *s)
{
    char full[2 * MAX_NAME];
    (void)snprintf(full, sizeof full, "%s%s", s->prefix,
                   s->cfg->family == FAMILY_ALBERT ? albert_pooler_rows[0].name
                                                   : pooler_rows[0].name);
    return find(s, full) != NULL;
}

/* The number of labels is the output's. */
static int labels_of(struct search *s, const struct tensor *t)
{
    if (t->n_dims != 2 || t->dims[0] < 1 || t->dims[0] > INT32_MAX)
        return err_set(s->err, ERR_FORMAT, "%s: tensor %s is no matrix [labels, hidden]",
                       s->set->name, t->name);
    s->cfg->labels = (int32_t)t->dims[0];
    return 0;
}

/* The head whose names begin with the first s->outer bytes of the prefix; HEAD_NONE without one. */
static int find_head_there(struct search *s, enum head want)
{
    char full[2 * MAX_NAME];
    const struct tensor *t;
    for (size_t i = 0; i < sizeof dense_heads / sizeof *dense_heads; i++) {
        head_name(s, dense_heads[i].rows[2].name, full);
        if ((t = find(s, full)) == NULL)
            continue;
        s->cfg->head = dense_heads[i].head;
        return labels_of(s, t) != 0 ? -1 : take_head(s, dense_heads[i].rows, 4);
    }
    for (size_t i = 0; i < PLAIN_HEADS; i++) {
        head_name(s, plain_heads[i][0].name, full);
        if ((t = find(s, full)) == NULL)
            continue;
        bool pools = s->cfg->family != FAMILY_ELECTRA && s->cfg->family != FAMILY_XLNET &&
                     s->cfg->family != FAMILY_T5;
        /* Under transformers' own name it reads the pooler's row, and a pooler must be there. */
        pools = pools && (i == 0 || has_pooler(s));
        s->cfg->head = want != HEAD_NONE ? want : pools ? HEAD_POOLED : HEAD_ROW;
        if (labels_of(s, t) != 0 || take_head(s, plain_heads[i], 2) != 0)
            return -1;
        return s->cfg->head == HEAD_POOLED ? take_pooler(s) : 0;
    }
    s->cfg->head = HEAD_NONE;
    s->cfg->labels = 0;
    return 0;
}

/* A head stands beside the base model, or among its parts where it has no name of its own:
 * "module.bert.embeddings" and "module.fc", "module.embeddings" and "module.fc". */
static int find_head(struct search *s, enum head want)
{
    int rc = find_head_there(s, want);
    if (rc != 0 || s->cfg->head != HEAD_NONE)
        return rc;
    s->outer = strlen(s->prefix);
    return find_head_there(s, want);
}

int params_find(const struct tensor_set *weights, struct transformer_config *cfg, enum head want,
                struct params *out, struct err *err)
{
    struct params p = {0};
    struct search s = {weights, cfg, &p, "", 0, err};
    const struct base_rows *base = &bases[cfg->family];
    /* ALBERT counts its layers in groups of inner ones. */
    int32_t layers = cfg->layers * (cfg->inner_layers ? cfg->inner_layers : 1);
    p.role = xcalloc(weights->n + 1, sizeof *p.role);
    for (size_t i = 0; i < weights->n; i++)
        p.role[i] = PARAMS;
    int rc = find_prefix(&s, base->anchor);
    if (rc == 0)
        rc = find_head(&s, want);
    if (rc == 0)
        rc = take_stack(&s, STACK_ENCODER, base->rows, base->n, layers);
    if (rc == 0 && cfg->family == FAMILY_T5)
        rc = take_stack(&s, STACK_DECODER, t5_decoder_rows,
                        sizeof t5_decoder_rows / sizeof *t5_decoder_rows, cfg->decoder_layers);
    if (rc != 0)
        params_done(&p);
    else
        *out = p;
    return rc;
}

void params_done(struct params *p)
{
    for (int i = 0; i < STACKS; i++)
        free(p->layer[i]);
    free(p->role);
    *p = (struct params){0};
}

const struct tensor *params_of(const struct params *p, enum stack stack, enum param which,
                               int32_t layer)
{
    if (which < P_FIRST_OF_LAYER)
        return p->once[stack][which];
    assert(layer >= 0 && layer < p->layers[stack]);
    return p->layer[stack][layer_at(layer, which)];
}
