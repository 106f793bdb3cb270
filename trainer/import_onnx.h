/* An ONNX export of a BERT encoder becomes the weights and configuration of a Hugging Face directory.
 *
 * Weights are found by what the graph computes, from its output back to its ids: norms, residual sums,
 * the two products of a feed-forward part around its activation, attention's softmax and what is
 * queries, keys and values of it.  Names do not matter.  Whatever is not recognised is refused by the
 * node's or tensor's name, and so is a weight that is left over. */
#ifndef TRAINER_IMPORT_ONNX_H
#define TRAINER_IMPORT_ONNX_H

#include "base/json.h"
#include "models/tensors.h"
#include "proto/codec_onnx.h"

struct imported {
    json_t *config;         /* of a BertModel; owned */
    struct tensor *tensors; /* named as transformers does; owned, with names and data */
    size_t n;
};

int import_onnx(const struct onnx_graph *g, struct imported *out, struct err *err);
void imported_done(struct imported *m); /* safe on a zeroed one */

#endif
