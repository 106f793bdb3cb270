/* POST /v1/classify: what is asked and what is answered, without the HTTP around it.
 *
 *     {"title": "…"}                   one object as in worker/answer.h; a bad title is refused
 *     {"titles": ["…", …], "top": K}   {"results": [one object each, a bad title's with "error"]}
 *
 * top: how many best categories each result lists, 1 when absent.  Bounds: ASK_MAX_BYTES of body,
 * ASK_MAX_TITLES titles.  Errors are {"error": "…"} with a 4xx status. */
#ifndef WORKER_ASK_H
#define WORKER_ASK_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "worker/served.h"

#define ASK_MAX_BYTES ((size_t)1 << 20)
#define ASK_MAX_TITLES 1024

struct ask {
    json_t *body;
    const json_t *title;  /* of the one, or NULL */
    const json_t *titles; /* an array of strings, or NULL */
    size_t n;
    int32_t top;
};

/* Refused with the field named: no JSON object, neither or both of title and titles, a title that is
 * no string, too many, none, an unknown field. */
int ask_parse(struct ask *a, const char *body, size_t len, struct err *err);
void ask_done(struct ask *a); /* safe on a zeroed one */

/* Answers by the model; returns the HTTP status. Any thread; allocates. */
unsigned ask_answer(const struct served *s, size_t max_title_bytes, const char *body, size_t len,
                    struct buf *out);
void ask_error(struct buf *out, const char *message);

#endif
