#include "trainer/onnx_positions.h"

#include <string.h>

enum { MAX_VALUES = 256 /* exports make positions of a dozen */ };

const struct onnx_node *onnx_producer(const struct onnx_graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        for (size_t k = 0; k < g->nodes[i].n_out; k++)
            if (strcmp(g->nodes[i].out[k], name) == 0)
                return &g->nodes[i];
    return NULL;
}

static const struct onnx_tensor *constant(const struct onnx_graph *g, const char *name)
{
    const struct onnx_node *n = onnx_producer(g, name);
    if (n)
        return n->value;
    for (size_t i = 0; i < g->n_tensors; i++)
        if (strcmp(g->tensors[i].name, name) == 0)
            return &g->tensors[i];
    return NULL;
}

/* [1, P] of whole numbers is a table; all else is an operation's argument. */
static bool is_other_table(const struct onnx_tensor *t)
{
    if (t->type != ONNX_INT64 || t->n_dims != 2)
        return false;
    for (size_t i = 0; i < t->bytes / sizeof(int64_t); i++) {
        int64_t x;
        memcpy(&x, (const char *)t->data + i * sizeof x, sizeof x);
        if (x != (int64_t)i)
            return true;
    }
    return false;
}

bool onnx_counts_positions(const struct onnx_graph *g, const char *name)
{
    const char *values[MAX_VALUES] = {name};
    size_t n = 1;
    for (size_t i = 0; i < n; i++) {
        const struct onnx_tensor *t = constant(g, values[i]);
        const struct onnx_node *node = onnx_producer(g, values[i]);
        if (t ? is_other_table(t) : !node && *values[i] && strcmp(values[i], "position_ids") != 0)
            return false;
        if (!node || strcmp(node->op, "Shape") == 0)
            continue;
        for (size_t k = 0; k < node->n_in; k++) {
            size_t known = 0;
            while (known < n && strcmp(values[known], node->in[k]) != 0)
                known++;
            if (known == n && n == MAX_VALUES)
                return false;
            if (known == n)
                values[n++] = node->in[k];
        }
    }
    return true;
}
