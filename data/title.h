/* What a title may be. One rule for datasets, records and the command line.
 * A title is valid UTF-8 without NUL, not empty after trimming white space, and at most `max`
 * bytes. */
#ifndef DATA_TITLE_H
#define DATA_TITLE_H

#include <stddef.h>

enum title_fault { TITLE_OK, TITLE_INVALID_UTF8, TITLE_NUL, TITLE_EMPTY, TITLE_TOO_LONG };

#define TITLE_MAX_BYTES 4096 /* default bound; a headline is some 60 bytes */

/* Checks s[0..n). *at receives the byte offset of the fault (may be NULL). Pure. */
enum title_fault title_check(const char *s, size_t n, size_t max, size_t *at);

/* Stable short names used in dead letters and metrics: "ok", "invalid-utf8", "nul-in-title",
 * "empty-title", "title-too-long". */
const char *title_fault_name(enum title_fault fault);

#endif
