/* The tensors of a state dictionary, from its pickle and the storages beside it: the part that both
 * layouts of torch.save() share (models/torch_file.h). */
#ifndef MODELS_TORCH_TENSORS_H
#define MODELS_TORCH_TENSORS_H

#include <stddef.h>

#include "base/err.h"
#include "models/pickle.h"
#include "models/tensors.h"

/* A storage: raw elements that any number of tensors look at. */
struct torch_storage {
    const char *key; /* key_len bytes, no NUL behind them */
    size_t key_len;
    const char *data;
    size_t len;
};

/* The order of keys in a sorted list of storages: by bytes, the shorter first. */
int torch_storage_order(const void *a, const void *b);

struct torch_tensors {
    struct tensor *list; /* [n] */
    size_t n;
    size_t skipped; /* values of the dictionary that are no tensors, or have no name */
    char **names;   /* [n] */
    void **copies;  /* [n], of tensors that do not lie in order; else NULL */
    size_t copied;  /* bytes */
};

/* Copies may take so many times the file's bytes in all: transposed weights that share a storage are
 * few in good files, and without number in bad ones. */
#define TORCH_MAX_COPIES 4

/* file and file_len: its name, for messages, and its bytes.  storages are sorted; the tensors point
 * into them.  torch_tensors_done() afterwards, also after an error. */
int torch_tensors_read(const char *file, size_t file_len, const struct pickle *p,
                       const struct torch_storage *storages, size_t n_storages,
                       struct torch_tensors *out, struct err *err);
void torch_tensors_done(struct torch_tensors *t); /* safe on a zeroed one */

#endif
