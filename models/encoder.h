/* The encoder of the BERT family, ALBERT, NEZHA and XLNet: one loop over layers of attention and a
 * feed-forward pair, each followed by a residual sum and LayerNorm (post-norm, as in the original
 * transformer).  Rows of a batch are packed: no padding, no mask; only attention sees where a title
 * begins.
 *
 * With a head, the last layer computes keys and values of all rows, but goes on with one row a
 * title: the first (XLNet: the last), the only one that the head reads.  That saves the rest of
 * the layer for all the others, some 6 % of a model of 12 layers.
 *
 * Papers: BERT arXiv:1810.04805, ERNIE 3.0 arXiv:2107.02137, ELECTRA arXiv:2003.10555, ALBERT
 * arXiv:1909.11942, NEZHA arXiv:1909.00204, XLNet arXiv:1906.08237.
 *
 * A struct encoder is const after open and shared; a workspace belongs to one thread. */
#ifndef MODELS_ENCODER_H
#define MODELS_ENCODER_H

#include "data/batch.h"
#include "models/body.h"

extern const struct body encoder_body;

#endif
