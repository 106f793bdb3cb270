#include "models/forest.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "models/arch.h"
#include "models/forest_arch.h"
#include "ops/tfidf.h"

void forest_done(struct forest *f)
{
    free(f->root);
    free(f->node);
    free(f->leaf);
    *f = (struct forest){0};
}

/* A walk waits for memory at every question: so WALKS trees are walked at a time. */
enum { WALKS = 16 };

struct forest_row forest_row_open(int64_t features)
{
    return (struct forest_row){xcalloc((size_t)features, sizeof(float)),
                               xcalloc((size_t)features / 64 + 1, sizeof(uint64_t))};
}

void forest_row_close(struct forest_row *r)
{
    free(r->x);
    free(r->bit);
    *r = (struct forest_row){0};
}

void forest_row_put(struct forest_row *r, const int32_t *index, const float *value, int32_t n)
{
    for (int32_t k = 0; k < n; k++) {
        r->x[index[k]] = value[k];
        r->bit[index[k] / 64] |= (uint64_t)1 << (index[k] % 64);
    }
}

void forest_row_clear(struct forest_row *r, const int32_t *index, int32_t n)
{
    for (int32_t k = 0; k < n; k++)
        r->bit[index[k] / 64] = 0;
}

static bool goes_right(const struct forest_node *n, const struct forest_row *r)
{
    return (r->bit[n->feature / 64] >> (n->feature % 64) & 1) && r->x[n->feature] > n->threshold;
}

void forest_add(const struct forest *f, const struct forest_row *r, int32_t first, int32_t n,
                double *sum)
{
    for (int32_t from = first; from < first + n; from += WALKS) {
        int32_t at[WALKS], walks = first + n - from < WALKS ? first + n - from : WALKS,
                           open = walks;
        memcpy(at, f->root + from, (size_t)walks * sizeof *at);
        while (open > 0) {
            open = 0;
            for (int32_t k = 0; k < walks; k++) {
                if (at[k] < 0)
                    continue;
                const struct forest_node *node = &f->node[at[k]];
                at[k] = node->child[goes_right(node, r)];
                open++;
            }
        }
        for (int32_t k = 0; k < walks; k++) {
            const float *leaf = f->leaf + (size_t)(-1 - at[k]) * (size_t)f->labels;
            for (int32_t c = 0; c < f->labels; c++)
                sum[c] += (double)leaf[c];
        }
    }
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

int forest_save(const char *dir, const char *name, const struct forest *f, const struct ngrams *g,
                int32_t max_tokens, const struct vocab *v, const struct classes *classes,
                struct err *err)
{
    size_t n = (size_t)f->nodes;
    int32_t *feature = xmalloc(n * sizeof *feature + 1),
            *child = xmalloc(2 * n * sizeof *child + 1);
    float *threshold = xmalloc(n * sizeof *threshold + 1);
    for (size_t i = 0; i < n; i++) {
        feature[i] = f->node[i].feature;
        threshold[i] = f->node[i].threshold;
        memcpy(child + 2 * i, f->node[i].child, 2 * sizeof *child);
    }
    const struct tensor tensors[] = {
        vector("ngrams", DT_I64, ngrams_count(g), ngrams_keys(g)),
        vector("idf", DT_F32, ngrams_count(g), ngrams_idf(g)),
        vector("root", DT_I32, f->trees, f->root),
        vector("feature", DT_I32, f->nodes, feature),
        vector("threshold", DT_F32, f->nodes, threshold),
        matrix("child", DT_I32, f->nodes, 2, child),
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
    free(feature);
    free(threshold);
    free(child);
    return rc;
}
