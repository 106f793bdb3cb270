/* See options.h. Values are kept as checked text; the getters parse again, which is cheap at
 * start-up and keeps one truth. */
#include "base/options.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/url.h"

struct pair {
    char *key, *value;
};

struct options {
    const struct opt *table;
    size_t n;
    const char *pass;
    char **values; /* NULL: the default */
    struct changed {
        char *value, *why;
    } * defaults; /* other than the table's; value NULL: the table's */
    struct pair *pairs;
    size_t n_pairs;
};

struct options *options_open(const struct opt *table, size_t n, const char *pass)
{
    struct options *o = xcalloc(1, sizeof *o);
    o->table = table;
    o->n = n;
    o->pass = pass;
    o->values = xcalloc(n, sizeof *o->values);
    o->defaults = xcalloc(n, sizeof *o->defaults);
    return o;
}

void options_close(struct options *o)
{
    if (!o)
        return;
    for (size_t i = 0; i < o->n; i++) {
        free(o->values[i]);
        free(o->defaults[i].value);
        free(o->defaults[i].why);
    }
    free(o->defaults);
    for (size_t i = 0; i < o->n_pairs; i++) {
        free(o->pairs[i].key);
        free(o->pairs[i].value);
    }
    free(o->pairs);
    free(o->values);
    free(o);
}

static const struct opt *find(const struct options *o, const char *name)
{
    for (size_t i = 0; i < o->n; i++)
        if (strcmp(o->table[i].name, name) == 0)
            return &o->table[i];
    return NULL;
}

/* Levenshtein distance, bounded rows; names longer than 63 bytes are far from everything. */
static size_t distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b), row[64];
    if (la > 63 || lb > 63)
        return 1000;
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[lb];
}

static int unknown_name(const struct options *o, const char *name, const char *where,
                        struct err *err)
{
    const char *best = NULL;
    size_t least = 1000;
    for (size_t i = 0; i < o->n; i++) {
        size_t d = distance(name, o->table[i].name);
        if (d < least) {
            least = d;
            best = o->table[i].name;
        }
    }
    if (best && least <= 3 && least < strlen(name)) /* "x" is near to every short name */
        return err_set(err, ERR_CONFIG, "%s: unknown option \"%s\"; did you mean \"%s\"?", where,
                       name, best);
    return err_set(err, ERR_CONFIG, "%s: unknown option \"%s\"", where, name);
}

static bool parse_bool(const char *s, bool *v)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no",
                                                                                "off", "0"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(s, yes[i]) == 0)
            return *v = true, true;
        if (strcmp(s, no[i]) == 0)
            return *v = false, true;
    }
    return false;
}

static bool in_choices(const char *choices, const char *value)
{
    size_t n = strlen(value);
    for (const char *p = choices; *p;) {
        size_t len = strcspn(p, "|");
        if (len == n && strncmp(p, value, n) == 0)
            return true;
        p += len + (p[len] == '|');
    }
    return false;
}

static int check(const struct opt *d, const char *value, const char *where, struct err *err)
{
    char *end = NULL;
    bool b;
    double x = 0;
    errno = 0;
    switch (d->type) {
    case OPT_STR:
        return 0;
    case OPT_BOOL:
        return parse_bool(value, &b)
                   ? 0
                   : err_set(err, ERR_CONFIG, "%s: %s = \"%s\": expected true or false", where,
                             d->name, value);
    case OPT_CHOICE:
        return in_choices(d->choices, value)
                   ? 0
                   : err_set(err, ERR_CONFIG, "%s: %s = \"%s\": expected one of %s", where, d->name,
                             value, d->choices);
    case OPT_INT:
        x = (double)strtol(value, &end, 10);
        break;
    case OPT_REAL:
        x = strtod(value, &end);
        break;
    }
    if (end == value || *end || errno == ERANGE || !isfinite(x))
        return err_set(err, ERR_CONFIG, "%s: %s = \"%s\": expected %s", where, d->name, value,
                       d->type == OPT_INT ? "an integer" : "a number");
    if ((d->min != 0 || d->max != 0) && (x < d->min || x > d->max))
        return err_set(err, ERR_CONFIG, "%s: %s = %s: not between %.12g and %.12g", where, d->name,
                       value, d->min, d->max);
    return 0;
}

int options_set(struct options *o, const char *name, const char *value, const char *where,
                struct err *err)
{
    if (o->pass && strncmp(name, o->pass, strlen(o->pass)) == 0 && name[strlen(o->pass)]) {
        const char *key = name + strlen(o->pass);
        size_t i = 0;
        while (i < o->n_pairs && strcmp(o->pairs[i].key, key) != 0)
            i++;
        if (i == o->n_pairs) {
            o->pairs = xrealloc(o->pairs, (o->n_pairs + 1) * sizeof *o->pairs);
            o->pairs[o->n_pairs++] = (struct pair){.key = xstrdup(key)};
        }
        char *copy = xstrdup(value);
        free(o->pairs[i].value);
        o->pairs[i].value = copy;
        return 0;
    }
    const struct opt *d = find(o, name);
    if (!d)
        return unknown_name(o, name, where, err);
    if (check(d, value, where, err) != 0)
        return -1;
    char **slot = &o->values[d - o->table];
    char *copy = xstrdup(value);
    free(*slot);
    *slot = copy;
    return 0;
}

static char *trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    size_t n = strlen(s);
    while (n && isspace((unsigned char)s[n - 1]))
        s[--n] = '\0';
    return s;
}

int options_set_default(struct options *o, const char *name, const char *value, const char *why,
                        struct err *err)
{
    const struct opt *d = find(o, name);
    if (!d)
        return unknown_name(o, name, why, err);
    if (check(d, value, why, err) != 0)
        return -1;
    struct changed *c = &o->defaults[d - o->table];
    free(c->value);
    free(c->why);
    *c = (struct changed){xstrdup(value), xstrdup(why)};
    return 0;
}

int options_read_text(struct options *o, const char *name, const char *text, size_t len,
                      struct err *err)
{
    if (len && memchr(text, '\0', len))
        return err_set(err, ERR_CONFIG, "%s: a NUL byte", name);
    char *copy = xmalloc(len + 1);
    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    int rc = 0, number = 0;
    char *next = len >= 3 && memcmp(copy, "\xef\xbb\xbf", 3) == 0 ? copy + 3 : copy;
    while (rc == 0 && next) {
        char *line = next, where[PATH_MAX + 16];
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        number++;
        line = trim(line);
        if (!*line || *line == '#')
            continue;
        (void)snprintf(where, sizeof where, "%s:%d", name, number);
        char *eq = strchr(line, '=');
        if (!eq) {
            rc = err_set(err, ERR_CONFIG, "%s: expected \"key = value\"", where);
            break;
        }
        *eq = '\0';
        rc = options_set(o, trim(line), trim(eq + 1), where, err);
    }
    free(copy);
    return rc;
}

int options_read_file(struct options *o, const char *path, struct err *err)
{
    char *text;
    size_t len;
    if (file_read(path, 1 << 20, &text, &len, err) != 0)
        return -1;
    int rc = options_read_text(o, path, text, len, err);
    free(text);
    return rc;
}

/* RUBRIC_DEAD_LETTER against "dead-letter": same letters, '-' and '.' written '_'. */
static bool env_matches(const char *env, size_t n, const char *name)
{
    if (strlen(name) != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int c = name[i] == '-' || name[i] == '.' ? '_' : toupper((unsigned char)name[i]);
        if (c != env[i])
            return false;
    }
    return true;
}

int options_read_env(struct options *o, char *const *environment, int *unknown,
                     const char **example, struct err *err)
{
    static const char *const reserved[] = {"RUBRIC_ISA", "RUBRIC_CONFIG", "RUBRIC_REDIS_PASSWORD",
                                           "RUBRIC_REDIS_PASSWORD_FILE"}; /* read elsewhere */
    if (unknown)
        *unknown = 0;
    if (example)
        *example = NULL;
    for (; environment && *environment; environment++) {
        const char *e = *environment, *eq = strchr(e, '=');
        if (strncmp(e, "RUBRIC_", 7) != 0 || !eq)
            continue;
        const char *key = e + 7;
        size_t n = (size_t)(eq - key), i = 0;
        char where[200], name[200];
        (void)snprintf(where, sizeof where, "environment %.*s", (int)(eq - e), e);
        while (i < o->n && !env_matches(key, n, o->table[i].name))
            i++;
        if (i < o->n) {
            (void)snprintf(name, sizeof name, "%s", o->table[i].name);
        } else if (o->pass && n > strlen(o->pass) && n < sizeof name &&
                   env_matches(key, strlen(o->pass), o->pass)) {
            /* Names passed through are spelt with dots by their owner (librdkafka). */
            for (size_t j = 0; j < n; j++)
                name[j] = (char)(key[j] == '_' ? '.' : tolower((unsigned char)key[j]));
            name[n] = '\0';
        } else {
            bool known = false;
            for (size_t j = 0; j < sizeof reserved / sizeof *reserved; j++)
                known |= strncmp(e, reserved[j], (size_t)(eq - e)) == 0 && !reserved[j][eq - e];
            if (!known && unknown)
                ++*unknown;
            if (!known && example)
                *example = e;
            continue;
        }
        if (options_set(o, name, eq + 1, where, err) != 0)
            return -1;
    }
    return 0;
}

int options_read_args(struct options *o, int argc, char **argv, const char **rest, int *n_rest,
                      struct err *err)
{
    *n_rest = 0;
    for (int i = 0; i < argc; i++) {
        char *arg = argv[i];
        if (strcmp(arg, "--") == 0) {
            while (++i < argc)
                rest[(*n_rest)++] = argv[i];
            break;
        }
        if (strncmp(arg, "--", 2) != 0) {
            rest[(*n_rest)++] = arg;
            continue;
        }
        char *name = xstrdup(arg + 2), *eq = strchr(name, '=');
        const char *value = eq ? eq + 1 : NULL;
        if (eq)
            *eq = '\0';
        const struct opt *d = find(o, name);
        bool known = d || (o->pass && strncmp(name, o->pass, strlen(o->pass)) == 0);
        if (!eq && d && d->type == OPT_BOOL)
            value = "true";
        else if (!eq && known && i + 1 < argc)
            value = argv[++i];
        int rc = 0;
        if (!value && known)
            rc = err_set(err, ERR_USAGE, "--%s needs a value", name);
        else
            rc = options_set(o, name, value ? value : "", "command line", err);
        free(name);
        if (rc != 0) {
            if (err)
                err->code = ERR_USAGE;
            return -1;
        }
    }
    return 0;
}

static const char *text(const struct options *o, const char *name)
{
    const struct opt *d = find(o, name);
    assert(d);
    const char *v = o->values[d - o->table], *changed = o->defaults[d - o->table].value;
    return v ? v : changed ? changed : d->def;
}

const char *options_str(const struct options *o, const char *name)
{
    return text(o, name);
}

long options_int(const struct options *o, const char *name)
{
    const char *v = text(o, name);
    return v ? strtol(v, NULL, 10) : 0;
}

double options_real(const struct options *o, const char *name)
{
    const char *v = text(o, name);
    return v ? strtod(v, NULL) : 0;
}

bool options_bool(const struct options *o, const char *name)
{
    const char *v = text(o, name);
    bool b = false;
    return v && parse_bool(v, &b) && b;
}

bool options_known(const struct options *o, const char *name)
{
    return find(o, name) != NULL;
}

bool options_given(const struct options *o, const char *name)
{
    const struct opt *d = find(o, name);
    assert(d);
    return o->values[d - o->table] != NULL;
}

bool options_passed(const struct options *o, size_t i, const char **key, const char **value)
{
    if (i >= o->n_pairs)
        return false;
    *key = o->pairs[i].key;
    *value = o->pairs[i].value;
    return true;
}

void options_print(const struct options *o, FILE *out)
{
    for (size_t i = 0; i < o->n; i++) {
        const struct opt *d = &o->table[i];
        const char *v = text(o, d->name);
        if (!v) {
            (void)fprintf(out, "# %s is not set\n", d->name);
            continue;
        }
        if (o->defaults[i].value && !o->values[i])
            (void)fprintf(out, "# %s:\n", o->defaults[i].why);
        char *shown = url_mask(v);
        (void)fprintf(out, "%s = %s\n", d->name, d->secret ? "****" : shown);
        free(shown);
    }
    for (size_t i = 0; i < o->n_pairs; i++) {
        const char *k = o->pairs[i].key;
        bool secret = strstr(k, "password") || strstr(k, "secret") || strstr(k, "key.pem") ||
                      strstr(k, "jaas") || strstr(k, "oauthbearer.config");
        (void)fprintf(out, "%s%s = %s\n", o->pass, k, secret ? "****" : o->pairs[i].value);
    }
}
