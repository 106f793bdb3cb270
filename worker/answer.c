#include "worker/answer.h"

#include <string.h>

static void put_text(struct buf *out, const char *s, size_t n)
{
    buf_puts(out, "\"");
    buf_put_json(out, s, n);
    buf_puts(out, "\"");
}

static void put_title(struct buf *out, const char *title, size_t n)
{
    buf_puts(out, "{\"title\":");
    if (title)
        put_text(out, title, n);
    else
        buf_puts(out, "null");
}

static void put_score(struct buf *out, const struct model_info *info, int32_t index, float p)
{
    buf_puts(out, "\"label\":");
    put_text(out, info->labels[index], strlen(info->labels[index]));
    buf_printf(out, ",\"index\":%d,\"probability\":%.6g", index, (double)p);
}

void answer_put(struct buf *out, const struct model_info *info, const char *title, size_t n,
                bool cut, const float *p, const int32_t *best, int32_t k)
{
    put_title(out, title, n);
    buf_puts(out, ",");
    put_score(out, info, best[0], p[best[0]]);
    buf_puts(out, ",\"top\":[");
    for (int32_t i = 0; i < k; i++) {
        buf_puts(out, i ? ",{" : "{");
        put_score(out, info, best[i], p[best[i]]);
        buf_puts(out, "}");
    }
    buf_puts(out, "],\"model\":{\"name\":");
    put_text(out, info->name, strlen(info->name));
    buf_printf(out, ",\"version\":\"%s\"}%s}", info->version, cut ? ",\"truncated\":true" : "");
}

void answer_put_error(struct buf *out, const char *title, size_t n, const char *error)
{
    put_title(out, title, n);
    buf_puts(out, ",\"error\":");
    put_text(out, error, strlen(error));
    buf_puts(out, "}");
}
