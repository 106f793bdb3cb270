/* NEZHA's relative positions (Wei et al., arXiv:1909.00204): R[d] = sinusoids of the distance d,
 * clipped to max_relative; the sine in even columns, the cosine in odd ones.  Not stored in
 * checkpoints, or stored as a buffer that says the same. */
#ifndef MODELS_NEZHA_H
#define MODELS_NEZHA_H

#include "models/transformer_config.h"

/* attention's key_table and value_table (ops/attention.h) for titles up to max_tokens; freed by the
 * caller. */
void nezha_tables(const struct transformer_config *cfg, int max_tokens, float **key_table,
                  float **value_table);

#endif
