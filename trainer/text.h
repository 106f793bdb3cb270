/* Text without labels, for pre-training: lines of files as sequences of a bounded length. */
#ifndef TRAINER_TEXT_H
#define TRAINER_TEXT_H

#include <stdio.h>

#include "base/err.h"
#include "base/sha256.h"
#include "data/dataset.h"

/* What ends a sequence that a line is cut into: this many characters at most, behind a full stop and its
 * like where one stands in the second half.  Of a line with tabs only what is before the first one is read, so
 * that labelled titles can be given too.  Blank lines are nothing.  Refused by file and line: invalid
 * UTF-8, NUL (unless skip_bad lets it be left out, which is told on stderr); by file: no text in it.
 * d gets labels that are all 0, and digest the hash of all that was read.  *d is untouched on failure. */
int text_read(const char *const *paths, int n, int32_t max_characters, long skip_bad, FILE *out,
              struct dataset *d, char digest[SHA256_HEX], struct err *err);

#endif
