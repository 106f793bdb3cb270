/* What `fit` shares among the model families: the data, the directory, the console and the log. */
#ifndef TRAINER_FIT_H
#define TRAINER_FIT_H

#include <stdio.h>

#include "base/buf.h"
#include "base/options.h"
#include "base/pool.h"
#include "trainer/corpus.h"
#include "trainer/outdir.h"

struct fit {
    const struct options *o;
    struct corpus corpus;
    struct vocab *vocab;
    struct packed train, dev;
    struct outdir out;
    struct pool *pool;
    FILE *console;
    int64_t start_ns;
};

/* Each trains, and leaves the model's files in place through f->out. Returns 0, -1 with *err, or
 * 128 + a signal's number when it stopped on request after saying how to go on. */
int fit_textcnn(struct fit *f, struct err *err);
int fit_linear(struct fit *f, struct err *err);

/* Replaces the --log file by text, when there is one. */
int fit_write_log(const struct fit *f, const struct buf *text, struct err *err);

const char *fit_model_name(const struct fit *f); /* --model-name, else the family */

#endif
