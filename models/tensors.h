/* Tensors as files hold them, and sets of them: what every reader of checkpoints gives and every
 * model is read from. */
#ifndef MODELS_TENSORS_H
#define MODELS_TENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum dtype { DT_F32, DT_F16, DT_BF16, DT_F64, DT_I8, DT_U8, DT_I32, DT_I64, DT_BOOL, DT_COUNT };
const char *dtype_name(enum dtype t); /* "F32", … */
size_t dtype_size(enum dtype t);      /* bytes */

#define TENSOR_MAX_DIMS 8

struct tensor {
    const char *name;
    enum dtype dtype;
    int n_dims;
    int64_t dims[TENSOR_MAX_DIMS];
    const void *data; /* may be unaligned for its type: copy out with tensor_to_f32 or memcpy */
    size_t bytes;
    /* Of DT_I8: floats, unaligned as data may be, by which its numbers are multiplied: one for each
     * index of the first dimension, or of all others together.  NULL: the bytes are mere integers. */
    const void *scale;
    bool scale_trails;
};

/* The tensors of a checkpoint: one file's, or several files' together.  Const once made, shared by
 * threads. */
struct tensor_set {
    const char *name; /* the file or directory, for messages */
    size_t n;
    const struct tensor *tensors;        /* [n] */
    const struct tensor *const *by_name; /* [n] the same in the order of their names */
};

/* Bytes NAME whose steps are in the same file as NAME_scale, F32 and of the shape of the first
 * dimension or (of three and more) of the others, are one tensor: it gets its scale, the other goes.
 * Returns how many are left of n. */
#define TENSOR_SCALE "_scale"
size_t tensors_pair(struct tensor *tensors, size_t n);

/* Makes a set; name and tensors are borrowed and must outlive it.  A name that is there twice is an
 * error that says which.  tensor_set_done() after success. */
int tensor_set_init(struct tensor_set *set, const char *name, const struct tensor *tensors,
                    size_t n, struct err *err);
void tensor_set_done(struct tensor_set *set); /* safe on a zeroed one */

/* NULL when absent; log2(n) comparisons, for files may claim a million tensors. */
const struct tensor *tensor_set_find(const struct tensor_set *set, const char *name);
/* Finds a tensor and checks its exact shape; the error names file, tensor, expected and found
 * shape, and for a missing one how many tensors the file has. */
int tensor_set_need(const struct tensor_set *set, const char *name, int n_dims, const int64_t *dims,
                    const struct tensor **out, struct err *err);
/* Copies all elements, widened (narrowed from F64, scaled from I8), to out. Only floating types and
 * bytes with a scale; the error names the tensor and type. */
int tensor_to_f32(const struct tensor *t, float *out, struct err *err);
/* Are these numbers that a model can run with?  The error names the tensor and the type that is not a
 * floating one, or the place of the first infinity or NaN. */
int tensor_check_weights(const struct tensor *t, struct err *err);
/* "[3, 4]" into text, for messages; returns text. */
#define TENSOR_SHAPE_TEXT (TENSOR_MAX_DIMS * 22 + 3)
const char *tensor_shape_text(int n_dims, const int64_t *dims, char text[TENSOR_SHAPE_TEXT]);

/* IEEE 754 binary16 and bfloat16, round to nearest even; subnormals, infinities and NaN kept. */
uint16_t f16_from_f32(float x);
float f16_to_f32(uint16_t h);
uint16_t bf16_from_f32(float x);
float bf16_to_f32(uint16_t h);

#endif
