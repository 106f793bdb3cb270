/* Transformers as rows of the architecture table (models/arch.h): one struct arch for each
 * model_type, all served by models/transformer.c. */
#ifndef MODELS_TRANSFORMER_H
#define MODELS_TRANSFORMER_H

#include "models/arch.h"
#include "models/trace.h"
#include "ops/product.h"

/* The products' type for *p, which becomes what runs: AUTO settled (INT8 where config.json says that the
 * weights are: models/quantize.h; config may be NULL), and FP32 for what this processor or a transformer lacks. */
enum product_type transformer_product_type(enum precision *p, const json_t *config);

extern const struct arch bert_arch, ernie_arch, electra_arch, albert_arch, nezha_arch, xlnet_arch,
    t5_arch, mt5_arch;

#endif
