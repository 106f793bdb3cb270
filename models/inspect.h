/* A model directory as text: its family, sizes and head, the weights as a tree with types, shapes,
 * bytes and the arithmetic each would run in, the keys of config.json that change nothing, the
 * tensors that nothing reads. */
#ifndef MODELS_INSPECT_H
#define MODELS_INSPECT_H

#include "base/buf.h"
#include "models/model.h"

/* Appends to out.  What model_open would refuse of configuration and weights is refused here, with
 * the same message. */
int model_inspect(const char *dir, enum precision precision, struct buf *out, struct err *err);

#endif
