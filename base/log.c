#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"

static atomic_int current_format = LOG_AUTO, least_level = LOG_INFO;

void log_setup(enum log_format format, enum log_level least)
{
    if (format == LOG_AUTO)
        format = isatty(STDERR_FILENO) ? LOG_TEXT : LOG_JSON;
    atomic_store(&current_format, (int)format);
    atomic_store(&least_level, (int)least);
}

/* The length of the printable character at p (NUL-terminated), 0 when there is none: a control
 * character or broken UTF-8. */
static size_t printable(const unsigned char *p)
{
    unsigned char c = p[0];
    if (c < 0x80)
        return c >= 0x20 && c != 0x7f;
    size_t len = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    /* The second byte's range shuts out overlong forms, surrogates, what is past U+10FFFF, and the
     * controls U+0080..9F. */
    unsigned char least = c == 0xe0 || c == 0xc2 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char most = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (c < 0xc2 || c > 0xf4 || p[1] < least || p[1] > most)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

/* A message may quote bytes from outside. Control characters would forge lines or drive the
 * terminal, and broken UTF-8 (a path, or a message cut in mid-character) is no JSON: white space
 * becomes a blank, the rest '?'. */
static void clean(char *s)
{
    for (unsigned char *p = (unsigned char *)s; *p;) {
        size_t n = printable(p);
        if (!n)
            *p = *p >= '\t' && *p <= '\r' ? ' ' : '?';
        p += n ? n : 1;
    }
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if ((int)level < atomic_load(&least_level))
        return;
    if (atomic_load(&current_format) == LOG_AUTO)
        log_setup(LOG_AUTO, (enum log_level)atomic_load(&least_level));
    char msg[1500];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    clean(msg);

    struct timespec now;
    struct tm tm;
    char stamp[40];
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(stamp + n, sizeof stamp - n, ".%03ldZ", now.tv_nsec / 1000000);

    struct buf line;
    buf_init(&line, 16384);
    if (atomic_load(&current_format) == LOG_TEXT) {
        buf_printf(&line, "%.12s %-5s %s: %s\n", stamp + 11, names[level], event, msg);
    } else {
        buf_printf(&line, "{\"ts\":\"%s\",\"level\":\"%s\",\"event\":\"%s\",\"msg\":\"", stamp,
                   names[level], event);
        buf_put_json(&line, msg, strlen(msg));
        buf_puts(&line, "\"}\n");
    }
    if (write(STDERR_FILENO, line.data, line.len) < 0) {
        /* Nowhere left to say it. */
    }
    buf_done(&line);
}
