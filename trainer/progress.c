#include "trainer/progress.h"

#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define REDRAW_NS 100000000LL
#define BAR_WIDTH 20

void progress_begin(struct progress *p, FILE *out, const char *label, int64_t first, int64_t total)
{
    *p = (struct progress){.out = out, .first = first, .total = total};
    p->tty = isatty(fileno(out)) == 1;
    p->start_ns = clock_ns();
    (void)snprintf(p->label, sizeof p->label, "%s", label);
}

double progress_rate(const struct progress *p, int64_t done)
{
    double seconds = (double)(clock_ns() - p->start_ns) / 1e9;
    return seconds > 0 && done > p->first ? (double)(done - p->first) / seconds : 0;
}

int64_t progress_left(const struct progress *p, int64_t done)
{
    double rate = progress_rate(p, done);
    return rate > 0 ? (int64_t)((double)(p->total - done) / rate + 0.5) : -1;
}

char *progress_duration(int64_t seconds, char s[24])
{
    if (seconds < 0)
        (void)snprintf(s, 24, "-:--:--");
    else
        (void)snprintf(s, 24, "%lld:%02d:%02d", (long long)(seconds / 3600),
                       (int)(seconds / 60 % 60), (int)(seconds % 60));
    return s;
}

void progress_step(struct progress *p, int64_t done, const char *detail)
{
    int64_t now = clock_ns();
    if (!p->tty || (p->drawn && now - p->drawn_ns < REDRAW_NS && done < p->total))
        return;
    double part = p->total > 0 ? (double)done / (double)p->total : 1;
    if (part > 1)
        part = 1;
    int full = (int)(part * BAR_WIDTH);
    char bar[BAR_WIDTH + 1];
    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', (size_t)full);
    bar[BAR_WIDTH] = '\0';
    (void)fprintf(p->out, "\r%-12s [%s] %3d %%  %s\x1b[K", p->label, bar, (int)(100 * part),
                  detail ? detail : "");
    (void)fflush(p->out);
    p->drawn = true;
    p->drawn_ns = now;
}

void progress_clear(struct progress *p)
{
    if (p->drawn)
        (void)fputs("\r\x1b[K", p->out);
    p->drawn = false;
}

void progress_end(struct progress *p, const char *fmt, ...)
{
    va_list ap;
    progress_clear(p);
    (void)fprintf(p->out, "%-12s ", p->label);
    va_start(ap, fmt);
    (void)vfprintf(p->out, fmt, ap);
    va_end(ap);
    (void)fputc('\n', p->out);
    (void)fflush(p->out);
}
