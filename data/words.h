/* How a title becomes words, for models of words: each character, what white space separates, or Chinese words as
 * jieba cuts them (data/segment.h); white space is no word, and stop words are left out.  Const after opening, shared
 * by threads. */
#ifndef DATA_WORDS_H
#define DATA_WORDS_H

#include <stddef.h>

#include "base/err.h"

enum words_how { WORDS_CHARACTERS, WORDS_SPACES, WORDS_JIEBA };
#define WORDS_HOW "characters|spaces|jieba"
int words_parse(const char *name, enum words_how *how, struct err *err);
const char *words_name(enum words_how how);

struct words;
/* dictionary: directory of jieba's files (NULL: Debian's); stop_words: a file, one a line, or NULL. */
int words_open(enum words_how how, const char *dictionary, const char *stop_words,
               struct words **out, struct err *err);
void words_close(struct words *w); /* NULL allowed */

typedef void words_word(void *arg, const char *s, size_t n);
void words_each(const struct words *w, const char *title, size_t n, words_word *word, void *arg);

/* Into a model's directory: jieba's files, stopwords.txt; and how it is opened from there. */
int words_save(const struct words *w, const char *dir, struct err *err);
int words_open_saved(enum words_how how, const char *dir, struct words **out, struct err *err);

#endif
