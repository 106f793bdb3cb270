#include "trainer/import_onnx.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "trainer/onnx_positions.h"

enum { MAX_LAYERS = 1000, PER_LAYER = 16, EMBEDDINGS = 5, MAX_UP = 64 };

/* A linear layer as the graph has it: in · W + b, W [K,O]. */
struct dense {
    const char *in;
    const struct onnx_tensor *w, *b;
};

struct norm {
    const char *in;
    const struct onnx_tensor *gamma, *beta;
    double eps;
};

struct layer {
    const char *in;
    struct dense q, k, v, o, inner, outer;
    struct norm att, out;
};

struct search {
    const struct onnx_graph *g;
    bool *used;           /* [n_tensors] */
    struct layer *layers; /* from the last to the first */
    size_t n;
    const struct onnx_tensor *word, *position, *type;
    struct norm embedding;
    double eps, scale; /* scale: what attention's scores are divided by */
    const char *act;
    struct err *err;
};

static int refuse(const struct search *s, const char *what, const char *where, const char *expected)
{
    return err_set(s->err, ERR_FORMAT, "%s: %s \"%.200s\" is not recognised: expected %s",
                   s->g->path, what, where, expected);
}

/* Linear searches: graphs have hundreds of nodes, and an import is done once. */
static const struct onnx_node *producer(const struct search *s, const char *name)
{
    return onnx_producer(s->g, name);
}

static bool is(const struct onnx_node *n, const char *op, size_t n_in)
{
    return n && strcmp(n->op, op) == 0 && n->n_in >= n_in && n->n_out >= 1;
}

static const struct onnx_tensor *initializer(const struct search *s, const char *name)
{
    for (size_t i = 0; i < s->g->n_tensors; i++)
        if (strcmp(s->g->tensors[i].name, name) == 0 && s->g->tensors[i].type == ONNX_FLOAT)
            return &s->g->tensors[i];
    return NULL;
}

/* A number that stands in the graph, as a Constant or as an initializer of one element. */
static bool number(const struct search *s, const char *name, double *out)
{
    const struct onnx_node *n = producer(s, name);
    const struct onnx_tensor *t = n ? n->value : initializer(s, name);
    float x;
    if (!t || t->type != ONNX_FLOAT || t->bytes != sizeof x)
        return false;
    memcpy(&x, t->data, sizeof x);
    *out = (double)x;
    return true;
}

/* Of an operation whose order does not matter: the input that is an initializer, and the other. */
static bool with_weight(const struct search *s, const struct onnx_node *n, int dims,
                        const struct onnx_tensor **w, const char **other)
{
    for (int i = 0; i < 2; i++) {
        const struct onnx_tensor *t = initializer(s, n->in[i]);
        if (t && t->n_dims == dims) {
            *w = t;
            *other = n->in[1 - i];
            return true;
        }
    }
    return false;
}

static bool with_number(const struct search *s, const struct onnx_node *n, double *x,
                        const char **other)
{
    for (int i = 0; i < 2; i++)
        if (number(s, n->in[i], x)) {
            *other = n->in[1 - i];
            return true;
        }
    return false;
}

/* LayerNormalization as one node. */
static bool whole_norm(const struct search *s, const char *name, struct norm *out)
{
    const struct onnx_node *n = producer(s, name);
    if (!is(n, "LayerNormalization", 3))
        return false;
    *out = (struct norm){n->in[0], initializer(s, n->in[1]), initializer(s, n->in[2]),
                         n->epsilon > 0 ? n->epsilon : 1e-5};
    return out->gamma && out->beta;
}

/* And spelled out: (x - mean) / sqrt(mean((x - mean)^2) + eps) * gamma + beta. */
static bool spelled_norm(const struct search *s, const char *name, struct norm *out)
{
    const char *scaled, *even, *sum, *squares;
    double two = 0;
    const struct onnx_node *add = producer(s, name), *mul, *div, *sub, *root, *inner, *mean, *power,
                           *again, *first;
    if (!is(add, "Add", 2) || !with_weight(s, add, 1, &out->beta, &scaled) ||
        !is(mul = producer(s, scaled), "Mul", 2) || !with_weight(s, mul, 1, &out->gamma, &even) ||
        !is(div = producer(s, even), "Div", 2) || !is(sub = producer(s, div->in[0]), "Sub", 2) ||
        !is(root = producer(s, div->in[1]), "Sqrt", 1) ||
        !is(inner = producer(s, root->in[0]), "Add", 2) ||
        !with_number(s, inner, &out->eps, &sum) || !is(mean = producer(s, sum), "ReduceMean", 1))
        return false;
    squares = mean->in[0];
    if (!is(power = producer(s, squares), "Pow", 2) || !number(s, power->in[1], &two) || two != 2 ||
        !is(again = producer(s, power->in[0]), "Sub", 2) ||
        !is(first = producer(s, sub->in[1]), "ReduceMean", 1))
        return false;
    out->in = sub->in[0];
    return strcmp(again->in[0], out->in) == 0 && strcmp(first->in[0], out->in) == 0;
}

static int find_norm(struct search *s, const char *name, struct norm *out)
{
    if (!whole_norm(s, name, out) && !spelled_norm(s, name, out))
        return refuse(s, "value", name, "a layer's norm");
    if (s->eps > 0 && s->eps != out->eps)
        return err_set(s->err, ERR_FORMAT, "%s: norms have different epsilons, %g and %g",
                       s->g->path, s->eps, out->eps);
    s->eps = out->eps;
    return 0;
}

static bool find_dense(const struct search *s, const char *name, struct dense *out)
{
    const struct onnx_node *add = producer(s, name), *mul;
    const char *product;
    if (!is(add, "Add", 2) || !with_weight(s, add, 1, &out->b, &product) ||
        !is(mul = producer(s, product), "MatMul", 2))
        return false;
    out->in = mul->in[0];
    out->w = initializer(s, mul->in[1]);
    return out->w && out->w->n_dims == 2 && out->b->dims[0] == out->w->dims[1];
}

/* A sum of a dense layer's output and of what passed by it. */
static int find_residual(const struct search *s, const char *name, struct dense *d,
                         const char **residual)
{
    const struct onnx_node *add = producer(s, name);
    for (int i = 0; is(add, "Add", 2) && i < 2; i++)
        if (find_dense(s, add->in[i], d)) {
            *residual = add->in[1 - i];
            return 0;
        }
    return refuse(s, "value", name, "a linear layer's output and the residual");
}

/* Up through what only changes a shape. */
static const char *unshaped(const struct search *s, const char *name)
{
    const struct onnx_node *n = producer(s, name);
    for (int i = 0; i < MAX_UP && (is(n, "Reshape", 1) || is(n, "Transpose", 1) ||
                                   is(n, "Identity", 1) || is(n, "Dropout", 1));
         i++) {
        name = n->in[0];
        n = producer(s, name);
    }
    return name;
}

/* x / sqrt(2) through erf: x (1 + erf) / 2, in either order of its factors. */
static bool is_gelu(const struct search *s, const char *name, const char **in)
{
    const struct onnx_node *n = producer(s, name), *both, *plus, *erf, *div;
    const char *rest, *erf_of;
    double half, one, root;
    if (is(n, "Gelu", 1)) {
        *in = n->in[0];
        return true;
    }
    if (!is(n, "Mul", 2) || !with_number(s, n, &half, &rest) || half != 0.5 ||
        !is(both = producer(s, rest), "Mul", 2))
        return false;
    for (int i = 0; i < 2; i++) {
        plus = producer(s, both->in[i]);
        if (is(plus, "Add", 2) && with_number(s, plus, &one, &erf_of) && one == 1 &&
            is(erf = producer(s, erf_of), "Erf", 1) &&
            is(div = producer(s, erf->in[0]), "Div", 2) && number(s, div->in[1], &root) &&
            fabs(root - sqrt(2)) < 1e-6 && strcmp(div->in[0], both->in[1 - i]) == 0) {
            *in = both->in[1 - i];
            return true;
        }
    }
    return false;
}

static int find_activation(struct search *s, const char *name, const char **in)
{
    const struct onnx_node *n = producer(s, name);
    const char *act = NULL;
    if (is_gelu(s, name, in)) {
        act = "gelu";
    } else if (is(n, "Relu", 1)) {
        act = "relu";
        *in = n->in[0];
    }
    if (!act || (s->act && strcmp(act, s->act) != 0))
        return refuse(s, "value", name, "gelu or relu, the same in all layers");
    s->act = act;
    return 0;
}

/* softmax(q k^T / scale + mask) v */
static int find_attention(struct search *s, const char *context, struct layer *y)
{
    const char *name = unshaped(s, context), *scores;
    const struct onnx_node *sum = producer(s, name), *soft, *masked, *scaled, *product;
    double scale = 0;
    if (!is(sum, "MatMul", 2) || !is(soft = producer(s, sum->in[0]), "Softmax", 1))
        return refuse(s, "value", name, "attention's probabilities times its values");
    scores = soft->in[0];
    masked = producer(s, scores);
    for (int i = 0; is(masked, "Add", 2) && i < 2; i++) {
        const struct onnx_node *side = producer(s, masked->in[i]);
        if (is(side, "Div", 2) || is(side, "MatMul", 2))
            scores = masked->in[i];
    }
    scaled = producer(s, scores);
    if (!is(scaled, "Div", 2) || !number(s, scaled->in[1], &scale) || !(scale > 0) ||
        !is(product = producer(s, scaled->in[0]), "MatMul", 2))
        return refuse(s, "value", scores, "queries times keys, divided by a number");
    if (s->scale > 0 && s->scale != scale)
        return err_set(s->err, ERR_FORMAT, "%s: scores are divided by %g and by %g", s->g->path,
                       s->scale, scale);
    s->scale = scale;
    const char *q = unshaped(s, product->in[0]), *k = unshaped(s, product->in[1]),
               *v = unshaped(s, sum->in[1]);
    if (!find_dense(s, q, &y->q))
        return refuse(s, "value", q, "queries, a linear layer's output");
    if (!find_dense(s, k, &y->k))
        return refuse(s, "value", k, "keys, a linear layer's output");
    if (!find_dense(s, v, &y->v))
        return refuse(s, "value", v, "values, a linear layer's output");
    return 0;
}

/* The layer whose output is name. */
static int find_layer(struct search *s, const char *name, struct layer *y)
{
    const char *n1, *x, *act = "";
    if (find_norm(s, name, &y->out) != 0 || find_residual(s, y->out.in, &y->outer, &n1) != 0 ||
        find_activation(s, y->outer.in, &act) != 0)
        return -1;
    if (!find_dense(s, act, &y->inner) || strcmp(y->inner.in, n1) != 0)
        return refuse(s, "value", act, "the inner linear layer of what passes by");
    if (find_norm(s, n1, &y->att) != 0 || find_residual(s, y->att.in, &y->o, &x) != 0 ||
        find_attention(s, y->o.in, y) != 0)
        return -1;
    if (strcmp(y->q.in, x) != 0 || strcmp(y->k.in, x) != 0 || strcmp(y->v.in, x) != 0)
        return refuse(s, "value", x, "the one input of queries, keys and values");
    y->in = x;
    return 0;
}

/* Word, type and position rows, in any order of two sums. */
static bool find_row(struct search *s, const char *name)
{
    const struct onnx_node *n = producer(s, name);
    const struct onnx_tensor *t = is(n, "Gather", 2) ? initializer(s, n->in[0]) : NULL;
    if (!t || t->n_dims != 2)
        return false;
    const struct onnx_tensor **to = strcmp(n->in[1], "input_ids") == 0        ? &s->word
                                    : strcmp(n->in[1], "token_type_ids") == 0 ? &s->type
                                                                              : &s->position;
    if (*to || (to == &s->position && !onnx_counts_positions(s->g, n->in[1])))
        return false;
    *to = t;
    return true;
}

static int find_embeddings(struct search *s, const char *name)
{
    if (find_norm(s, name, &s->embedding) != 0)
        return -1;
    const char *sum = s->embedding.in;
    const struct onnx_node *n = producer(s, sum);
    bool found = false;
    for (int i = 0; is(n, "Add", 2) && i < 2 && !found; i++) {
        const struct onnx_node *pair = producer(s, n->in[1 - i]);
        found = find_row(s, n->in[i]) && is(pair, "Add", 2) && find_row(s, pair->in[0]) &&
                find_row(s, pair->in[1]);
        if (!found)
            s->word = s->position = s->type = NULL;
    }
    if (!found || !s->word || !s->position || !s->type)
        return refuse(
            s, "value", sum,
            "rows of input_ids, of token_type_ids and of positions that count from 0, added up");
    return 0;
}

/* Is this value the output of the embeddings?  Its norm's input is no residual sum then. */
static bool is_embedded(struct search *s, const char *name)
{
    struct norm n;
    struct dense d;
    const char *residual;
    struct err quiet, *before = s->err;
    if (!whole_norm(s, name, &n) && !spelled_norm(s, name, &n))
        return false;
    s->err = &quiet;
    bool is_layer = find_residual(s, n.in, &d, &residual) == 0;
    s->err = before;
    return !is_layer;
}

static int walk(struct search *s)
{
    if (s->g->n_outputs < 1)
        return refuse(s, "graph", "", "an output");
    const char *at = s->g->outputs[0];
    while (!is_embedded(s, at)) {
        if (s->n == MAX_LAYERS)
            return refuse(s, "value", at, "an end of the layers");
        s->layers = xrealloc(s->layers, (s->n + 1) * sizeof *s->layers);
        struct layer *y = &s->layers[s->n];
        *y = (struct layer){0};
        if (find_layer(s, at, y) != 0)
            return -1;
        s->n++;
        at = y->in;
    }
    if (s->n == 0)
        return refuse(s, "value", at, "the output of a layer");
    return find_embeddings(s, at);
}

/* Takes a tensor under its new name; matrices of products are turned to [O,K]. */
static int take(struct search *s, struct imported *m, char *name, const struct onnx_tensor *t,
                bool turn, int64_t rows, int64_t columns)
{
    int64_t a = turn ? columns : rows, b = turn ? rows : columns; /* as the file has it */
    s->used[t - s->g->tensors] = true;
    if (t->n_dims != (columns > 0 ? 2 : 1) || t->dims[0] != a ||
        (t->n_dims == 2 && t->dims[1] != b)) {
        int rc = err_set(s->err, ERR_FORMAT,
                         "%s: tensor \"%.200s\", %s, is [%lld, %lld], expected [%lld, %lld]",
                         s->g->path, t->name, name, (long long)t->dims[0],
                         t->n_dims == 2 ? (long long)t->dims[1] : 0, (long long)a, (long long)b);
        free(name);
        return rc;
    }
    float *data = xmalloc(t->bytes + 1);
    memcpy(data, t->data, t->bytes);
    if (turn)
        for (int64_t i = 0; i < a; i++)
            for (int64_t j = 0; j < b; j++)
                memcpy(&data[j * a + i], (const char *)t->data + 4 * (i * b + j), sizeof *data);
    m->tensors[m->n++] = (struct tensor){.name = name,
                                         .dtype = DT_F32,
                                         .n_dims = t->n_dims,
                                         .dims = {rows, columns},
                                         .data = data,
                                         .bytes = t->bytes};
    return 0;
}

static int take_dense(struct search *s, struct imported *m, const char *at, size_t l,
                      const struct dense *d, int64_t o, int64_t k)
{
    return take(s, m, file_path("encoder.layer.%zu.%s.weight", l, at), d->w, true, o, k) != 0
               ? -1
               : take(s, m, file_path("encoder.layer.%zu.%s.bias", l, at), d->b, false, o, 0);
}

static int take_norm(struct search *s, struct imported *m, char *w, char *b, const struct norm *n,
                     int64_t c)
{
    if (take(s, m, w, n->gamma, false, c, 0) != 0) {
        free(b);
        return -1;
    }
    return take(s, m, b, n->beta, false, c, 0);
}

static int take_layer(struct search *s, struct imported *m, size_t l, const struct layer *y,
                      int64_t c, int64_t f)
{
    if (take_dense(s, m, "attention.self.query", l, &y->q, c, c) != 0 ||
        take_dense(s, m, "attention.self.key", l, &y->k, c, c) != 0 ||
        take_dense(s, m, "attention.self.value", l, &y->v, c, c) != 0 ||
        take_dense(s, m, "attention.output.dense", l, &y->o, c, c) != 0 ||
        take_norm(s, m, file_path("encoder.layer.%zu.attention.output.LayerNorm.weight", l),
                  file_path("encoder.layer.%zu.attention.output.LayerNorm.bias", l), &y->att,
                  c) != 0 ||
        take_dense(s, m, "intermediate.dense", l, &y->inner, f, c) != 0 ||
        take_dense(s, m, "output.dense", l, &y->outer, c, f) != 0)
        return -1;
    return take_norm(s, m, file_path("encoder.layer.%zu.output.LayerNorm.weight", l),
                     file_path("encoder.layer.%zu.output.LayerNorm.bias", l), &y->out, c);
}

static int take_all(struct search *s, struct imported *m)
{
    int64_t c = s->word->dims[1], f = s->layers[0].inner.w->dims[1];
    m->tensors = xcalloc(EMBEDDINGS + s->n * PER_LAYER, sizeof *m->tensors);
    if (take(s, m, xstrdup("embeddings.word_embeddings.weight"), s->word, false, s->word->dims[0],
             c) != 0 ||
        take(s, m, xstrdup("embeddings.position_embeddings.weight"), s->position, false,
             s->position->dims[0], c) != 0 ||
        take(s, m, xstrdup("embeddings.token_type_embeddings.weight"), s->type, false,
             s->type->dims[0], c) != 0 ||
        take_norm(s, m, xstrdup("embeddings.LayerNorm.weight"),
                  xstrdup("embeddings.LayerNorm.bias"), &s->embedding, c) != 0)
        return -1;
    for (size_t l = 0; l < s->n; l++)
        if (take_layer(s, m, l, &s->layers[s->n - 1 - l], c, f) != 0)
            return -1;
    for (size_t i = 0; i < s->g->n_tensors; i++)
        if (!s->used[i] && s->g->tensors[i].type == ONNX_FLOAT && s->g->tensors[i].bytes > 4)
            return refuse(s, "tensor", s->g->tensors[i].name, "no weights beside an encoder's");
    return 0;
}

static int describe(struct search *s, struct imported *m)
{
    int64_t c = s->word->dims[1], d = llround(s->scale * s->scale);
    if (d < 1 || fabs(s->scale * s->scale - (double)d) > 1e-3 * (double)d || c % d != 0)
        return err_set(s->err, ERR_FORMAT,
                       "%s: scores are divided by %g, which is no square root of a head's size "
                       "within %lld",
                       s->g->path, s->scale, (long long)c);
    m->config = json_object();
    json_t *names = json_array();
    (void)json_array_append_new(names, json_string("BertModel"));
    (void)json_object_set_new(m->config, "architectures", names);
    (void)json_object_set_new(m->config, "model_type", json_string("bert"));
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = {{"vocab_size", s->word->dims[0]},
                 {"hidden_size", c},
                 {"num_hidden_layers", (int64_t)s->n},
                 {"num_attention_heads", c / d},
                 {"intermediate_size", s->layers[0].inner.w->dims[1]},
                 {"max_position_embeddings", s->position->dims[0]},
                 {"type_vocab_size", s->type->dims[0]},
                 {"pad_token_id", 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        (void)json_object_set_new(m->config, sizes[i].key, json_integer(sizes[i].value));
    (void)json_object_set_new(m->config, "hidden_act", json_string(s->act));
    /* The number that was meant, not its nearest float: 1e-12, not 9.999999960041972e-13. */
    char text[32];
    (void)snprintf(text, sizeof text, "%.6g", s->eps);
    (void)json_object_set_new(m->config, "layer_norm_eps", json_real(strtod(text, NULL)));
    (void)json_object_set_new(m->config, "hidden_dropout_prob", json_real(0.1));
    (void)json_object_set_new(m->config, "attention_probs_dropout_prob", json_real(0.1));
    (void)json_object_set_new(m->config, "position_embedding_type", json_string("absolute"));
    (void)json_object_set_new(m->config, "torch_dtype", json_string("float32"));
    return 0;
}

int import_onnx(const struct onnx_graph *g, struct imported *out, struct err *err)
{
    struct search s = {.g = g, .used = xcalloc(g->n_tensors + 1, 1), .err = err};
    *out = (struct imported){0};
    int rc = walk(&s);
    if (rc == 0)
        rc = take_all(&s, out);
    if (rc == 0)
        rc = describe(&s, out);
    free(s.used);
    free(s.layers);
    if (rc != 0)
        imported_done(out);
    return rc;
}

void imported_done(struct imported *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free((void *)(uintptr_t)m->tensors[i].name);
        free((void *)(uintptr_t)m->tensors[i].data);
    }
    free(m->tensors);
    json_decref(m->config);
    *m = (struct imported){0};
}
