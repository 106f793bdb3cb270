/* Gradients of training beside PyTorch's in golden files ("grad." and the weight's name). */
#ifndef TESTS_MODELS_GRADIENTS_H
#define TESTS_MODELS_GRADIENTS_H

#include "tests/models/golden.h"

#include "models/trainable.h"

static inline double norm(const float *x, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += (double)x[i] * x[i];
    return sqrt(s);
}

/* ‖Δ‖ / ‖reference‖ of the tensor where it is largest (a reference that is nearly zero counts as a thousandth of the
 * largest). */
static inline double worst_gradient(const struct trainable *t, const float *g,
                                    const struct safetensors *golden, const char **which)
{
    double largest = 0, most = -1;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < t->n; i++) {
            const struct trainable_tensor *x = &t->tensors[i];
            char *name = file_path("grad.%s", x->name);
            const struct tensor *theirs = golden_tensor(golden, name);
            assert_int_equal(theirs->bytes, x->size * sizeof(float));
            double off = 0, whole = norm(theirs->data, x->size);
            for (size_t k = 0; k < x->size; k++) {
                double d = (double)g[x->offset + k] - ((const float *)theirs->data)[k];
                off += d * d;
            }
            off = sqrt(off) / fmax(whole, 1e-3 * largest);
            if (pass == 0)
                largest = fmax(largest, whole);
            else if (!(off <= most)) {
                most = off;
                *which = x->name;
            }
            free(name);
        }
    return most;
}

#endif
