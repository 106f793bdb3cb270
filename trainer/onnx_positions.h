/* Where an ONNX graph takes the rows of its table of positions from. */
#ifndef TRAINER_ONNX_POSITIONS_H
#define TRAINER_ONNX_POSITIONS_H

#include <stdbool.h>

#include "proto/codec_onnx.h"

/* The node that makes a value; NULL: an input, an initializer, or nothing. */
const struct onnx_node *onnx_producer(const struct onnx_graph *g, const char *name);
/* Is `name` the input position_ids, a table 0, 1, 2, … or a Range from 0 by 1, cut and shaped but not reckoned with?
 * RoBERTa's is not: it counts the ids that are no padding, from 2; nor BART's, which adds 2. */
bool onnx_counts_positions(const struct onnx_graph *g, const char *name);

#endif
