#include "models/textcnn.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "models/textcnn_parts.h"
#include "ops/convpool.h"

struct textcnn_config textcnn_config_default(int32_t vocab_size, int32_t n_labels)
{
    return (struct textcnn_config){.vocab_size = vocab_size,
                                   .embedding_size = 300,
                                   .n_filters = 512,
                                   .n_widths = 3,
                                   .widths = {2, 3, 4},
                                   .n_labels = n_labels,
                                   .max_tokens = 64,
                                   .dropout = 0.5f};
}

struct convpool textcnn_shape(const struct textcnn_config *cfg)
{
    struct convpool s = {.n_filters = cfg->n_filters, .n_widths = cfg->n_widths};
    for (int i = 0; i < cfg->n_widths; i++) {
        s.widths[i] = cfg->widths[i];
        s.stride += cfg->widths[i] * cfg->n_filters;
    }
    return s;
}

static struct textcnn_param *add(struct textcnn_param *p, const struct textcnn_param *last,
                                 bool decay, int n_dims, int64_t d0, int64_t d1, int64_t d2)
{
    p->n_dims = n_dims;
    p->dims[0] = d0;
    p->dims[1] = d1;
    p->dims[2] = d2;
    p->size = (size_t)d0 * (size_t)(n_dims > 1 ? d1 : 1) * (size_t)(n_dims > 2 ? d2 : 1);
    p->offset = last ? last->offset + last->size : 0;
    p->decay = decay;
    return p;
}

/* All convolutions stand one after another, then all their biases: together they are the matrix
 * Wall and its bias vector. */
int textcnn_params(const struct textcnn_config *cfg, struct textcnn_param p[TEXTCNN_MAX_PARAMS])
{
    int n = 0;
    int64_t f = cfg->n_filters, e = cfg->embedding_size, h = f * cfg->n_widths;
    (void)snprintf(add(&p[n], NULL, false, 2, cfg->vocab_size, e, 0)->name, sizeof p->name,
                   "embedding.weight");
    for (int i = 0; i < cfg->n_widths; i++) {
        n++;
        (void)snprintf(add(&p[n], &p[n - 1], true, 3, f, e, cfg->widths[i])->name, sizeof p->name,
                       "convs.%d.weight", i);
    }
    for (int i = 0; i < cfg->n_widths; i++) {
        n++;
        (void)snprintf(add(&p[n], &p[n - 1], false, 1, f, 0, 0)->name, sizeof p->name,
                       "convs.%d.bias", i);
    }
    n++;
    (void)snprintf(add(&p[n], &p[n - 1], true, 2, cfg->n_labels, h, 0)->name, sizeof p->name,
                   "classifier.weight");
    n++;
    (void)snprintf(add(&p[n], &p[n - 1], false, 1, cfg->n_labels, 0, 0)->name, sizeof p->name,
                   "classifier.bias");
    return n + 1;
}

struct textcnn_parts textcnn_parts(const struct textcnn_config *cfg)
{
    struct textcnn_param p[TEXTCNN_MAX_PARAMS];
    int n = textcnn_params(cfg, p);
    return (struct textcnn_parts){.wall = p[1].offset,
                                  .conv_bias = p[1 + cfg->n_widths].offset,
                                  .classifier = p[n - 2].offset,
                                  .classifier_bias = p[n - 1].offset,
                                  .size = p[n - 1].offset + p[n - 1].size};
}

size_t textcnn_size(const struct textcnn_config *cfg)
{
    return textcnn_parts(cfg).size;
}

/* The fan in of the layer a tensor belongs to; a bias shares its weight's. */
static double fan_in(const struct textcnn_config *cfg, int i, int n)
{
    if (i >= n - 2)
        return (double)cfg->n_filters * cfg->n_widths;
    return (double)cfg->embedding_size * cfg->widths[(i - 1) % cfg->n_widths];
}

void textcnn_init(const struct textcnn_config *cfg, uint64_t seed, float embedding_std, float *w)
{
    struct textcnn_param p[TEXTCNN_MAX_PARAMS];
    int n = textcnn_params(cfg, p);
    for (int i = 0; i < n; i++) {
        double bound = i ? 1.0 / sqrt(fan_in(cfg, i, n)) : 0.0;
        for (size_t k = 0; k < p[i].size; k++) {
            uint64_t stream = (uint64_t)0x1217 << 48 | (uint64_t)i;
            double x = i ? bound * (2.0 * rng_uniform(seed, stream, k) - 1.0)
                         : (double)embedding_std * rng_normal(seed, stream, k);
            w[p[i].offset + k] = (float)x;
        }
    }
    memset(w + (size_t)VOCAB_PAD * (size_t)cfg->embedding_size, 0,
           (size_t)cfg->embedding_size * sizeof *w);
}
