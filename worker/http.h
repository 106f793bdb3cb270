/* The worker's HTTP port: GET /livez, /readyz, /metrics, POST /v1/classify. http.c is the only file that includes
 * libmicrohttpd. */
#ifndef WORKER_HTTP_H
#define WORKER_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

struct http_routes {
    bool (*live)(void *arg, struct buf *body);  /* false answers 503; body says why */
    bool (*ready)(void *arg, struct buf *body); /* the same */
    void (*metrics)(void *arg, struct buf *body);
    /* Answers a whole body (of at most max_body bytes) with a status and JSON. */
    unsigned (*classify)(void *arg, const char *body, size_t len, struct buf *reply);
    size_t max_body;
    void *arg;
};

struct http;
/* where: "address:port", "[v6]:port" or ":port" (all addresses); port 0 picks a free one. Handlers
 * are called from the server's threads, several at a time. */
int http_open(const char *where, const struct http_routes *routes, struct http **out,
              struct err *err);
int http_port(const struct http *h);
void http_close(struct http *h); /* NULL allowed */

#endif
