#include "models/params.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "models/params_table.h"

enum { MAX_NAME = 500 };

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
    case '1':
        return 1;
    default:
        return 2;
    }
}

static void layer_name(const struct transformer_config *c, const char *pattern, int32_t layer,
                       char *name)
{
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

/* One weight by its full name, with its shape and numbers; counted when met for the first time. */
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
    if (tensor_check_weights(*out, s->err) != 0)
        return err_prefix(s->err, "%s", s->set->name);
    int64_t count = 1;
    for (int i = 0; i < n; i++)
        count *= dims[i];
    s->p->role[at] = row->which;
    s->p->count += count;
    return 0;
}

/* Rows of the table that this configuration does not have. */
static bool absent(const struct transformer_config *c, const struct param_row *row)
{
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

static int take_stack(struct search *s, enum stack stack, const struct stack_rows *table,
                      int32_t layers)
{
    const struct param_row *rows = table->rows;
    struct params *p = s->p;
    char name[MAX_NAME], full[2 * MAX_NAME];
    p->layers[stack] = layers;
    p->layer[stack] = xcalloc((size_t)layers * (PARAMS - P_FIRST_OF_LAYER), sizeof(void *));
    for (size_t i = 0; i < table->n; i++) {
        bool once = rows[i].which < P_FIRST_OF_LAYER;
        if (absent(s->cfg, &rows[i]))
            continue;
        for (int32_t l = 0; l < (once ? 1 : layers); l++) {
            const struct tensor **to = once ? &p->once[stack][rows[i].which]
                                            : &p->layer[stack][layer_at(l, rows[i].which)];
            layer_name(s->cfg, rows[i].name, l, name);
            (void)snprintf(full, sizeof full, "%s%s", s->prefix, name);
            if (rows[i].which == P_MASK_EMB && !find(s, full))
                continue; /* kept where it is, and missed by nobody */
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
        s->cfg->family == FAMILY_ALBERT ? params_albert_pooler : params_pooler;
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
                   s->cfg->family == FAMILY_ALBERT ? params_albert_pooler[0].name
                                                   : params_pooler[0].name);
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
    for (size_t i = 0; i < PARAMS_DENSE_HEADS; i++) {
        head_name(s, params_dense_heads[i].rows[2].name, full);
        if ((t = find(s, full)) == NULL)
            continue;
        s->cfg->head = params_dense_heads[i].head;
        return labels_of(s, t) != 0 ? -1 : take_head(s, params_dense_heads[i].rows, 4);
    }
    for (size_t i = 0; i < PARAMS_PLAIN_HEADS; i++) {
        head_name(s, params_plain_heads[i][0].name, full);
        if ((t = find(s, full)) == NULL)
            continue;
        bool pools = s->cfg->family != FAMILY_ELECTRA && s->cfg->family != FAMILY_XLNET &&
                     s->cfg->family != FAMILY_T5;
        /* Under transformers' own name it reads the pooler's row, and a pooler must be there. */
        pools = pools && (i == 0 || has_pooler(s));
        s->cfg->head = want != HEAD_NONE ? want : pools ? HEAD_POOLED : HEAD_ROW;
        if (labels_of(s, t) != 0 || take_head(s, params_plain_heads[i], 2) != 0)
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

/* ALBERT counts its layers in groups of inner ones. */
int32_t params_layers(const struct transformer_config *cfg)
{
    return cfg->layers * (cfg->inner_layers ? cfg->inner_layers : 1);
}

int params_find(const struct tensor_set *weights, struct transformer_config *cfg, enum head want,
                struct params *out, struct err *err)
{
    struct params p = {0};
    struct search s = {weights, cfg, &p, "", 0, err};
    const struct base_rows *base = &params_bases[cfg->family];
    p.role = xcalloc(weights->n + 1, sizeof *p.role);
    for (size_t i = 0; i < weights->n; i++)
        p.role[i] = PARAMS;
    int rc = find_prefix(&s, base->anchor);
    if (rc == 0)
        rc = find_head(&s, want);
    if (rc == 0)
        rc = take_stack(&s, STACK_ENCODER, &base->stack, params_layers(cfg));
    if (rc == 0 && cfg->family == FAMILY_T5)
        rc = take_stack(&s, STACK_DECODER, &params_t5_decoder, cfg->decoder_layers);
    if (rc != 0)
        params_done(&p);
    else
        *out = p;
    return rc;
}

int params_find_pooler(const struct tensor_set *weights, struct transformer_config *cfg,
                       struct params *p, struct err *err)
{
    struct search s = {weights, cfg, p, "", 0, err};
    if (find_prefix(&s, params_bases[cfg->family].anchor) != 0)
        return -1;
    return has_pooler(&s) ? take_pooler(&s) : 0;
}

bool params_masks(enum family f)
{
    return params_masked_heads[f] != NULL;
}

int params_find_masked(const struct tensor_set *weights, struct transformer_config *cfg,
                       struct params *p, bool *found, struct err *err)
{
    struct search s = {weights, cfg, p, "", 0, err};
    const struct param_row *rows = params_masked_heads[cfg->family];
    char full[2 * MAX_NAME];
    *found = false;
    if (!rows)
        return 0;
    if (find_prefix(&s, params_bases[cfg->family].anchor) != 0)
        return -1;
    head_name(&s, rows[0].name, full);
    *found = find(&s, full) != NULL;
    return *found ? take_head(&s, rows, PARAMS_MASKED_ROWS) : 0;
}

static void tell(const struct transformer_config *cfg, enum stack stack, int32_t layer,
                 const struct param_row *row, const char *prefix, params_visit *visit, void *arg)
{
    struct param_place place = {.which = row->which, .stack = stack, .layer = layer};
    char name[MAX_NAME], full[2 * MAX_NAME];
    layer_name(cfg, row->name, layer, name);
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    place.name = full;
    place.n_dims = (int)strlen(row->dims);
    for (int i = 0; i < place.n_dims; i++)
        place.dims[i] = size_of(cfg, row->dims[i]);
    visit(arg, &place);
}

static void each_of_stack(const struct transformer_config *cfg, enum stack stack,
                          const struct stack_rows *table, int32_t layers, params_visit *visit,
                          void *arg)
{
    const char *prefix = params_bases[cfg->family].prefix;
    for (size_t i = 0; i < table->n; i++) {
        const struct param_row *row = &table->rows[i];
        int32_t times = row->which < P_FIRST_OF_LAYER ? 1 : layers;
        for (int32_t l = 0; l < times && !absent(cfg, row); l++)
            tell(cfg, stack, l, row, prefix, visit, arg);
    }
}

void params_each(const struct transformer_config *cfg, params_visit *visit, void *arg)
{
    const struct base_rows *base = &params_bases[cfg->family];
    each_of_stack(cfg, STACK_ENCODER, &base->stack, params_layers(cfg), visit, arg);
    if (cfg->family == FAMILY_T5)
        each_of_stack(cfg, STACK_DECODER, &params_t5_decoder, cfg->decoder_layers, visit, arg);
    for (int i = 0; i < 2 && cfg->head == HEAD_POOLED; i++)
        tell(cfg, STACK_ENCODER, 0,
             cfg->family == FAMILY_ALBERT ? &params_albert_pooler[i] : &params_pooler[i],
             base->prefix, visit, arg);
    for (size_t i = 0; i < PARAMS_DENSE_HEADS; i++)
        for (int k = 0; k < 4 && params_dense_heads[i].head == cfg->head; k++)
            tell(cfg, STACK_ENCODER, 0, &params_dense_heads[i].rows[k], "", visit, arg);
    for (int k = 0; k < 2 && (cfg->head == HEAD_POOLED || cfg->head == HEAD_ROW); k++)
        tell(cfg, STACK_ENCODER, 0, &params_plain_heads[0][k], "", visit, arg);
    for (int k = 0; k < PARAMS_MASKED_ROWS && cfg->head == HEAD_MASKED; k++)
        tell(cfg, STACK_ENCODER, 0, &params_masked_heads[cfg->family][k], "", visit, arg);
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
