/* fastText's .ftz of a .bin, as `fasttext quantize` without retraining makes it (Joulin et al., arXiv:1612.03651): rows of
 * small norm are left out, the others' coordinates are coded in pairs, each by the nearest of 256 centroids that
 * k-means finds.  Unlike there the centroids are learnt from the rows of greatest norm: most others were never moved
 * by training, and would take centroids from those that matter. */
#ifndef MODELS_FASTTEXT_QUANTIZE_H
#define MODELS_FASTTEXT_QUANTIZE_H

#include "base/pool.h"
#include "models/fasttext_file.h"

struct fasttext_shrink {
    int32_t cutoff; /* rows that stay, those of greatest norm; 0: all */
    bool norms;     /* coded apart, which is a byte a row more */
    uint64_t seed;
};

/* from: an unquantised file of the loss softmax, hs or one-vs-all.  The result does not depend on the number of threads. */
int fasttext_quantize(const char *from, const char *to, const struct fasttext_shrink *how,
                      struct pool *pool, struct err *err);

#endif
