#include "worker/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct http {
    struct MHD_Daemon *daemon;
    struct http_routes routes;
};

#if MHD_VERSION >= 0x00097002
typedef enum MHD_Result mhd_result;
#else
typedef int mhd_result;
#endif

static mhd_result answer(struct MHD_Connection *conn, unsigned status, const char *type,
                         struct buf *body)
{
    size_t len = body->len;
    struct MHD_Response *r =
        MHD_create_response_from_buffer(len, buf_take(body), MHD_RESPMEM_MUST_FREE);
    (void)MHD_add_response_header(r, "Content-Type", type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(r, "Allow", "GET, HEAD");
    mhd_result rc = MHD_queue_response(conn, status, r);
    MHD_destroy_response(r);
    return rc;
}

static mhd_result handle(void *arg, struct MHD_Connection *conn, const char *url,
                         const char *method, const char *version, const char *upload,
                         size_t *upload_size, void **state)
{
    static const char plain[] = "text/plain; charset=utf-8";
    struct http *h = arg;
    (void)version;
    (void)upload;
    (void)state;
    *upload_size = 0;
    struct buf body;
    buf_init(&body, 64 << 20);
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        buf_puts(&body, "only GET is answered here\n");
        return answer(conn, MHD_HTTP_METHOD_NOT_ALLOWED, plain, &body);
    }
    if (strcmp(url, "/livez") == 0 || strcmp(url, "/readyz") == 0) {
        bool ok = (url[1] == 'l' ? h->routes.live : h->routes.ready)(h->routes.arg, &body);
        if (ok && body.len == 0)
            buf_puts(&body, "ok\n");
        return answer(conn, ok ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, plain, &body);
    }
    if (strcmp(url, "/metrics") == 0) {
        h->routes.metrics(h->routes.arg, &body);
        return answer(conn, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", &body);
    }
    buf_puts(&body, "not here; try /livez, /readyz or /metrics\n");
    return answer(conn, MHD_HTTP_NOT_FOUND, plain, &body);
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
    unsigned flags = MHD_USE_AUTO_INTERNAL_THREAD | (ai->ai_family == AF_INET6 ? MHD_USE_IPv6 : 0u);
    errno = 0;
    h->daemon =
        MHD_start_daemon(flags, 0, NULL, NULL, handle, h, MHD_OPTION_SOCK_ADDR, ai->ai_addr,
                         MHD_OPTION_CONNECTION_LIMIT, 64u, MHD_OPTION_CONNECTION_TIMEOUT, 10u,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)65536, MHD_OPTION_END);
    freeaddrinfo(ai);
    if (!h->daemon) {
        free(h);
        return err_set(err, ERR_IO, "http = %s: cannot listen: %s", where, strerror(errno));
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
