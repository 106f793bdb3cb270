/* The random forest's row of the architecture table. */
#ifndef MODELS_FOREST_ARCH_H
#define MODELS_FOREST_ARCH_H

#include "models/arch.h"

extern const struct arch forest_arch;

#endif
