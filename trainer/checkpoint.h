/* trainer.safetensors: all that a training run needs to go on as if it had never stopped. Weights,
 * AdamW's moments, the moving average and the best weights are F32 tensors of one dimension; the
 * log's text is a U8 tensor; numbers stand in __metadata__, real ones in hexadecimal so that no bit
 * is lost. Written by atomic replacement. */
#ifndef TRAINER_CHECKPOINT_H
#define TRAINER_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct checkpoint {
    size_t size;             /* floats in each block */
    float *w, *m, *v, *best; /* blocks of the caller */
    float *ema;              /* NULL: no moving average */
    int64_t iteration;       /* steps done */
    int64_t best_iteration,
        improved; /* of the kept weights; of the last better dev loss or accuracy (0: none yet) */
    double best_loss, best_accuracy; /* least dev loss and greatest dev accuracy so far */
    double loss_sum;                 /* since the last evaluation: losses of titles */
    int64_t seen;                    /* those titles */
    int64_t labelled, correct; /* those of them that have a label; with the label as best class */
    double seconds;            /* of work so far */
    bool publish;   /* write the model's files at every best evaluation, not at the end alone */
    struct buf log; /* the text of --log-json so far */
};

/* settings: "key = value" lines of everything that the result depends on. */
int checkpoint_write(const char *path, const struct checkpoint *c, const char *settings,
                     struct err *err);
/* Fills *c, whose size and blocks are set and whose log is initialised. Refused: another size, and
 * settings that differ, with the first differing line named. */
int checkpoint_read(const char *path, struct checkpoint *c, const char *settings, struct err *err);

#endif
