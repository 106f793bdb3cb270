/* Forests as tensors, and back. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/arch.h"
#include "models/forest.h"
#include "models/forest_arch.h"
#include "ops/tfidf.h"

enum { NODE_BYTES = 3, FIRST_LEAF = 1 << 23 };

/* A stack of questions whose right subtree is still to come. */
struct pending {
    int32_t *at;
    size_t n, room;
};

static void push(struct pending *p, int32_t at)
{
    if (p->n == p->room) {
        p->room = p->room ? 2 * p->room : 64;
        p->at = xrealloc(p->at, p->room * sizeof *p->at);
    }
    p->at[p->n++] = at;
}

/* A question as a number that orders by feature, then threshold, which is not below 0. */
static uint64_t question_key(const struct forest_node *n)
{
    uint32_t bits;
    memcpy(&bits, &n->threshold, sizeof bits);
    return (uint64_t)(uint32_t)n->feature << 32 | bits;
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

struct file {
    uint64_t *key; /* [questions], ascending */
    int32_t questions;
    int32_t *feature;
    float *threshold;
    uint8_t *node;
    size_t nodes;
};

static void find_questions(const struct forest *f, struct file *out)
{
    size_t n = 0;
    out->key = xmalloc((size_t)f->nodes * sizeof *out->key + 1);
    for (int32_t i = 0; i < f->nodes; i++)
        out->key[i] = question_key(&f->node[i]);
    qsort(out->key, (size_t)f->nodes, sizeof *out->key, by_key);
    for (int32_t i = 0; i < f->nodes; i++)
        if (n == 0 || out->key[i] != out->key[n - 1])
            out->key[n++] = out->key[i];
    out->questions = (int32_t)n;
    out->feature = xmalloc(n * sizeof *out->feature + 1);
    out->threshold = xmalloc(n * sizeof *out->threshold + 1);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)out->key[i];
        out->feature[i] = (int32_t)(out->key[i] >> 32);
        memcpy(&out->threshold[i], &bits, sizeof bits);
    }
}

static void put_node(struct file *out, int64_t number)
{
    uint8_t *to = out->node + NODE_BYTES * out->nodes++;
    for (int i = 0; i < NODE_BYTES; i++)
        to[i] = (uint8_t)(number >> 8 * i);
}

static void put_tree(const struct forest *f, int32_t at, struct file *out)
{
    struct pending rest = {0};
    push(&rest, at);
    while (rest.n) {
        at = rest.at[--rest.n];
        if (at < 0) {
            put_node(out, FIRST_LEAF + (int64_t)(-1 - at));
            continue;
        }
        uint64_t key = question_key(&f->node[at]);
        const uint64_t *found =
            bsearch(&key, out->key, (size_t)out->questions, sizeof *out->key, by_key);
        put_node(out, found - out->key);
        push(&rest, f->node[at].child[1]);
        push(&rest, f->node[at].child[0]);
    }
    free(rest.at);
}

static struct tensor vector(const char *name, enum dtype dtype, int64_t n, const void *data)
{
    return (struct tensor){.name = name,
                           .dtype = dtype,
                           .n_dims = 1,
                           .dims = {n},
                           .data = data,
                           .bytes = (size_t)n * dtype_size(dtype)};
}

static struct tensor matrix(const char *name, enum dtype dtype, int64_t n, int64_t columns,
                            const void *data)
{
    struct tensor t = vector(name, dtype, n * columns, data);
    t.n_dims = 2;
    t.dims[0] = n;
    t.dims[1] = columns;
    return t;
}

static int write_file(const char *dir, const char *name, const struct forest *f,
                      const struct file *file, const struct ngrams *g, int32_t max_tokens,
                      const struct vocab *v, const struct classes *classes, struct err *err)
{
    const struct tensor tensors[] = {
        vector("ngrams", DT_I64, ngrams_count(g), ngrams_keys(g)),
        vector("idf", DT_F32, ngrams_count(g), ngrams_idf(g)),
        vector("question_feature", DT_I32, file->questions, file->feature),
        vector("question_threshold", DT_F32, file->questions, file->threshold),
        matrix("node", DT_U8, (int64_t)file->nodes, NODE_BYTES, file->node),
        matrix("leaf", DT_F32, f->leaves, f->labels, f->leaf),
    };
    json_t *config = json_object();
    (void)json_object_set_new(config, "architectures", json_pack("[s]", "RandomForest"));
    (void)json_object_set_new(config, "ngram_max", json_integer(TFIDF_NGRAM));
    (void)json_object_set_new(config, "num_features", json_integer(ngrams_count(g)));
    (void)json_object_set_new(config, "num_trees", json_integer(f->trees));
    (void)json_object_set_new(config, "max_length", json_integer(max_tokens));
    (void)json_object_set_new(config, "torch_dtype", json_string("float32"));
    int rc = arch_save(dir, forest_arch.model_type, name, config, tensors,
                       sizeof tensors / sizeof *tensors, v, classes, err);
    json_decref(config);
    return rc;
}

int forest_save(const char *dir, const char *name, const struct forest *f, const struct ngrams *g,
                int32_t max_tokens, const struct vocab *v, const struct classes *classes,
                struct err *err)
{
    struct file file = {0};
    int rc = 0;
    find_questions(f, &file);
    if (file.questions > FIRST_LEAF || f->leaves > FIRST_LEAF)
        rc = err_set(err, ERR_CONFLICT,
                     "%d questions that differ and %d distributions: a file has room for %d of "
                     "each; leaves of more titles have fewer",
                     (int)file.questions, (int)f->leaves, FIRST_LEAF);
    if (rc == 0) {
        file.node = xmalloc(NODE_BYTES * (2 * (size_t)f->nodes + (size_t)f->trees));
        for (int32_t t = 0; t < f->trees; t++)
            put_tree(f, f->root[t], &file);
        rc = write_file(dir, name, f, &file, g, max_tokens, v, classes, err);
    }
    free(file.key);
    free(file.feature);
    free(file.threshold);
    free(file.node);
    return rc;
}

static int need(const struct tensor_set *weights, const char *name, enum dtype dtype, int n_dims,
                const int64_t *dims, const struct tensor **out, struct err *err)
{
    if (tensor_set_need(weights, name, n_dims, dims, out, err) != 0)
        return -1;
    return (*out)->dtype == dtype && !(*out)->scale
               ? 0
               : err_set(err, ERR_FORMAT, "tensor \"%s\": type %s, expected %s", name,
                         dtype_name((*out)->dtype), dtype_name(dtype));
}

static int32_t node_number(const struct tensor *node, int64_t i)
{
    const uint8_t *from = (const uint8_t *)node->data + NODE_BYTES * i;
    return from[0] | from[1] << 8 | from[2] << 16;
}

static int check_questions(const int32_t *feature, const float *threshold, int64_t n,
                           int32_t features, struct err *err)
{
    for (int64_t i = 0; i < n; i++) {
        if (feature[i] < 0 || feature[i] >= features)
            return err_set(err, ERR_FORMAT,
                           "tensor \"question_feature\": value %lld, %d, is none of %d features",
                           (long long)i, (int)feature[i], (int)features);
        if (!isfinite(threshold[i]) || threshold[i] < 0)
            return err_set(err, ERR_NUMERIC, "tensor \"question_threshold\": value %lld is %g",
                           (long long)i, (double)threshold[i]);
    }
    return 0;
}

static int check_leaves(const struct forest *f, struct err *err)
{
    for (int32_t i = 0; i < f->leaves; i++) {
        double sum = 0;
        for (int32_t k = 0; k < f->labels; k++) {
            float p = f->leaf[(size_t)i * (size_t)f->labels + (size_t)k];
            sum += p >= 0 ? (double)p : NAN;
        }
        if (!(fabs(sum - 1) <= 1e-3))
            return err_set(err, ERR_NUMERIC,
                           "tensor \"leaf\": row %d is no distribution, its sum is %g", (int)i,
                           sum);
    }
    return 0;
}

/* Every number a question or a leaf that there is, and as many questions as make trees. */
static int count_nodes(const struct tensor *node, int64_t questions, struct forest *f,
                       struct err *err)
{
    int64_t n = node->dims[0], asking = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t is = node_number(node, i);
        if (is < FIRST_LEAF ? is >= questions : is - FIRST_LEAF >= f->leaves)
            return err_set(err, ERR_FORMAT,
                           "tensor \"node\": row %lld, %d, is neither one of %lld questions nor "
                           "%d + one of %d leaves",
                           (long long)i, (int)is, (long long)questions, FIRST_LEAF, (int)f->leaves);
        asking += is < FIRST_LEAF;
    }
    if (n != 2 * asking + f->trees || asking > INT32_MAX)
        return err_set(err, ERR_FORMAT,
                       "tensor \"node\": %lld rows, %lld of them questions, are not %d trees",
                       (long long)n, (long long)asking, (int)f->trees);
    f->nodes = (int32_t)asking;
    return 0;
}

/* One tree from row *row on; false where the rows end before it does. */
static bool take_tree(const struct tensor *node, const int32_t *feature, const float *threshold,
                      int64_t *row, int32_t *nodes, struct forest *f, int32_t *root)
{
    struct pending rest = {0};
    int32_t *slot = root;
    while (slot && *row < node->dims[0]) {
        int32_t is = node_number(node, (*row)++);
        if (is < FIRST_LEAF) {
            *slot = *nodes;
            push(&rest, *nodes);
            f->node[*nodes] = (struct forest_node){feature[is], threshold[is], {0, 0}};
            slot = &f->node[(*nodes)++].child[0];
        } else {
            *slot = -1 - (is - FIRST_LEAF);
            slot = rest.n ? &f->node[rest.at[--rest.n]].child[1] : NULL;
        }
    }
    free(rest.at);
    return !slot;
}

static int take_trees(const struct tensor *node, const int32_t *feature, const float *threshold,
                      struct forest *f, struct err *err)
{
    int64_t row = 0;
    int32_t nodes = 0;
    f->root = xmalloc((size_t)f->trees * sizeof *f->root);
    f->node = xmalloc((size_t)f->nodes * sizeof *f->node + 1);
    for (int32_t t = 0; t < f->trees; t++)
        if (!take_tree(node, feature, threshold, &row, &nodes, f, &f->root[t]))
            return err_set(err, ERR_FORMAT, "tensor \"node\": its rows end within tree %d", (int)t);
    return row == node->dims[0]
               ? 0
               : err_set(err, ERR_FORMAT, "tensor \"node\": %d trees end at row %lld",
                         (int)f->trees, (long long)row);
}

int forest_read(const struct tensor_set *weights, int32_t features, struct forest *f,
                struct err *err)
{
    const struct tensor *feature, *threshold, *node, *leaf;
    const struct tensor *any = tensor_set_find(weights, "question_feature"),
                        *all = tensor_set_find(weights, "node"),
                        *rows = tensor_set_find(weights, "leaf");
    const int64_t q = any && any->n_dims == 1 ? any->dims[0] : 0,
                  nodes[] = {all && all->n_dims == 2 ? all->dims[0] : 0, NODE_BYTES},
                  leaves[] = {rows && rows->n_dims == 2 ? rows->dims[0] : 0, f->labels};
    if (leaves[0] > FIRST_LEAF)
        return err_set(err, ERR_FORMAT, "tensor \"leaf\": %lld rows, at most %d",
                       (long long)leaves[0], FIRST_LEAF);
    if (need(weights, "question_feature", DT_I32, 1, &q, &feature, err) != 0 ||
        tensor_set_need(weights, "question_threshold", 1, &q, &threshold, err) != 0 ||
        need(weights, "node", DT_U8, 2, nodes, &node, err) != 0 ||
        tensor_set_need(weights, "leaf", 2, leaves, &leaf, err) != 0)
        return -1;
    int32_t *asked = xmalloc(feature->bytes + 1);
    float *edge = xmalloc((size_t)q * sizeof *edge + 1);
    memcpy(asked, feature->data, feature->bytes);
    f->leaves = (int32_t)leaves[0];
    f->leaf = xmalloc((size_t)f->leaves * (size_t)f->labels * sizeof *f->leaf + 1);
    int rc = tensor_to_f32(threshold, edge, err);
    if (rc == 0)
        rc = tensor_to_f32(leaf, f->leaf, err);
    if (rc == 0)
        rc = check_questions(asked, edge, q, features, err);
    if (rc == 0)
        rc = check_leaves(f, err);
    if (rc == 0)
        rc = count_nodes(node, q, f, err);
    if (rc == 0)
        rc = take_trees(node, asked, edge, f, err);
    free(asked);
    free(edge);
    if (rc != 0)
        forest_done(f);
    return rc;
}
