#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "trainer/fit_loop.h"

void fit_judge(const struct fit *f, fit_logits *logits, void *self, int32_t chunk, double *loss,
               double *accuracy)
{
    const struct batch *dev = &f->dev.batch;
    int32_t labels = f->corpus.classes.n;
    int64_t right = 0;
    double sum = 0;
    float *out = xmalloc((size_t)chunk * (size_t)labels * sizeof *out);
    int32_t *start = xmalloc(((size_t)chunk + 1) * sizeof *start);
    for (int32_t first = 0; first < dev->n; first += chunk) {
        int32_t n = dev->n - first < chunk ? dev->n - first : chunk;
        for (int32_t i = 0; i <= n; i++)
            start[i] = dev->start[first + i] - dev->start[first];
        struct batch b = {.ids = dev->ids + dev->start[first], .start = start, .n = n};
        logits(self, &b, out);
        for (int32_t i = 0; i < n; i++) {
            const float *row = out + (size_t)i * (size_t)labels;
            int32_t best = 0, label = dev->labels[first + i];
            double total = 0;
            for (int32_t c = 1; c < labels; c++)
                best = row[c] > row[best] ? c : best;
            for (int32_t c = 0; c < labels; c++)
                total += exp((double)row[c] - (double)row[best]);
            sum += log(total) - ((double)row[label] - (double)row[best]);
            right += best == label;
        }
    }
    *loss = sum / dev->n;
    *accuracy = (double)right / dev->n;
    free(out);
    free(start);
}
