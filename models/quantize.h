/* Model directories with weights in bytes: a transformer's or TextCNN's directory is written again with its large
 * matrices as I8, symmetric, with a step for each output (embeddings: for each row), a quarter of the size.
 *
 *     NAME         I8    round(w / step), the largest of a row being 127 (ops/int8.h)
 *     NAME_scale   F32   the steps, [outputs] (XLNet's [C,H,D] with the inputs first: [H,D])
 *
 * config.json gets "rubric_quantization" (bits, how, of which weights) and "int8_keep", the names of the matrices that
 * stay as they were.  A reader that asks for floats gets them multiplied out (models/tensors.h), so such a
 * directory opens like any other; a transformer's then multiplies in int8 unless told otherwise.
 *
 * What may stay as it is, is a unit: a matrix, or those of query, key and value together, which one product reads. */
#ifndef MODELS_QUANTIZE_H
#define MODELS_QUANTIZE_H

#include <stdbool.h>

#include "base/err.h"

struct quantize; /* an opened source; one thread at a time */
/* Refused: a family without large matrices (linear, fastText), a directory that is quantised already. */
int quantize_open(const char *dir, struct quantize **out, struct err *err);
void quantize_close(struct quantize *q); /* NULL allowed */

int quantize_units(const struct quantize *q);
/* The name of its first tensor, without ".weight". */
const char *quantize_unit_name(const struct quantize *q, int unit);
/* Units with a matrix that the name says, as "int8_keep" does, are marked; how many there are. */
int quantize_mark(const struct quantize *q, const char *name, bool *keep);

/* The same of all that the source's own "int8_keep" names. */
void quantize_mark_kept(const struct quantize *q, bool *keep);

/* keep [units]: what stays as it is.  out is made where it is missing; config.json comes last. */
int quantize_write(const struct quantize *q, const bool *keep, const char *out, struct err *err);

#endif
