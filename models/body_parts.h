/* Pieces that both bodies (models/encoder.c, models/t5.c) are made of. */
#ifndef MODELS_BODY_PARTS_H
#define MODELS_BODY_PARTS_H

#include "models/body.h"
#include "models/profile.h"
#include "ops/projection.h"

/* A weight as floats, freed by the caller; NULL when the table has none of it. */
float *parts_floats(const struct params *p, enum stack stack, enum param which, int32_t layer);
/* Does an entry of config.json's "int8_keep" name this weight?  With or without prefix and ".weight", or
 * by a part of it that ends at a dot. */
bool parts_keeps(const char *kept, const char *name);
/* The type in which a weight's product runs when `type` is asked for: what keep (an array of strings or NULL:
 * config.json's "int8_keep") names is kept out of int8. */
enum product_type parts_type(const json_t *keep, const char *name, enum product_type type);
/* What "int8" is about: the matrices of the layers and the tables of words and positions. */
bool parts_may_be_bytes(enum param which);
/* Entries of "int8_keep" must be strings, each of them the name of such a weight of this model: the error
 * says which is not. */
int parts_check_keep(const json_t *keep, const struct tensor_set *weights, const struct params *p,
                     struct err *err);
/* "int8", "bf16", "fp32": what a weight is held and multiplied in; "unused" for PARAMS. */
const char *parts_runs_in(enum param which, enum product_type type, const json_t *keep,
                          const char *name);
/* The named matrices [n_i, k] below one another as one projection; their biases likewise (PARAMS:
 * none).  A matrix missing from the table ends the list. */
struct projection *parts_projection(const struct body_source *src, enum product_type type,
                                    enum stack stack, int32_t layer, const enum param *w,
                                    const enum param *b, int n_parts);
void parts_activate(enum activation act, float *y, const float *x, int n);

/* Rows of the vocabulary: floats, or bytes with a step per row. */
struct word_table {
    float *f;
    int8_t *q;
    float *scale; /* [V], with q */
    int32_t v, e;
};
void parts_word_table(struct word_table *t, const struct body_source *src);
void parts_word_row(const struct word_table *t, int32_t id, float *x);
int64_t parts_word_bytes(const struct word_table *t);
void parts_word_done(struct word_table *t);

/* A block of rows on its way through one or two products. */
struct block {
    struct projection_rows a, b; /* inputs of the first and of the second */
    struct projection_rows last; /* what the second read: b's, or sum_a as floats */
    void *sum_a, *sum_b;
    struct profile *profile; /* or NULL */
};
/* For inputs of up to k_a and k_b columns, results of up to n_a and n_b. */
void parts_block_open(struct block *blk, int k_a, int n_a, int k_b, int n_b);
void parts_block_done(struct block *blk);

/* y[row] = x[row] W^T + b for any number n of rows, a block at a time; op is the product, the one
 * behind it its rows. */
void parts_rows(struct projection_lanes *lanes, const struct projection *p, struct block *blk,
                enum profile_op op, const float *x, int ldx, int n, float *y, int ldy);
/* sum_b = act(x inner) outer for m <= BODY_BLOCK rows, the gate (or NULL) multiplied in before outer.
 * Returns what projection_take(outer, …, sum_b) wants to take the rows out.  In sum_b there is room
 * for the gate's results too. */
const struct projection_rows *
parts_feed_forward(struct projection_lanes *lanes, const struct projection *inner,
                   const struct projection *gate, const struct projection *outer,
                   enum activation act, struct block *blk, const float *x, int ldx, int m);

#endif
