/* SentencePiece as the slow tokenizers of XLNet, T5 and the English ALBERT use it: special tokens
 * written in the text are themselves, the text is cleaned, numbers are split before their commas,
 * closing tokens are added.  Id for id as Hugging Face transformers 4.40. */
#ifndef DATA_PIECES_H
#define DATA_PIECES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum pieces_kind { PIECES_ALBERT, PIECES_XLNET, PIECES_T5 };
struct pieces_options {
    enum pieces_kind kind;
    bool lower_case, keep_accents, remove_space; /* of tokenizer_config.json */
    int32_t extra_ids; /* <extra_id_n> behind the pieces, n counted down to the last id; T5's */
};

struct pieces;

/* A file that cannot be read or lacks a special token is an error that names it. */
int pieces_open(const char *path, const struct pieces_options *opt, struct pieces **out,
                struct err *err);
void pieces_close(struct pieces *p); /* NULL allowed */
/* Ids are below it. */
int32_t pieces_size(const struct pieces *p);
/* As tokenizer_encode(). */
int32_t pieces_encode(const struct pieces *p, const char *title, size_t n, int32_t *ids,
                      int32_t max, bool *cut);

#endif
