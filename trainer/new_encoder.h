/* A checkpoint directory without weights, for training from nothing: config.json of a size that is usual
 * (Turc et al., arXiv:1908.08962) and vocab.txt of the training titles' characters, as WordPiece wants it. */
#ifndef TRAINER_NEW_ENCODER_H
#define TRAINER_NEW_ENCODER_H

#include "base/err.h"
#include "data/dataset.h"

#define NEW_ENCODER_SIZES "tiny|mini|small|medium|base"
/* arch: bert, ernie, electra, albert or nezha; others have tokenizers that titles alone do not give.  A
 * character seen less than min_count times is [UNK]. */
int new_encoder_write(const char *dir, const char *arch, const char *size,
                      const struct dataset *train, long min_count, struct err *err);

#endif
