/* What a pickle may name, and what to say about everything else (models/pickle.h).  Part of the
 * interpreter: used by models/pickle*.c only. */
#ifndef MODELS_PICKLE_NAMES_H
#define MODELS_PICKLE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "models/tensors.h"

/* The functions and types that torch.save() needs for a state dictionary.  None of them runs: each
 * stands for what the interpreter builds in its place. */
enum pickle_global {
    PICKLE_G_ORDERED_DICT,
    PICKLE_G_TENSOR, /* _rebuild_tensor_v2 and its forerunner */
    PICKLE_G_PARAMETER,
    PICKLE_G_STORAGE /* of one dtype */
};

/* Looks up "module name", a blank between, len bytes; false: not allowed. */
bool pickle_global_find(const char *name, size_t len, enum pickle_global *what, enum dtype *dtype);
/* What its user can do about a global that is not allowed, as the tail of a message; "" for most. */
const char *pickle_global_advice(const char *name);

/* "STACK_GLOBAL"; "unknown" for bytes that are no opcode. */
const char *pickle_opcode_name(unsigned char op);

#endif
