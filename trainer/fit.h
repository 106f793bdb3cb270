/* What `fit` shares among the model families: the data, the directory, the console and the log. */
#ifndef TRAINER_FIT_H
#define TRAINER_FIT_H

#include <stdio.h>

#include "base/buf.h"
#include "base/options.h"
#include "base/pool.h"
#include "data/words.h"
#include "models/tensors.h"
#include "trainer/corpus.h"
#include "trainer/new_encoder.h"
#include "trainer/outdir.h"

#define FIT_TRANSFORMERS "bert|ernie|electra|albert|nezha|xlnet|t5|mt5"
#define FIT_ARCHS "textcnn|linear|forest|fasttext|" FIT_TRANSFORMERS

struct fit {
    const struct options *o;
    struct corpus corpus;
    struct vocab *vocab; /* NULL: a transformer's tokenizer is its own */
    struct packed train, dev;
    const struct teacher *teacher; /* NULL: labels alone */
    char from[SHA256_HEX]; /* of configuration and weights that training began with; "": none */
    struct outdir out;
    bool resume;     /* go on from a checkpoint, or leave a finished model */
    bool can_resume; /* the command has --resume */
    struct pool *pool;
    FILE *console;
    int64_t start_ns;
};

/* What an option of a fit is to its result; the list is fit_options.inc. */
enum fit_role {
    FIT_ASIDE,   /* nothing, or said otherwise (arch, the data's digest) */
    FIT_LINEAGE, /* told in lineage.json */
    FIT_COURSE   /* that, and a fit cannot be resumed with another value */
};
struct fit_option {
    /* "": all families; else words: names of families, "transformer", "steps" for TextCNN and transformers */
    const char *name, *family;
    enum fit_role role;
};
extern const struct fit_option fit_options[];
extern const size_t fit_n_options;
bool fit_is_transformer(const char *arch);
bool fit_option_applies(const struct fit_option *row, const char *family);

/* Makes a model in the directory out, and measures it on dev and test. o, corpus, console and
 * start_ns are set (o: a table with the rows of fit_options.inc); corpus stays the caller's, the
 * rest is released. Returns as the families below do. */
int fit_run(struct fit *f, const char *out, enum outdir_mode mode, struct err *err);

/* Each trains, and leaves the model's files in place through f->out. Returns 0, -1 with *err, or
 * 128 + a signal's number when it stopped on request after saying how to go on. */
int fit_textcnn(struct fit *f, struct err *err);
int fit_linear(struct fit *f, struct err *err);
int fit_forest(struct fit *f, struct err *err);
int fit_fasttext(struct fit *f, struct err *err);
int fit_transformer(struct fit *f, struct err *err);

/* Puts the preset's values in the place of defaults: --preset's, else the family's own.  Called when all
 * options are read. */
int fit_preset(struct options *o, struct err *err);

/* Replaces the --log-json file by text, when there is one. */
int fit_write_log(const struct fit *f, const struct buf *text, struct err *err);

const char *fit_model_name(const struct fit *f);        /* --model-name, else the family */
enum dtype fit_dtype(const struct options *o);          /* --dtype */
struct corpus_rules fit_rules(const struct options *o); /* --skip-bad; fastText's --words spaces */

#endif
