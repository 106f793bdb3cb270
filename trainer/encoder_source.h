/* What a transformer's training begins with: a checkpoint's configuration, tokenizer and weights (--from), its
 * configuration and tokenizer alone (--init random), or a new encoder of a usual size (--size). */
#ifndef TRAINER_ENCODER_SOURCE_H
#define TRAINER_ENCODER_SOURCE_H

#include <stdio.h>

#include "base/json.h"
#include "base/options.h"
#include "base/sha256.h"
#include "data/dataset.h"
#include "data/tokenizer.h"
#include "models/trainable.h"

struct encoder_source {
    const char *dir; /* of the checkpoint */
    char *made;      /* a directory of our own, or NULL */
    json_t *config;
    struct tokenizer *tokenizer;
    struct trainable *t;
    float *w;                /* [t->size]; whoever takes it over sets it NULL */
    char digest[SHA256_HEX]; /* over configuration and weights: a run cannot go on from others */
};

/* --size without --from asks for a new encoder: --init is random where nobody says otherwise. */
int encoder_source_prepare(struct options *o, struct err *err);
/* o: arch, from, init, size, seed, min-count, max-length.  out: where a new encoder's directory is made;
 * text: whose characters it knows.  classes NULL: a masked-language model, else a classifier of them.
 * Says on console what it has.  After a failure close it too. */
int encoder_source_open(struct encoder_source *s, const struct options *o, const char *out,
                        const struct dataset *text, const struct classes *classes, FILE *console,
                        struct err *err);
void encoder_source_close(struct encoder_source *s); /* safe on a zeroed one */

#endif
