/* Where an ONNX graph takes the rows of its table of positions from. */
#ifndef TRAINER_ONNX_POSITIONS_H
#define TRAINER_ONNX_POSITIONS_H

#include <stdbool.h>

#include "proto/codec_onnx.h"

/* The node that makes a value; NULL: an input, an initializer, or nothing. */
const struct onnx_node *onnx_producer(const struct onnx_graph *g, const char *name);
/* Is `name` made of constants, shapes and the input position_ids alone, and a table of numbers among them 0, 1, 2, …?
 * RoBERTa's is not: it counts the ids that are no padding, from 2. */
bool onnx_counts_positions(const struct onnx_graph *g, const char *name);

#endif
