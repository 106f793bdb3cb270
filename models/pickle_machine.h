/* The interpreter's inside: shared by models/pickle.c, which has its memory, and models/pickle_ops.c,
 * which has its opcodes.  Everything that returns int is 0 or -1 with the error set. */
#ifndef MODELS_PICKLE_MACHINE_H
#define MODELS_PICKLE_MACHINE_H

#include "models/pickle.h"

struct pickle_machine {
    const char *name, *data;
    size_t len, at, op; /* op: where the running opcode stands */
    struct pickle p;
    uint32_t *stack, depth, stack_cap; /* numbers of nodes */
    uint32_t *memo, memo_cap;          /* node + 1; 0: empty */
    uint32_t n_items;                  /* in all containers */
    struct err *err;
};

/* The error "NAME: pickle, byte OP: what". Returns -1. */
int pickle_fault(struct pickle_machine *m, const char *what);
/* The next n bytes of the input. */
int pickle_take(struct pickle_machine *m, size_t n, const char **out);
int pickle_take_number(struct pickle_machine *m, size_t n,
                       uint64_t *out); /* n <= 8, little-endian */

/* A new node on the stack, valid until the next one is made; NULL with the error set. */
struct pickle_node *pickle_push(struct pickle_machine *m, enum pickle_kind kind);
int pickle_push_again(struct pickle_machine *m, uint32_t node);
int pickle_pop(struct pickle_machine *m, uint32_t *node); /* marks are no values */
struct pickle_node *pickle_top(struct pickle_machine *m); /* NULL when the stack is empty */
/* Takes the last mark off; the n items above it stay in place from `from` on. */
int pickle_to_mark(struct pickle_machine *m, uint32_t *from, uint32_t *n);
int pickle_append(struct pickle_machine *m, struct pickle_node *container, uint32_t item);
int pickle_memoize(struct pickle_machine *m, uint64_t at);
int pickle_recall(struct pickle_machine *m, uint64_t at);

/* Runs one opcode, not STOP. */
int pickle_step(struct pickle_machine *m, unsigned char op);

#endif
