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
#include "models/tensors.h"

/* An open file: mapped, const, shared by threads. */
struct safetensors;
int safetensors_open(const char *path, struct safetensors **out, struct err *err);
/* The same over bytes in memory, which stay the caller's and must outlive the result. name goes
 * into messages. */
int safetensors_parse(const char *name, const void *data, size_t len, struct safetensors **out,
                      struct err *err);
void safetensors_close(struct safetensors *st); /* NULL allowed */
/* In the order of their data; the set and what it names live as long as the file is open. */
const struct tensor_set *safetensors_tensors(const struct safetensors *st);
/* From __metadata__; NULL when absent. */
const char *safetensors_meta(const struct safetensors *st, const char *key);

/* Writes a file atomically (base/file.h), tensors in the order given. The header is padded with
 * blanks, so that the first one begins 8-byte aligned; callers who want all of them aligned put
 * wide types first. Refused is what the reader would refuse, and names or metadata that are not
 * UTF-8. meta: NULL or key, value, key, value, …, NULL. */
int safetensors_write(const char *path, const struct tensor *tensors, size_t n,
                      const char *const *meta, struct err *err);

#endif
