/* Chinese words as jieba 0.42 cuts them (its default mode, with the hidden Markov model): the most probable path
 * through the words of its dictionary, and for what the dictionary leaves as single characters, new words by
 * Viterbi over begin, middle, end, single.  Equal to jieba's output, sums in the same order, ties as Python's max()
 * settles them.
 *
 * Reads jieba's own files: dict.txt ("word frequency [tag]" a line) and the tables prob_start.py, prob_trans.py,
 * prob_emit.py, which lie beside it or in finalseg/.  Refused by file and line: no number behind a word,
 * invalid UTF-8, a table that does not parse or lacks a state.
 *
 * A struct segmenter is const after opening and shared by threads. */
#ifndef DATA_SEGMENT_H
#define DATA_SEGMENT_H

#include <stddef.h>

#include "base/err.h"

#define SEGMENT_DIR "/usr/lib/python3/dist-packages/jieba" /* Debian's python3-jieba */

struct segmenter;
int segmenter_open(const char *dir, struct segmenter **out, struct err *err);
void segmenter_close(struct segmenter *s); /* NULL allowed */

/* Told of every word in turn, white space and signs too; together they are the text, which is valid UTF-8. */
typedef void segment_word(void *arg, const char *s, size_t n);
void segmenter_cut(const struct segmenter *s, const char *text, size_t n, segment_word *word,
                   void *arg);

/* Copies the files that it reads into a directory. */
int segmenter_copy_files(const char *dir, const char *to, struct err *err);

#endif
