/* ONNX files (onnx.ai, IR version 3 and later): the graph of nodes and the tensors it holds, as far as
 * importing an encoder needs them.  Bytes from outside: what does not parse is refused by file. */
#ifndef PROTO_CODEC_ONNX_H
#define PROTO_CODEC_ONNX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define ONNX_MAX_DIMS 8
enum { ONNX_FLOAT = 1, ONNX_INT64 = 7 }; /* TensorProto.DataType */

struct onnx_tensor {
    const char *name;
    int type, n_dims;
    int64_t dims[ONNX_MAX_DIMS];
    const void *data; /* little endian, maybe unaligned; NULL: empty */
    size_t bytes;
};

struct onnx_node {
    const char *name, *op;
    const char *const *in, *const *out; /* [n_in], [n_out]; an input left out is "" */
    size_t n_in, n_out;
    const struct onnx_tensor *value; /* of a Constant, or NULL */
    double epsilon;                  /* of a LayerNormalization; 0: not given */
};

struct onnx_graph {
    const char *path; /* for messages */
    const struct onnx_node *nodes;
    const struct onnx_tensor *tensors; /* its initializers */
    const char *const *inputs, *const *outputs;
    size_t n_nodes, n_tensors, n_inputs, n_outputs;
};

/* path must outlive it.  Weights in files of their own (external data) are refused.  Const after open,
 * shared by threads. */
int onnx_open(const char *path, struct onnx_graph **out, struct err *err);
void onnx_close(struct onnx_graph *g); /* NULL allowed */

#endif
