#include "worker/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/signals.h"

/* Connections that questions may hold: the rest is for probes and scrapes. */
enum { CONNECTIONS = 64, QUESTIONS = 16, POST_SECONDS = 30 };

struct http {
    struct MHD_Daemon *daemon;
    struct http_routes routes;
    atomic_int questions;
};

#if MHD_VERSION >= 0x00097002
typedef enum MHD_Result mhd_result;
#else
typedef int mhd_result;
#endif

enum { TOO_LARGE = 413 }; /* its name differs between versions of the library */

/* A POST's body while it comes in. */
struct post {
    struct buf body;
    size_t came; /* bytes, kept or not */
    int64_t begin_ns;
};

static const char json[] = "application/json", plain[] = "text/plain; charset=utf-8";

static mhd_result answer(struct MHD_Connection *conn, unsigned status, const char *type,
                         const char *allow, struct buf *body)
{
    size_t len = body->len;
    struct MHD_Response *r =
        MHD_create_response_from_buffer(len, buf_take(body), MHD_RESPMEM_MUST_FREE);
    (void)MHD_add_response_header(r, "Content-Type", type);
    if (allow)
        (void)MHD_add_response_header(r, "Allow", allow);
    mhd_result rc = MHD_queue_response(conn, status, r);
    MHD_destroy_response(r);
    return rc;
}

static mhd_result refuse(struct MHD_Connection *conn, unsigned status, const char *allow,
                         const char *message)
{
    struct buf body;
    buf_init(&body, 4096);
    buf_printf(&body, "{\"error\":\"%s\"}\n", message);
    return answer(conn, status, json, allow, &body);
}

/* The head of a POST. */
static mhd_result begin_post(struct http *h, struct MHD_Connection *conn, void **state)
{
    const char *type =
        MHD_lookup_connection_value(conn, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
    if (type && strncasecmp(type, json, sizeof json - 1) != 0)
        return refuse(conn, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, NULL,
                      "expected Content-Type: application/json");
    if (atomic_fetch_add(&h->questions, 1) >= QUESTIONS) {
        (void)atomic_fetch_sub(&h->questions, 1);
        return refuse(conn, MHD_HTTP_SERVICE_UNAVAILABLE, NULL,
                      "too many questions at once; try again");
    }
    struct post *post = xcalloc(1, sizeof *post);
    post->begin_ns = clock_ns();
    buf_init(&post->body, h->routes.max_body);
    *state = post;
    return MHD_YES;
}

/* POST /v1/classify, called once for the head, then as the body comes in, then at its end. A body over
 * the bound is read on for a while without being kept, so that its sender sees the answer. */
static mhd_result handle_post(struct http *h, struct MHD_Connection *conn, const char *upload,
                              size_t *upload_size, void **state)
{
    struct post *post = *state;
    if (!post)
        return begin_post(h, conn, state);
    if (*upload_size) {
        post->came += *upload_size;
        if (post->came <= h->routes.max_body)
            buf_put(&post->body, upload, *upload_size);
        *upload_size = 0;
        bool too_slow = clock_ns() - post->begin_ns > POST_SECONDS * INT64_C(1000000000);
        return post->came > 8 * h->routes.max_body || too_slow ? MHD_NO : MHD_YES;
    }
    if (post->came > h->routes.max_body)
        return refuse(conn, TOO_LARGE, NULL, "the body is too large");
    struct buf reply;
    buf_init(&reply, 64 << 20);
    unsigned status = h->routes.classify(h->routes.arg, post->body.data ? post->body.data : "",
                                         post->body.len, &reply);
    if (reply.full) {
        buf_done(&reply);
        return refuse(conn, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "the answer is too large");
    }
    return answer(conn, status, json, NULL, &reply);
}

static mhd_result handle_get(struct http *h, struct MHD_Connection *conn, const char *url)
{
    struct buf body;
    buf_init(&body, 64 << 20);
    if (strcmp(url, "/livez") == 0 || strcmp(url, "/readyz") == 0) {
        bool ok = (url[1] == 'l' ? h->routes.live : h->routes.ready)(h->routes.arg, &body);
        if (ok && body.len == 0)
            buf_puts(&body, "ok\n");
        return answer(conn, ok ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, plain, NULL, &body);
    }
    if (strcmp(url, "/metrics") == 0) {
        h->routes.metrics(h->routes.arg, &body);
        return answer(conn, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", NULL, &body);
    }
    buf_puts(&body, "not here; try /livez, /readyz, /metrics or POST /v1/classify\n");
    return answer(conn, MHD_HTTP_NOT_FOUND, plain, NULL, &body);
}

static mhd_result handle(void *arg, struct MHD_Connection *conn, const char *url,
                         const char *method, const char *version, const char *upload,
                         size_t *upload_size, void **state)
{
    struct http *h = arg;
    (void)version;
    bool classify = strcmp(url, "/v1/classify") == 0;
    if (classify && strcmp(method, "POST") == 0)
        return handle_post(h, conn, upload, upload_size, state);
    *upload_size = 0;
    if (classify)
        return refuse(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "POST", "only POST is answered here");
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return refuse(conn, MHD_HTTP_METHOD_NOT_ALLOWED, "GET, HEAD", "only GET is answered here");
    return handle_get(h, conn, url);
}

static void on_completed(void *arg, struct MHD_Connection *conn, void **state,
                         enum MHD_RequestTerminationCode how)
{
    struct post *post = *state;
    struct http *h = arg;
    (void)conn;
    (void)how;
    if (post) {
        (void)atomic_fetch_sub(&h->questions, 1);
        buf_done(&post->body);
    }
    free(post);
    *state = NULL;
}

/* Splits "host:port"; host is "" for ":port". */
static int resolve(const char *where, struct addrinfo **ai, struct err *err)
{
    char host[256];
    const char *colon = strrchr(where, ':');
    if (!colon || (size_t)(colon - where) >= sizeof host || !colon[1])
        return err_set(err, ERR_CONFIG, "http = \"%s\": expected address:port", where);
    size_t n = (size_t)(colon - where);
    memcpy(host, where, n);
    host[n] = '\0';
    char *name = host;
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        name = host + 1;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    int rc = getaddrinfo(*name ? name : NULL, colon + 1, &hints, ai);
    return rc ? err_set(err, ERR_CONFIG, "http = \"%s\": %s", where, gai_strerror(rc)) : 0;
}

int http_open(const char *where, const struct http_routes *routes, struct http **out,
              struct err *err)
{
    struct addrinfo *ai;
    if (resolve(where, &ai, err) != 0)
        return -1;
    struct http *h = xcalloc(1, sizeof *h);
    h->routes = *routes;
    /* A thread a connection: a long question must not keep /livez waiting. */
    unsigned flags = MHD_USE_AUTO_INTERNAL_THREAD | MHD_USE_THREAD_PER_CONNECTION |
                     (ai->ai_family == AF_INET6 ? MHD_USE_IPv6 : 0u);
    sigset_t before; /* a signal inside oneDNN's products harms: see pipeline_open */
    signals_hold(&before);
    errno = 0;
    h->daemon = MHD_start_daemon(flags, 0, NULL, NULL, handle, h, MHD_OPTION_SOCK_ADDR, ai->ai_addr,
                                 MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
                                 MHD_OPTION_CONNECTION_TIMEOUT, 10u,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)65536,
                                 MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_END);
    int why = errno;
    signals_release(&before);
    freeaddrinfo(ai);
    if (!h->daemon) {
        free(h);
        return err_set(err, ERR_IO, "http = %s: cannot listen: %s", where, strerror(why));
    }
    *out = h;
    return 0;
}

int http_port(const struct http *h)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_BIND_PORT);
    return info ? info->port : 0;
}

void http_close(struct http *h)
{
    if (!h)
        return;
    MHD_stop_daemon(h->daemon);
    free(h);
}
