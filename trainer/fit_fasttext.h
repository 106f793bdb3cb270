/* What `fit --arch fasttext` and `tune` share. */
#ifndef TRAINER_FIT_FASTTEXT_H
#define TRAINER_FIT_FASTTEXT_H

#include "base/options.h"
#include "data/fasttext_dict.h"

struct fasttext_args fit_fasttext_args(const struct options *o);

#endif
