#include "trainer/html.h"

#include <stdint.h>
#include <string.h>

#include "data/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

static const char *reference(uint32_t c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default: /* C0 and C1 controls and the two that XML 1.0 (2.2 Characters) leaves out */
        return c < ' ' || (c >= 0x7f && c < 0xa0) || c == 0xfffe || c == 0xffff ? REPLACEMENT
                                                                                : NULL;
    }
}

void html_text(struct buf *out, const char *s)
{
    size_t left = strlen(s);
    while (left) {
        uint32_t c = 0;
        size_t n = utf8_decode(s, left, &c);
        const char *other = n ? reference(c) : REPLACEMENT;
        n = n ? n : 1;
        if (other)
            buf_puts(out, other);
        else
            buf_put(out, s, n);
        s += n;
        left -= n;
    }
}

void html_name(struct buf *out, const char *s)
{
    buf_puts(out, "<bdi>");
    html_text(out, s);
    buf_puts(out, "</bdi>");
}
