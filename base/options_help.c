/* What an option table says of itself. See options.h. */
#include "base/options.h"

static void describe(const struct opt *d, char *s, size_t n)
{
    switch (d->type) {
    case OPT_STR:
        (void)snprintf(s, n, "text");
        break;
    case OPT_BOOL:
        (void)snprintf(s, n, "true|false");
        break;
    case OPT_CHOICE:
        (void)snprintf(s, n, "%s", d->choices);
        break;
    case OPT_INT:
    case OPT_REAL:
        if (d->min != 0 || d->max != 0)
            (void)snprintf(s, n, "%.12g to %.12g", d->min, d->max);
        else
            (void)snprintf(s, n, "number");
        break;
    }
}

void options_help(const struct opt *table, size_t n, FILE *out)
{
    for (size_t i = 0; i < n; i++) {
        char kind[200];
        describe(&table[i], kind, sizeof kind);
        (void)fprintf(out, "  --%-24s %s (%s%s%s)\n", table[i].name, table[i].help, kind,
                      table[i].def ? "; default " : "", table[i].def ? table[i].def : "");
    }
}

void options_markdown(const struct opt *table, size_t n, FILE *out)
{
    (void)fprintf(out, "| option | values | default | what it does |\n|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        char kind[200];
        describe(&table[i], kind, sizeof kind);
        for (char *p = kind; *p; p++)
            if (*p == '|')
                *p = '/';
        (void)fprintf(out, "| `%s` | %s | %s | %s |\n", table[i].name, kind,
                      table[i].def ? table[i].def : "", table[i].help);
    }
}
