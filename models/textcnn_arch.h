/* TextCNN's row of the architecture table (models/arch.h); its essay is models/textcnn.h. */
#ifndef MODELS_TEXTCNN_ARCH_H
#define MODELS_TEXTCNN_ARCH_H

#include "models/arch.h"

extern const struct arch textcnn_arch;

#endif
