/* Models made of models, rows of the architecture table.  Their directory holds config.json and a subdirectory for each
 * part, which is a model's directory by itself; all parts have the same labels in the same order.
 *
 *   "model_type": "ensemble", "members": [{"dir": "linear", "weight": 0.7}, …]
 *       p = softmax(sum of weight · ln p of the member): a weighted geometric mean
 *   "model_type": "cascade", "stages": [{"dir": "linear", "threshold": 0.95}, …, {"dir": "bert"}]
 *       a title is answered by the first stage whose greatest probability reaches its threshold, else by
 *       the last
 *
 * A part may have "precision" as the worker's option has it.  A title's ids are those of every part, one part
 * behind the other, each behind their number. */
#ifndef MODELS_COMPOSITE_H
#define MODELS_COMPOSITE_H

#include "models/arch.h"

enum { COMPOSITE_MAX = MODEL_MAX_STAGES /* parts */ };
extern const struct arch ensemble_arch, cascade_arch;

/* How many titles each stage of a cascade has answered since it was opened; the number of stages, 0 for other
 * models.  names[i] is the stage's "dir", the model's.  Any thread may ask. */
int cascade_answered(const void *impl, const char *names[COMPOSITE_MAX],
                     int64_t answered[COMPOSITE_MAX]);

#endif
