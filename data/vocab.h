/* The character vocabulary: a title becomes the ids of its characters. vocab.txt has one character
 * a line, the line number is the id; line 0 is [PAD], 1 is [UNK], 2 is [SPACE] (a blank would be an
 * invisible line).
 *
 * Normalisation, the same for training and serving: code points are lower-cased (utf8proc_tolower),
 * white space of any kind (Unicode White_Space, U+3000 included) is one [SPACE] per run, none at
 * the ends; other control (Cc) and format (Cf: zero-width space, BOM, soft hyphen, …) characters
 * are dropped. A struct vocab is const after it was made and shared by threads. */
#ifndef DATA_VOCAB_H
#define DATA_VOCAB_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { VOCAB_PAD = 0, VOCAB_UNK = 1, VOCAB_SPACE = 2, VOCAB_FIRST = 3 };

struct vocab;

/* Reads vocab.txt. Refused, by file and line: no specials on the first three lines, invalid UTF-8,
 * an empty line, more than one character on a line, a repeated character, white space or a control
 * or format character, no line at all. CRLF, a BOM and a missing last newline are accepted. A
 * character that is not lower case keeps its id, but no title reaches it. */
int vocab_read(const char *path, struct vocab **out, struct err *err);
int vocab_write(const struct vocab *v, const char *path, struct err *err); /* atomically */
void vocab_close(struct vocab *v);                                         /* NULL allowed */
int32_t vocab_size(const struct vocab *v);
int32_t
vocab_id(const struct vocab *v,
         uint32_t code_point); /* normalised like a title's; VOCAB_UNK when absent or dropped */

/* Counts characters of titles; the builder then keeps those seen at least min_count times, most
 * frequent first, ties by code point, at most max_size lines with the specials (0: no bound). The
 * builder can go on counting afterwards. */
struct vocab_builder;
struct vocab_builder *vocab_builder_open(void);
void vocab_builder_add(struct vocab_builder *b, const char *title, size_t n); /* valid UTF-8 */
struct vocab *vocab_builder_finish(struct vocab_builder *b, long min_count, int32_t max_size);
void vocab_builder_close(struct vocab_builder *b);

/* Writes at most max ids of the title (valid UTF-8: title_check passed) and returns how many; what
 * is beyond max is cut (max >= 1). A title with nothing left after normalisation gives one
 * VOCAB_UNK. No allocation; reads nothing outside title[0..n) whatever the bytes. About 60 ns for a
 * headline. */
int32_t vocab_encode(const struct vocab *v, const char *title, size_t n, int32_t *ids, int32_t max);

#endif
