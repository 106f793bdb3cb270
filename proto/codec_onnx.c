#include "proto/codec_onnx.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "onnx.pb-c.h"

struct opened {
    struct onnx_graph graph; /* the first member: what the caller has */
    Onnx__ModelProto *model;
    struct onnx_node *nodes;
    struct onnx_tensor *tensors, *values; /* values: of constants */
    const char **names;                   /* of inputs, then of outputs */
};

#define MAX_ELEMENTS ((uint64_t)1 << 40)
enum { MAX_NODES = 1 << 17 }; /* an encoder of a thousand layers; searches are linear */

static const char *text(const char *s)
{
    return s ? s : "";
}

static int read_tensor(const char *path, const Onnx__TensorProto *from, struct onnx_tensor *to,
                       struct err *err)
{
    static const size_t sizes[] = {[ONNX_FLOAT] = 4, [ONNX_INT64] = 8};
    *to = (struct onnx_tensor){.name = text(from->name), .type = from->data_type};
    if (from->n_dims > ONNX_MAX_DIMS)
        return err_set(err, ERR_FORMAT, "%s: tensor \"%.200s\" has %zu dimensions, at most %d",
                       path, to->name, from->n_dims, ONNX_MAX_DIMS);
    if (from->data_location != 0)
        return err_set(err, ERR_FORMAT,
                       "%s: tensor \"%.200s\" lies in a file of its own: save the model in one",
                       path, to->name);
    uint64_t elements = 1;
    for (size_t i = 0; i < from->n_dims; i++) {
        to->dims[i] = from->dims[i];
        /* So that no product of dimensions wraps round. */
        if (from->dims[i] < 0 ||
            (from->dims[i] > 0 && elements > MAX_ELEMENTS / (uint64_t)from->dims[i]))
            return err_set(err, ERR_FORMAT, "%s: tensor \"%.200s\": dimension %zu is %lld", path,
                           to->name, i, (long long)from->dims[i]);
        elements *= (uint64_t)from->dims[i];
    }
    to->n_dims = (int)from->n_dims;
    to->data = from->has_raw_data ? (const void *)from->raw_data.data : from->float_data;
    to->bytes = from->has_raw_data ? from->raw_data.len : 4 * from->n_float_data;
    bool known = to->type == ONNX_FLOAT || to->type == ONNX_INT64;
    if (known && to->bytes != elements * sizes[to->type])
        return err_set(err, to->bytes < elements * sizes[to->type] ? ERR_TRUNCATED : ERR_FORMAT,
                       "%s: tensor \"%.200s\": expected %llu bytes, found %zu", path, to->name,
                       (unsigned long long)(elements * sizes[to->type]), to->bytes);
    return 0;
}

static int read_node(const char *path, const Onnx__NodeProto *from, struct onnx_node *to,
                     struct onnx_tensor *value, struct err *err)
{
    *to = (struct onnx_node){.name = text(from->name),
                             .op = text(from->op_type),
                             .in = (const char *const *)from->input,
                             .out = (const char *const *)from->output,
                             .n_in = from->n_input,
                             .n_out = from->n_output};
    for (size_t i = 0; i < from->n_attribute; i++) {
        const Onnx__AttributeProto *a = from->attribute[i];
        if (strcmp(text(a->name), "epsilon") == 0)
            to->epsilon = (double)a->f;
        if (strcmp(to->op, "Constant") == 0 && strcmp(text(a->name), "value") == 0 && a->t) {
            if (read_tensor(path, a->t, value, err) != 0)
                return -1;
            to->value = value;
        }
    }
    return 0;
}

static int read_graph(struct opened *o, const char *path, struct err *err)
{
    const Onnx__GraphProto *g = o->model->graph;
    if (!g)
        return err_set(err, ERR_FORMAT, "%s: no graph: not an ONNX model", path);
    if (g->n_node > MAX_NODES || g->n_initializer > MAX_NODES)
        return err_set(err, ERR_FORMAT, "%s: %zu nodes and %zu tensors, at most %d of each", path,
                       g->n_node, g->n_initializer, MAX_NODES);
    o->nodes = xcalloc(g->n_node + 1, sizeof *o->nodes);
    o->values = xcalloc(g->n_node + 1, sizeof *o->values);
    o->tensors = xcalloc(g->n_initializer + 1, sizeof *o->tensors);
    o->names = xcalloc(g->n_input + g->n_output + 1, sizeof *o->names);
    for (size_t i = 0; i < g->n_node; i++)
        if (read_node(path, g->node[i], &o->nodes[i], &o->values[i], err) != 0)
            return -1;
    for (size_t i = 0; i < g->n_initializer; i++)
        if (read_tensor(path, g->initializer[i], &o->tensors[i], err) != 0)
            return -1;
    for (size_t i = 0; i < g->n_input; i++)
        o->names[i] = text(g->input[i]->name);
    for (size_t i = 0; i < g->n_output; i++)
        o->names[g->n_input + i] = text(g->output[i]->name);
    o->graph = (struct onnx_graph){.path = path,
                                   .nodes = o->nodes,
                                   .tensors = o->tensors,
                                   .inputs = o->names,
                                   .outputs = o->names + g->n_input,
                                   .n_nodes = g->n_node,
                                   .n_tensors = g->n_initializer,
                                   .n_inputs = g->n_input,
                                   .n_outputs = g->n_output};
    return 0;
}

int onnx_open(const char *path, struct onnx_graph **out, struct err *err)
{
    struct file_map map;
    if (file_map_open(&map, path, err) != 0)
        return -1;
    struct opened *o = xcalloc(1, sizeof *o);
    o->model = onnx__model_proto__unpack(NULL, map.len, map.data);
    file_map_close(&map);
    int rc = o->model ? read_graph(o, path, err)
                      : err_set(err, ERR_FORMAT, "%s: not an ONNX model: it does not parse", path);
    if (rc != 0) {
        onnx_close(&o->graph);
        return -1;
    }
    *out = &o->graph;
    return 0;
}

void onnx_close(struct onnx_graph *g)
{
    struct opened *o = (struct opened *)g;
    if (!o)
        return;
    if (o->model)
        onnx__model_proto__free_unpacked(o->model, NULL);
    free(o->nodes);
    free(o->values);
    free(o->tensors);
    free(o->names);
    free(o);
}
