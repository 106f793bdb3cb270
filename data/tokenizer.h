/* One face for all tokenizers: a title becomes ids, special tokens included, id for id as the
 * family's own slow tokenizer in Hugging Face transformers 4.40 gives them.
 *
 *     TOKENIZER_CHARACTERS   vocab.txt, a character a line (data/vocab.h)
 *     TOKENIZER_BERT         vocab.txt: WordPiece, [CLS] x [SEP] (data/wordpiece.h); a directory
 *                            with spiece.model only (ALBERT's English ones): SentencePiece
 *     TOKENIZER_XLNET        spiece.model: SentencePiece, x <sep> <cls>
 *     TOKENIZER_T5           spiece.model: SentencePiece, x </s>, behind its pieces <extra_id_n>
 *
 * tokenizer_config.json's do_lower_case, strip_accents, tokenize_chinese_chars, keep_accents and
 * remove_space are heeded where it is there, and T5's extra_ids (100 where it is not given; mT5's
 * files say 0).  XLNet's and ALBERT's text is first squeezed, its quotes
 * made plain, decomposed by compatibility and rid of combining characters; their pieces that end
 * in a digit and a comma are split before it.  Const after open, shared by threads. */
#ifndef DATA_TOKENIZER_H
#define DATA_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum tokenizer_kind { TOKENIZER_CHARACTERS, TOKENIZER_BERT, TOKENIZER_XLNET, TOKENIZER_T5 };

struct tokenizer;

/* Files that are missing or broken are refused by name. */
int tokenizer_open(const char *dir, enum tokenizer_kind kind, struct tokenizer **out,
                   struct err *err);
void tokenizer_close(struct tokenizer *t); /* NULL allowed */
/* Ids are below it. */
int32_t tokenizer_size(const struct tokenizer *t);

/* NULL: it does not read by WordPiece.  The tokenizer's. */
struct wordpiece;
const struct wordpiece *tokenizer_wordpiece(const struct tokenizer *t);

/* Writes at most max (>= 2) ids and returns how many, at least 1; *cut (NULL allowed): ids were left
 * out.  title is valid UTF-8 (title_check); other bytes make ids without meaning. */
int32_t tokenizer_encode(const struct tokenizer *t, const char *title, size_t n, int32_t *ids,
                         int32_t max, bool *cut);

#endif
