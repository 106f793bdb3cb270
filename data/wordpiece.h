/* BERT's tokenizer: WordPiece after basic tokenization (Wu et al., arXiv:1609.08144; Devlin et al.,
 * arXiv:1810.04805), id for id what Hugging Face transformers' BertTokenizer (the one in Python,
 * 4.40) gives:
 *
 *   1. "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]" written in the text are those tokens.
 *   2. Full lower case, character by character (do_lower_case; so no final sigma).
 *   3. Controls (any category C, U+FFFD) go; white space separates; ideographs stand alone.
 *   4. Canonical composition; with do_lower_case decomposition, and category Mn goes
 *      (strip_accents says otherwise where it is given).
 *   5. Punctuation stands alone: category P, and all signs of ASCII.
 *   6. Words become the longest pieces of the vocabulary from the left, those inside a word written
 *      "##x"; a word that cannot, or has more than 100 characters, is one [UNK].
 *   7. [CLS] pieces [SEP], cut to max pieces in all.
 *
 * Characters are judged by utf8proc's Unicode version, the reference's by Python's (14 in Debian 12);
 * characters that Unicode got in between are words to the newer one and nothing to the older.
 * A struct wordpiece is const after open and shared by threads. */
#ifndef DATA_WORDPIECE_H
#define DATA_WORDPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct wordpiece_options {
    bool lower_case;       /* do_lower_case */
    bool strip_accents;    /* where not given: do_lower_case */
    bool split_ideographs; /* tokenize_chinese_chars */
};

struct wordpiece;

/* vocab.txt: a piece a line, the line number is its id (the last one of equal lines).  Refused, by
 * file: no [UNK], [CLS] or [SEP]; over 2^24 lines. */
int wordpiece_open(const char *path, const struct wordpiece_options *opt, struct wordpiece **out,
                   struct err *err);
void wordpiece_close(struct wordpiece *w); /* NULL allowed */
int32_t wordpiece_size(const struct wordpiece *w);
/* The id of a piece as vocab.txt has it, -1 when absent. */
int32_t wordpiece_id(const struct wordpiece *w, const char *piece);

/* role[wordpiece_size()]: what a piece is where it stands in a text. */
enum wordpiece_role { PIECE_BEGINS, PIECE_CONTINUES, PIECE_SPECIAL };
void wordpiece_roles(const struct wordpiece *w, uint8_t *role);

/* Writes at most max (>= 2) ids, special ones included, and returns how many; *cut (NULL allowed):
 * pieces were left out.  text is valid UTF-8 (title_check); with other bytes the ids mean nothing,
 * but nothing outside text[0..n) is read.  No allocation, but for text with marks that change places
 * or compose. */
int32_t wordpiece_encode(const struct wordpiece *w, const char *text, size_t n, int32_t *ids,
                         int32_t max, bool *cut);

#endif
