/* Text for a page that is read as HTML and as XML alike: what comes from outside (labels, names,
 * paths) goes through html_text and can neither end an element nor begin one. */
#ifndef TRAINER_HTML_H
#define TRAINER_HTML_H

#include "base/buf.h"

/* Appends s for element content or a quoted attribute: & < > " ' become references; what no page may
 * hold (bytes that are not UTF-8, control characters, U+FFFE, U+FFFF) becomes U+FFFD. */
void html_text(struct buf *out, const char *s);

/* The same within <bdi>, so that right-to-left text and unclosed overrides leave what stands around
 * it alone. For element content only. */
void html_name(struct buf *out, const char *s);

#endif
