/* The worker's HTTP port: GET /livez, /readyz, /metrics. http.c is the only file that includes
 * libmicrohttpd. */
#ifndef WORKER_HTTP_H
#define WORKER_HTTP_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

struct http_routes {
    bool (*live)(void *arg, struct buf *body);  /* false answers 503; body says why */
    bool (*ready)(void *arg, struct buf *body); /* the same */
    void (*metrics)(void *arg, struct buf *body);
    void *arg;
};

struct http;
/* where: "address:port", "[v6]:port" or ":port" (all addresses); port 0 picks a free one. Handlers
 * are called from the server's thread. */
int http_open(const char *where, const struct http_routes *routes, struct http **out,
              struct err *err);
int http_port(const struct http *h);
void http_close(struct http *h); /* NULL allowed */

#endif
