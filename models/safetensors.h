/* safetensors: a header of names, types, shapes and offsets, then raw little-endian data.
 * Format: https://github.com/huggingface/safetensors, section "Format".
 * Every rule is checked when a file is opened, each with its own message naming file and tensor:
 * header length within the file and under 100 MB, header is a JSON object, known dtype (F32 F16
 * BF16 F64 I8 U8 I32 I64 BOOL), shape of non-negative integers whose product does not overflow,
 * offsets in order and inside the file, size == product × element size, no gap, no overlap, data
 * ends where the file ends, names unique. */
#ifndef MODELS_SAFETENSORS_H
#define MODELS_SAFETENSORS_H

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
};

/* An open file: mapped, const, shared by threads. Tensors stand in data order. */
struct safetensors;
int safetensors_open(const char *path, struct safetensors **out, struct err *err);
/* The same over bytes in memory, which stay the caller's and must outlive the result. name goes
 * into messages. */
int safetensors_parse(const char *name, const void *data, size_t len, struct safetensors **out,
                      struct err *err);
void safetensors_close(struct safetensors *st); /* NULL allowed */
size_t safetensors_count(const struct safetensors *st);
const struct tensor *safetensors_at(const struct safetensors *st, size_t i);
/* NULL when absent. */
const struct tensor *safetensors_find(const struct safetensors *st, const char *name);
/* From __metadata__; NULL when absent. */
const char *safetensors_meta(const struct safetensors *st, const char *key);

/* Finds a tensor and checks its exact shape; the error names file, tensor, expected and found
 * shape, and for a missing one how many tensors the file has. */
int safetensors_need(const struct safetensors *st, const char *name, int n_dims,
                     const int64_t *dims, const struct tensor **out, struct err *err);
/* Copies all elements, widened (or narrowed from F64), to out. Only floating types; the error names
 * the tensor and type. */
int tensor_to_f32(const struct tensor *t, float *out, struct err *err);

/* Writes a file atomically (base/file.h), tensors in the order given. The header is padded with
 * blanks, so that the first one begins 8-byte aligned; callers who want all of them aligned put
 * wide types first. Refused is what the reader would refuse, and names or metadata that are not
 * UTF-8. meta: NULL or key, value, key, value, …, NULL. */
int safetensors_write(const char *path, const struct tensor *tensors, size_t n,
                      const char *const *meta, struct err *err);

/* IEEE 754 binary16 and bfloat16, round to nearest even; subnormals, infinities and NaN kept. */
uint16_t f16_from_f32(float x);
float f16_to_f32(uint16_t h);
uint16_t bf16_from_f32(float x);
float bf16_to_f32(uint16_t h);

#endif
