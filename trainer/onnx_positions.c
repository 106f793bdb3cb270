#include "trainer/onnx_positions.h"

#include <string.h>

enum { MAX_STEPS = 64 /* exports take a handful */ };

const struct onnx_node *onnx_producer(const struct onnx_graph *g, const char *name)
{
    for (size_t i = 0; i < g->n_nodes; i++)
        for (size_t k = 0; k < g->nodes[i].n_out; k++)
            if (strcmp(g->nodes[i].out[k], name) == 0)
                return &g->nodes[i];
    return NULL;
}

/* A Constant's or an initializer's whole numbers. */
static const struct onnx_tensor *constant(const struct onnx_graph *g, const char *name)
{
    const struct onnx_node *n = onnx_producer(g, name);
    const struct onnx_tensor *t = n ? n->value : NULL;
    for (size_t i = 0; !n && !t && i < g->n_tensors; i++)
        if (strcmp(g->tensors[i].name, name) == 0)
            t = &g->tensors[i];
    return t && t->type == ONNX_INT64 && t->bytes ? t : NULL;
}

/* Are they first, first + by, first + 2 by, …? */
static bool counts(const struct onnx_tensor *t, int64_t first, int64_t by)
{
    for (size_t i = 0; t && i < t->bytes / sizeof(int64_t); i++) {
        int64_t x;
        memcpy(&x, (const char *)t->data + i * sizeof x, sizeof x);
        if (x != first + (int64_t)i * by)
            return false;
    }
    return t != NULL;
}

static bool is_op(const struct onnx_node *n, const char *op, size_t n_in)
{
    return strcmp(n->op, op) == 0 && n->n_in >= n_in;
}

/* Numbers that come through as they are. */
static bool passes(const struct onnx_graph *g, const struct onnx_node *n)
{
    static const char *const ops[] = {"Cast",    "Expand",  "Identity",
                                      "Reshape", "Squeeze", "Unsqueeze"};
    if (is_op(n, "Slice", 3)) /* from the first on, each */
        return counts(constant(g, n->in[1]), 0, 0) &&
               (n->n_in < 5 || counts(constant(g, n->in[4]), 1, 0));
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (is_op(n, ops[i], 1))
            return true;
    return false;
}

bool onnx_counts_positions(const struct onnx_graph *g, const char *name)
{
    for (int i = 0; i < MAX_STEPS; i++) {
        const struct onnx_node *n = onnx_producer(g, name);
        if (!n || n->value)
            return strcmp(name, "position_ids") == 0 || counts(constant(g, name), 0, 1);
        if (is_op(n, "Range", 3))
            return counts(constant(g, n->in[0]), 0, 0) && counts(constant(g, n->in[2]), 1, 0);
        if (!passes(g, n))
            return false;
        name = n->in[0];
    }
    return false;
}
