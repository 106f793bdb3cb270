/* Any bytes as what a Redis server answers to the registry: refused with a message, or values in their
 * bounds; never a version that is not as its manifest says. The first byte chooses the question. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "models/registry_redis.h"

#define VERSION "b9319ac2d36912ca"

static void require(int good)
{
    if (!good)
        abort();
}

static int ask(struct redis_store *s, int question, struct err *err)
{
    const struct registry_backend *b = &registry_redis;
    char version[REGISTRY_VERSION] = "", **list;
    struct registry_alias *aliases;
    struct registry_change *changes;
    size_t n;
    int rc;
    switch (question) {
    case 0:
        rc = b->resolve(s, "news", "production", version, err);
        require(rc != 0 || manifest_is_version(version));
        return rc;
    case 1:
    case 2:
        rc = question == 1 ? b->list(s, "news", &list, &n, err)
                           : b->gc(s, "news", 3, &list, &n, err);
        while (rc == 0 && n-- > 0)
            free(list[n]);
        if (rc == 0)
            free(list);
        return rc;
    case 3:
        if ((rc = b->aliases(s, "news", &aliases, &n, err)) == 0)
            free(aliases);
        return rc;
    case 4:
        if ((rc = b->history(s, "news", &changes, &n, err)) == 0)
            free(changes);
        return rc;
    case 5:
        return b->verify(s, "news", VERSION, err);
    case 6:
        return b->set_alias(s, "news", "x", VERSION, NULL, "me", err);
    case 7:
        return b->remove(s, "news", VERSION, err);
    default:
        s->hints = s->conn;
        (void)b->wait(s, "news", 0);
        s->conn = s->hints; /* NULL when it was closed */
        s->hints = NULL;
        return 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct redis_store s = {.target = {.url = (char *)"fuzz", .call_ms = 1000}};
    struct err err = {0};
    int pair[2];
    if (size < 1 || size > 100000)
        return 0;
    require(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    require(write(pair[1], data + 1, size - 1) == (ssize_t)(size - 1));
    (void)shutdown(pair[1], SHUT_WR);
    s.conn = redis_attach(&s.target, pair[0]);
    if (ask(&s, data[0] % 9, &err) != 0)
        require(err.msg[0] && err.code != ERR_NONE);
    redis_close(s.conn);
    (void)close(pair[1]);
    return 0;
}
