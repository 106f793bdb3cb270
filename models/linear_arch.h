/* The linear model's row of the architecture table (models/arch.h); its essay is models/linear.h.
 */
#ifndef MODELS_LINEAR_ARCH_H
#define MODELS_LINEAR_ARCH_H

#include "models/arch.h"

extern const struct arch linear_arch;

#endif
