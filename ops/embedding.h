/* Rows of an embedding table by id.
 *
 *     forward   x[i] = e[id[i]]          e [V, C], id [n], x [n, C]; x does not overlap e
 *     backward  de[id[i]] += dx[i]       in the order of i
 *
 * In backward ids equal to `skip` get nothing (padding; -1 = none).  Ids are within the table.
 * No allocation, cannot fail. */
#ifndef OPS_EMBEDDING_H
#define OPS_EMBEDDING_H

#include <stdint.h>

void embedding_forward(float *x, const float *e, const int32_t *id, int n, int c);
void embedding_backward(float *de, const float *dx, const int32_t *id, int n, int c, int32_t skip);

#endif
