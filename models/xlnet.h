/* What XLNet's attention has of its own (Yang et al., arXiv:1906.08237): weights stored inputs
 * first, biases added to the queries, and scores by relative position, whose projections depend
 * on the weights alone and are made when the model is opened. */
#ifndef MODELS_XLNET_H
#define MODELS_XLNET_H

#include "models/body.h"
#include "ops/attention.h"

#define XLNET_TABLES 5

/* Rows [2 max_t - 1, C] by distance d = j - i: the sinusoids of i - j, sines in the first half, cosines
 * in the second.  Freed by the caller. */
float *xlnet_sinusoids(int c, int max_t);
/* Sets the options of layer l's attention; own holds their memory, freed one by one. */
void xlnet_layer(const struct body_source *src, int32_t l, struct attention *a,
                 float *own[XLNET_TABLES]);
/* The named matrices [C,H,D], inputs first, as one projection. */
struct projection *xlnet_projection(const struct body_source *src, int32_t l, const enum param *w,
                                    int n_parts);
/* [C,H,D], outputs first. */
struct projection *xlnet_out_projection(const struct body_source *src, int32_t l);

#endif
