/* SentencePiece (Kudo and Richardson, arXiv:1808.06226), by its own library: data/sentencepiece.cc is
 * the only file that knows it, and nothing is thrown across this border.  Const after open, shared
 * by threads; the library allocates. */
#ifndef DATA_SENTENCEPIECE_H
#define DATA_SENTENCEPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sentencepiece_model;

/* A file the library cannot read is an error that names it. */
int sentencepiece_open(const char *path, struct sentencepiece_model **out, struct err *err);
void sentencepiece_close(struct sentencepiece_model *sp); /* NULL allowed */
int32_t sentencepiece_size(const struct sentencepiece_model *sp);
/* The id of a piece of the model, -1 when it is none. */
int32_t sentencepiece_id(const struct sentencepiece_model *sp, const char *piece, size_t n);
int32_t sentencepiece_unknown(const struct sentencepiece_model *sp);

/* One piece after the other; id is that of its text, the unknown id where the model lacks it.
 * Stops when put returns false.  text: any bytes. */
typedef bool sentencepiece_put(void *arg, int32_t id, const char *piece, size_t n);
void sentencepiece_encode(const struct sentencepiece_model *sp, const char *text, size_t n,
                          sentencepiece_put *put, void *arg);

#ifdef __cplusplus
}
#endif

#endif
