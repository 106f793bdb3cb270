#include "models/fasttext_tree.h"

#include <math.h>
#include <stdlib.h>

#include "base/buf.h"

struct node {
    int32_t left, right, parent; /* -1: none */
    int64_t count;
};

struct fasttext_tree {
    int32_t labels;
    struct node *nodes; /* [2 labels]: leaves, then inner nodes */
    struct fasttext_step **paths;
};

/* Leaves from the rarest and inner nodes as they come: of both queues the least is taken. */
static void build(struct fasttext_tree *t, const struct fasttext_dict *d)
{
    int32_t n = t->labels, leaf = n - 1, inner = n;
    for (int32_t i = 0; i < 2 * n; i++)
        t->nodes[i] = (struct node){-1, -1, -1, (int64_t)1e15};
    for (int32_t i = 0; i < n; i++)
        t->nodes[i].count = d->entries[d->n_words + i].count;
    for (int32_t i = n; i < 2 * n - 1; i++) {
        int32_t least[2];
        for (int k = 0; k < 2; k++) {
            bool takes_leaf = leaf >= 0 && t->nodes[leaf].count < t->nodes[inner].count;
            least[k] = takes_leaf ? leaf-- : inner++;
            t->nodes[least[k]].parent = i;
        }
        t->nodes[i].left = least[0];
        t->nodes[i].right = least[1];
        t->nodes[i].count = t->nodes[least[0]].count + t->nodes[least[1]].count;
    }
}

struct fasttext_tree *fasttext_tree_open(const struct fasttext_dict *d)
{
    struct fasttext_tree *t = xcalloc(1, sizeof *t);
    t->labels = d->n_labels;
    t->nodes = xcalloc(2 * (size_t)t->labels, sizeof *t->nodes);
    t->paths = xcalloc((size_t)t->labels, sizeof *t->paths);
    build(t, d);
    for (int32_t i = 0; i < t->labels; i++) {
        size_t n = 0;
        t->paths[i] = xmalloc((size_t)t->labels * sizeof **t->paths);
        for (int32_t node = i, up; (up = t->nodes[node].parent) >= 0; node = up)
            t->paths[i][n++] = (struct fasttext_step){up - t->labels, t->nodes[up].right == node};
        t->paths[i][n] = (struct fasttext_step){-1, false};
    }
    return t;
}

void fasttext_tree_close(struct fasttext_tree *t)
{
    if (!t)
        return;
    for (int32_t i = 0; i < t->labels; i++)
        free(t->paths[i]);
    free(t->paths);
    free(t->nodes);
    free(t);
}

const struct fasttext_step *fasttext_tree_path(const struct fasttext_tree *t, int32_t label)
{
    return t->paths[label];
}

void fasttext_tree_probabilities(const struct fasttext_tree *t, const float *logits, float *p)
{
    for (int32_t i = 0; i < t->labels; i++) {
        p[i] = 1.0f;
        for (const struct fasttext_step *s = t->paths[i]; s->row >= 0; s++) {
            float right = 1.0f / (1.0f + expf(-logits[s->row]));
            p[i] *= s->right ? right : 1.0f - right;
        }
    }
}
