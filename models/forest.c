#include "models/forest.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void forest_done(struct forest *f)
{
    free(f->root);
    free(f->node);
    free(f->leaf);
    *f = (struct forest){0};
}

/* A walk waits for memory at every question: so WALKS trees are walked at a time. */
enum { WALKS = 16 };

struct forest_row forest_row_open(int64_t features)
{
    return (struct forest_row){xcalloc((size_t)features, sizeof(float)),
                               xcalloc((size_t)features / 64 + 1, sizeof(uint64_t))};
}

void forest_row_close(struct forest_row *r)
{
    free(r->x);
    free(r->bit);
    *r = (struct forest_row){0};
}

void forest_row_put(struct forest_row *r, const int32_t *index, const float *value, int32_t n)
{
    for (int32_t k = 0; k < n; k++) {
        r->x[index[k]] = value[k];
        r->bit[index[k] / 64] |= (uint64_t)1 << (index[k] % 64);
    }
}

void forest_row_clear(struct forest_row *r, const int32_t *index, int32_t n)
{
    for (int32_t k = 0; k < n; k++)
        r->bit[index[k] / 64] = 0;
}

static bool goes_right(const struct forest_node *n, const struct forest_row *r)
{
    return (r->bit[n->feature / 64] >> (n->feature % 64) & 1) && r->x[n->feature] > n->threshold;
}

void forest_add(const struct forest *f, const struct forest_row *r, int32_t first, int32_t n,
                double *sum)
{
    for (int32_t from = first; from < first + n; from += WALKS) {
        int32_t at[WALKS], walks = first + n - from < WALKS ? first + n - from : WALKS,
                           open = walks;
        memcpy(at, f->root + from, (size_t)walks * sizeof *at);
        while (open > 0) {
            open = 0;
            for (int32_t k = 0; k < walks; k++) {
                if (at[k] < 0)
                    continue;
                const struct forest_node *node = &f->node[at[k]];
                at[k] = node->child[goes_right(node, r)];
                open++;
            }
        }
        for (int32_t k = 0; k < walks; k++) {
            const float *leaf = f->leaf + (size_t)(-1 - at[k]) * (size_t)f->labels;
            for (int32_t c = 0; c < f->labels; c++)
                sum[c] += (double)leaf[c];
        }
    }
}
