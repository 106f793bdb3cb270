/* The weights of a model directory, whatever file holds them.  Looked for in this order; the first
 * that is there is it:
 *     model.safetensors
 *     model.safetensors.index.json   shards: "weight_map" says which file holds which tensor
 *     pytorch_model.bin              (models/torch_file.h)
 *     pytorch_model.bin.index.json
 *     the one other file that ends in .bin or .pt: a state dictionary saved by hand
 *                                    (what a trainer leaves beside it is passed over: optimizer.pt,
 *                                    scheduler.pt, training_args.bin and their like)
 * A shard's name is a plain file name in the directory.  Tensors of an index are those that it maps;
 * one that its shard lacks, or that another shard has too, is refused by name.
 * Example of a bad one: {"weight_map": {"w": "../x.bin"}}: "w" is in "../x.bin", which names no file
 * beside the index. */
#ifndef MODELS_CHECKPOINT_H
#define MODELS_CHECKPOINT_H

#include <stdbool.h>

#include "base/err.h"
#include "base/sha256.h"
#include "models/tensors.h"

/* May a file of this name hold weights, by itself or as a shard? */
bool checkpoint_is_weights(const char *name);

struct checkpoint; /* const after open, shared by threads */
int checkpoint_open(const char *dir, struct checkpoint **out, struct err *err);
void checkpoint_close(struct checkpoint *ck); /* NULL allowed */
const struct tensor_set *checkpoint_tensors(const struct checkpoint *ck);
/* Values of state dictionaries that are no tensors: left out, but somebody may miss them. */
size_t checkpoint_skipped(const struct checkpoint *ck);
/* Of the file's bytes; of shards, of their digests in hexadecimal, in the order of their names. */
const char *checkpoint_sha256(const struct checkpoint *ck);

#endif
