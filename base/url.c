#include "base/url.h"

#include <string.h>

#include "base/err.h"
#include "base/file.h"

char *url_mask(const char *s)
{
    const char *begin = strstr(s, "://"), *end = strrchr(s, '@');
    if (!end)
        return xstrdup(s);
    begin = begin && begin < end ? begin + 3 : strcspn(s, ":") < (size_t)(end - s) ? s : end;
    const char *colon = begin < end ? memchr(begin, ':', (size_t)(end - begin)) : NULL;
    if (!colon || strncmp(s, "dir:", 4) == 0)
        return xstrdup(s);
    return file_path("%.*s****%s", (int)(colon + 1 - s), s, end);
}
