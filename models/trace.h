/* What a transformer computes on its way to the probabilities, handed out name by name: for tests
 * against the reference and for looking inside.  put is called with
 *     "embeddings"   the rows that enter the first layer
 *     "hidden.i"     the rows that leave layer i = 1 .. L
 *     "encoder", "decoder.i", "decoder"   T5: after the encoder's last norm, and the decoder's
 *     "pooled"       what the last linear layer of the head reads
 *     "logits"
 * as rows x cols floats, valid during the call.  Of the last layer only the rows that feed the head
 * are computed, one a title, unless the model has no head.  Batches go through in slices of
 * titles: each name comes once per slice, with the number of its first title. */
#ifndef MODELS_TRACE_H
#define MODELS_TRACE_H

#include "data/batch.h"
#include "models/model.h"

struct trace {
    void (*put)(void *arg, const char *name, int32_t first_title, const float *x, int rows,
                int cols);
    void *arg;
};

/* model_classify() with a trace; families that are no transformers hand out nothing.  probabilities
 * is not written when the model has no head, and may then be NULL. */
void model_trace(const struct model *m, struct workspace *ws, const struct batch *b,
                 const struct trace *t, float *probabilities);

#endif
