#include "base/url.h"

#include <string.h>

#include "base/err.h"
#include "base/file.h"

char *url_mask(const char *s)
{
    const char *begin = strstr(s, "://"), *end = strrchr(s, '@');
    const char *colon = begin && end ? memchr(begin + 3, ':', strlen(begin + 3)) : NULL;
    if (!colon || colon > end)
        return xstrdup(s);
    return file_path("%.*s****%s", (int)(colon + 1 - s), s, end);
}
