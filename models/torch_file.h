/* Files that torch.save() wrote: the archive of PyTorch 1.6 and later, and the older layout of five
 * pickles and raw storages.  Nothing in them is run (models/pickle.h).
 *
 * The tensors are those of the state dictionary: the one that a training checkpoint holds under
 * "state_dict", "model_state_dict", "model" or "net", or else the outermost dictionary.  Values that
 * are no tensors are left out and counted.  Storages may be shared; tensors that do not lie in order
 * (transposed ones) are copied.  Storages of floats (32, 64, 16 bits, bfloat16), integers and
 * booleans, little-endian.  Refused by name: quantised weights, whole models, anything that would
 * have to be run; a storage of another length than the pickle says; bytes behind the end.
 * Source: torch/serialization.py, _save and _legacy_save. */
#ifndef MODELS_TORCH_FILE_H
#define MODELS_TORCH_FILE_H

#include <stddef.h>

#include "base/err.h"
#include "models/tensors.h"

/* An open file: mapped, const, shared by threads. */
struct torch_file;
int torch_file_open(const char *path, struct torch_file **out, struct err *err);
/* The same over bytes in memory, which stay the caller's and must outlive the result. */
int torch_file_parse(const char *name, const void *data, size_t len, struct torch_file **out,
                     struct err *err);
void torch_file_close(struct torch_file *f); /* NULL allowed */
const struct tensor_set *torch_file_tensors(const struct torch_file *f);
/* How many values of the state dictionary are no tensors. */
size_t torch_file_skipped(const struct torch_file *f);

#endif
