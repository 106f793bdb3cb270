/* fastText's own files: .bin, and .ftz where `fasttext quantize` has made product-quantised matrices of them (Joulin
 * et al., arXiv:1612.03651).  Numbers are little-endian, one behind the other:
 *
 *   int32   magic 793712314, version 11 or 12
 *   int32   dim ws epoch minCount neg wordNgrams loss model bucket minn maxn lrUpdateRate, double t
 *   int32   entries, words, labels; int64 tokens, pruned (-1: not)
 *   entry   name, NUL, int64 count, int8 0 word 1 label
 *   prune   pairs of int32
 *   int8    is the input quantised; input; int8 is the output too; output
 *   matrix  int64 rows, columns, floats; quantised: int8 are norms apart, int64 rows, columns, int32 size, codes,
 *           quantiser, and with norms apart their codes and quantiser
 *   quantiser  int32 dim, parts, part, last part; float centroids[256 dim]
 *
 * A file is refused by name and what was found: another magic or version, one that ends too soon or goes on,
 * sizes that do not fit together, models that do not classify (cbow, skipgram). */
#ifndef MODELS_FASTTEXT_FILE_H
#define MODELS_FASTTEXT_FILE_H

#include "base/file.h"
#include "data/fasttext_dict.h"

struct fasttext_quantizer {
    int32_t dim, parts, part, last_part;
    const unsigned char *centroids; /* floats */
};

struct fasttext_matrix {
    int64_t rows, columns;
    const unsigned char *data;               /* floats; NULL: quantised */
    const unsigned char *codes, *norm_codes; /* norm_codes NULL: norms are in the codes */
    struct fasttext_quantizer pq, norms;
};

struct fasttext_file {
    struct file_map map; /* the matrices lie in it */
    struct fasttext_dict dict;
    struct fasttext_matrix input, output;
};

bool fasttext_file_is(const char *path); /* by its first bytes */
int fasttext_file_open(const char *path, struct fasttext_file *f, struct err *err);
void fasttext_file_close(struct fasttext_file *f); /* safe on a zeroed one */
/* Row i as floats [columns]. */
void fasttext_matrix_row(const struct fasttext_matrix *m, int64_t i, float *out);

/* x [rows, columns] as a matrix; it stays the caller's. */
struct fasttext_matrix fasttext_matrix_of(const float *x, int64_t rows, int64_t columns);
/* Writes a file atomically, a .bin, or a .ftz where the input is quantised: input [rows of the dictionary, dim],
 * output [labels, dim]. */
int fasttext_file_write(const char *path, const struct fasttext_dict *d,
                        const struct fasttext_matrix *input, const struct fasttext_matrix *output,
                        struct err *err);

#endif
