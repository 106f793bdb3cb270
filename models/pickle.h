/* Python's pickle format, as far as torch.save() uses it: a closed interpreter.  It builds numbers,
 * strings, tuples, lists, dictionaries and descriptions of tensors; the functions that a pickle may
 * name are the few in enum pickle_global, and none of them runs anything.  Every other opcode or
 * global is an error that names it and its offset.
 * Formats: Lib/pickletools.py of CPython (opcodes); torch/serialization.py (persistent ids).
 *
 * Bounds: PICKLE_MAX_NODES values, as many items in all containers and as many values on the stack;
 * strings of 16 MB.  Nothing recurses, so that depth needs no bound. */
#ifndef MODELS_PICKLE_H
#define MODELS_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "models/tensors.h"

#define PICKLE_MAX_NODES 2000000

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_BIG, /* an integer of more than 8 bytes: its bytes, little-endian, in text */
    PICKLE_REAL,
    PICKLE_STRING,
    PICKLE_TUPLE,
    PICKLE_LIST,
    PICKLE_DICT, /* items: key, value, key, value, … */
    PICKLE_GLOBAL,
    PICKLE_STORAGE, /* text: its key; integer: elements; dtype */
    PICKLE_TENSOR,  /* items: storage, offset, sizes, strides */
    PICKLE_MARK
};

struct pickle_node {
    enum pickle_kind kind;
    enum dtype dtype;
    int64_t integer; /* INT, BOOL, STORAGE; GLOBAL: which */
    double real;
    const char *text; /* STRING, BIG, STORAGE: within the input */
    size_t len;
    uint32_t *items; /* containers: numbers of nodes */
    uint32_t n, cap;
};

struct pickle {
    struct pickle_node *nodes;
    uint32_t n, cap;
    uint32_t root;
};

/* Interprets data[0..len) up to its STOP; *used (NULL allowed) is what was read.  name goes into
 * messages.  Nodes point into data.  pickle_done() after success. */
int pickle_parse(const char *name, const char *data, size_t len, struct pickle *out, size_t *used,
                 struct err *err);
void pickle_done(struct pickle *p); /* safe on a zeroed one */

const struct pickle_node *pickle_at(const struct pickle *p, uint32_t i);
/* The value of a string key, or NULL. */
const struct pickle_node *pickle_get(const struct pickle *p, const struct pickle_node *dict,
                                     const char *key);

#endif
