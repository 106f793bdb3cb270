/* T5 and mT5 (Raffel et al., arXiv:1910.10683; Xue et al., arXiv:2010.11934) as classifiers: an
 * encoder and a decoder, norms before each step and without mean or bias, no 1/sqrt(D), distances
 * in buckets whose biases the first layer of each stack holds for all.
 *
 * As T5ForSequenceClassification has it, the decoder reads the title shifted right by its start
 * token, and the head reads its row at the title's closing </s>.  config.json's "rubric_decoder":
 * "start" gives the decoder its start token alone and reads that row: a different model, for which a
 * checkpoint must be trained, at half the cost.  Of the decoder's last layer only that one
 * row goes on after keys and values. */
#ifndef MODELS_T5_H
#define MODELS_T5_H

#include "models/body.h"

extern const struct body t5_body;

/* The bucket of distance d = j - i, as the reference computes it in floats. */
int t5_bucket(int d, bool bidirectional, int buckets, int max_distance);

#endif
