/* The directory a fit writes to: one trainer at a time, a model there is not overwritten by
 * accident, and its files change together. The model's files are first written in full beside it
 * (OUT/.staging), where a full disk is found out, and then renamed into place, the weights last; a
 * reader of the directory never sees weights with another model's vocabulary. */
#ifndef TRAINER_OUTDIR_H
#define TRAINER_OUTDIR_H

#include <stdbool.h>

#include "base/err.h"
#include "base/options.h"

enum outdir_mode { OUTDIR_NEW, OUTDIR_OVERWRITE, OUTDIR_RESUME };
/* By --resume and --overwrite, which exclude each other. */
int outdir_mode(const struct options *o, enum outdir_mode *mode, struct err *err);

#define REPORT_HTML_FILE "report.html" /* retrain's, beside the model */

struct outdir {
    char *path, *staging, *checkpoint;      /* owned */
    int lock;                               /* descriptor of OUT/.lock */
    bool locked, has_model, has_checkpoint; /* as found */
};

/* Refuses OUTDIR_NEW on a directory that holds a model or a checkpoint. Changes nothing; called
 * before the data is read. */
int outdir_check(const char *path, enum outdir_mode mode, struct err *err);
/* Makes the directory when missing, locks it (a second trainer is refused), checks again.
 * OUTDIR_OVERWRITE removes an old checkpoint, and leaves the old model until outdir_commit. */
int outdir_open(struct outdir *o, const char *path, enum outdir_mode mode, struct err *err);
void outdir_close(struct outdir *o); /* safe on a zeroed one */

/* Moves what was saved into o->staging into place. */
int outdir_commit(struct outdir *o, struct err *err);
/* Removes the checkpoint of a fit that is complete. */
int outdir_complete(struct outdir *o, struct err *err);

/* Gives to, a directory made new, what fits write into from: the model and what is told of it, as far as
 * it is there. What else lies in from is somebody else's. */
int outdir_export(const char *from, const char *to, struct err *err);

#endif
