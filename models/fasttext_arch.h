/* The fastText row of the architecture table: a bare .bin or .ftz, or a directory with config.json
 * ("model_type": "fasttext", "words": "characters", "spaces" or "jieba"), labels.txt and model.bin or model.ftz. */
#ifndef MODELS_FASTTEXT_ARCH_H
#define MODELS_FASTTEXT_ARCH_H

#include "models/arch.h"

#define FASTTEXT_BIN "model.bin"
#define FASTTEXT_FTZ "model.ftz"

extern const struct arch fasttext_arch;

#endif
