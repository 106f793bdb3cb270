/* The figures of an evaluation as one page that needs nothing else: no script, no file beside it,
 * nothing from the network (its Content-Security-Policy forbids them). Drawings are inline SVG,
 * every drawing has its numbers in a table; it follows the reader's light or dark colours, and is
 * well-formed XML besides being HTML. No clock is in it: the same figures give the same bytes. */
#ifndef TRAINER_REPORT_HTML_H
#define TRAINER_REPORT_HTML_H

#include "base/buf.h"
#include "models/model.h"
#include "trainer/history.h"
#include "trainer/report.h"

#define REPORT_HTML_MAX ((size_t)1 << 28) /* bytes of a page; 1,000 classes take some 0.5 MB */
#define REPORT_HTML_MATRIX 60 /* with more classes the confusion matrix gives way to a list */

/* Appends the page. r has info->n_labels classes; data names what was evaluated. Everything is
 * borrowed. Names may hold any bytes. */
void report_html(const struct report *r, const struct model_info *info, const struct history *h,
                 const char *data, struct buf *out);

/* Makes the page and replaces the file at path by it (base/file.h). */
int report_html_write(const char *path, const struct report *r, const struct model_info *info,
                      const struct history *h, const char *data, struct err *err);

#endif
