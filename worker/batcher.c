#include "worker/batcher.h"

const char *close_reason_name(enum close_reason r)
{
    static const char *const names[CLOSE_COUNT] = {"open", "titles", "tokens",  "bytes",
                                                   "age",  "revoke", "shutdown"};
    return names[r];
}

enum close_reason batcher_close(const struct batch_limits *limits, const struct batch_fill *fill,
                                int64_t now_ns)
{
    if (fill->records == 0)
        return CLOSE_NOT;
    if (fill->titles >= limits->titles || fill->records >= limits->titles)
        return CLOSE_TITLES;
    if (fill->tokens >= limits->tokens)
        return CLOSE_TOKENS;
    if (fill->bytes >= limits->bytes)
        return CLOSE_BYTES;
    if (now_ns - fill->since_ns >= limits->age_ns)
        return CLOSE_AGE;
    return CLOSE_NOT;
}

int64_t batcher_wait(const struct batch_limits *limits, const struct batch_fill *fill,
                     int64_t now_ns, int64_t idle_ns)
{
    if (fill->records == 0)
        return idle_ns;
    int64_t left = fill->since_ns + limits->age_ns - now_ns;
    return left > 0 ? left : 0;
}
