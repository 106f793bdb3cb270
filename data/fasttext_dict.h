/* fastText's dictionary and what it makes of a line (Joulin et al., arXiv:1607.01759; Bojanowski et al.,
 * arXiv:1607.04606): words, their character n-grams ("subwords") and word n-grams as numbers of rows of the
 * input matrix, number for number as the fasttext program 0.9.2 has them.
 *
 *   - A token is a word, or a label where it begins with "__label__"; a line ends in the word "</s>".
 *   - hash: FNV-1a over signed bytes, 32 bits.
 *   - A known word gives its own row and those of its subwords, an unknown one its subwords' alone: with "<"
 *     and ">" around it every n-gram of minn to maxn characters but a bare "<" or ">"; row n_words +
 *     hash % bucket.  maxn 0: no subwords.
 *   - Word n-grams of up to word_ngrams words: h = h * 116049371 + hash of the next word (64 bits, hashes
 *     sign-extended), row n_words + h % bucket.
 *   - A pruned dictionary (.ftz) keeps some of those rows and renumbers them; the others are nothing.
 *
 * A struct fasttext_dict is const once it is made, and shared by threads. */
#ifndef DATA_FASTTEXT_DICT_H
#define DATA_FASTTEXT_DICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "data/words.h"

enum fasttext_loss { FASTTEXT_HS = 1, FASTTEXT_NS, FASTTEXT_SOFTMAX, FASTTEXT_OVA };
enum { FASTTEXT_SUPERVISED = 3 };

/* As the file has them, in its order. */
struct fasttext_args {
    int32_t dim, ws, epoch, min_count, neg, word_ngrams, loss, model, bucket, minn, maxn,
        lr_update_rate;
    double t;
};

struct fasttext_entry {
    size_t name; /* in text, ended by NUL */
    uint32_t len, hash;
    bool is_label;
    int64_t count;
};

struct fasttext_prune { /* one slot of a table; id -1: free */
    int32_t id, row;
};

struct fasttext_dict {
    struct fasttext_args args;
    char *text; /* all names */
    size_t text_len, text_room;
    struct fasttext_entry *entries; /* words, then labels */
    int32_t n, n_words, n_labels, room;
    int64_t n_tokens;
    int32_t *slot; /* by hash; -1: free */
    uint32_t mask;
    int64_t n_pruned; /* rows kept of the hashed ones; -1: all of them */
    struct fasttext_prune *prune;
    uint32_t prune_mask;
    size_t *sub_start; /* [n_words + 1] */
    int32_t *sub;      /* rows of each word, its own first */
};

void fasttext_dict_done(struct fasttext_dict *d); /* safe on a zeroed one */

/* Making one: entries in any order, each new name at the end; its number, or that of the equal name. */
void fasttext_dict_start(struct fasttext_dict *d);
int32_t fasttext_dict_add(struct fasttext_dict *d, const char *name, size_t n, int64_t count,
                          bool is_label);
/* When entries (words first), args and prune table are set: rows of the words. */
void fasttext_dict_finish(struct fasttext_dict *d);
void fasttext_dict_set_prune(struct fasttext_dict *d, const int32_t *pairs, int64_t n);

uint32_t fasttext_hash(const char *s, size_t n);
int32_t fasttext_dict_find(const struct fasttext_dict *d, const char *s, size_t n, uint32_t hash);
const char *fasttext_dict_name(const struct fasttext_dict *d, int32_t i);
/* Rows of the input matrix. */
int64_t fasttext_dict_rows(const struct fasttext_dict *d);

/* A line being read: rows of words as they come, hashes for the n-grams at its end. */
struct fasttext_line {
    const struct fasttext_dict *d;
    int32_t *rows; /* [max], the caller's */
    int32_t n, max;
    uint32_t *hashes; /* [max_words], the caller's */
    int32_t n_words, max_words;
    int32_t label; /* number of the first label among the labels, -1: none */
    bool cut;      /* rows or words were left out */
};
void fasttext_line_token(struct fasttext_line *l, const char *s, size_t n);
/* The n-grams. */
void fasttext_line_end(struct fasttext_line *l);

/* The whole of it: a title's words, "</s>" and n-grams. */
void fasttext_line_title(struct fasttext_line *l, const struct words *w, const char *title,
                         size_t n);
#define FASTTEXT_END "</s>"

#endif
