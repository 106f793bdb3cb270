/* Where TextCNN's embedding may begin: the word table of a pre-trained encoder, whose rows stand for the same
 * characters. */
#ifndef TRAINER_EMBEDDING_SOURCE_H
#define TRAINER_EMBEDDING_SOURCE_H

#include "base/err.h"
#include "base/sha256.h"
#include "data/vocab.h"

struct embedding_source {
    int32_t size;  /* of a row */
    int32_t found; /* characters of the vocabulary that the encoder knows */
    float *rows;   /* [vocabulary][size], with a standard deviation of 1 over all that are known */
    bool *known;   /* [vocabulary] */
    char sha256[SHA256_HEX]; /* of the encoder's weights */
};

/* dir: a transformer that reads characters (BERT's kind of tokenizer). */
int embedding_source_read(struct embedding_source *e, const char *dir, const struct vocab *v,
                          struct err *err);
void embedding_source_done(struct embedding_source *e); /* safe on a zeroed one */

#endif
