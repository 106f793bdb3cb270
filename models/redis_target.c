#include "models/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/url.h"

#define FORM "redis://[user][:password]@host[:port][/db]"

enum { CALL_MS = 10000 };

void redis_target_done(struct redis_target *t)
{
    free(t->url);
    free(t->host);
    free(t->user);
    if (t->password)
        explicit_bzero(t->password, strlen(t->password));
    free(t->password);
    *t = (struct redis_target){0};
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* s[0..n) with %XX decoded; NULL where that is none, or a NUL. */
static char *decoded(const char *s, size_t n)
{
    char *out = xmalloc(n + 1);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)s[i];
        if (c == '%') {
            int high = n - i > 2 ? hex_digit(s[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(s[i + 2]) : -1;
            c = low >= 0 ? high * 16 + low : 0;
            i += 2;
        }
        if (c == 0) {
            free(out);
            return NULL;
        }
        out[k++] = (char)c;
    }
    out[k] = '\0';
    return out;
}

/* A decimal number in [min, max] that is all of s[0..n). */
static bool number(const char *s, size_t n, int min, int max, int *out)
{
    long v = 0;
    if (n < 1 || n > 5)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        v = v * 10 + (s[i] - '0');
    }
    if (v < min || v > max)
        return false;
    *out = (int)v;
    return true;
}

static int parse_login(struct redis_target *t, const char *s, size_t n, struct err *err)
{
    const char *colon = memchr(s, ':', n);
    size_t user = colon ? (size_t)(colon - s) : n;
    if (user && !(t->user = decoded(s, user)))
        return err_set(err, ERR_CONFIG, "%s: the user is not percent-encoded right", t->url);
    if (colon && n - user > 1 && !(t->password = decoded(colon + 1, n - user - 1)))
        return err_set(err, ERR_CONFIG, "%s: the password is not percent-encoded right", t->url);
    return 0;
}

/* host[:port][/db] */
static int parse_host(struct redis_target *t, const char *s, struct err *err)
{
    size_t n = strcspn(s, "/"), host = n;
    t->port = 6379;
    if (s[n] == '/' && s[n + 1] && !number(s + n + 1, strlen(s + n + 1), 0, 65535, &t->db))
        return err_set(err, ERR_CONFIG, "%s: the database is not a number: expected %s", t->url,
                       FORM);
    if (s[0] == '[') { /* IPv6 */
        const char *end = memchr(s, ']', n);
        if (!end || (end + 1 < s + n && end[1] != ':'))
            return err_set(err, ERR_CONFIG, "%s: expected %s", t->url, FORM);
        host = (size_t)(end + 1 - s);
    } else {
        const char *colon = memchr(s, ':', n);
        host = colon ? (size_t)(colon - s) : n;
    }
    if (host < n && !number(s + host + 1, n - host - 1, 1, 65535, &t->port))
        return err_set(err, ERR_CONFIG, "%s: the port is not between 1 and 65535: expected %s",
                       t->url, FORM);
    bool v6 = s[0] == '[';
    if (host == (v6 ? 2 : 0))
        return err_set(err, ERR_CONFIG, "%s: no host: expected %s", t->url, FORM);
    t->host = file_path("%.*s", (int)(v6 ? host - 2 : host), v6 ? s + 1 : s);
    return 0;
}

/* The password from outside the URL. */
static int outside(struct redis_target *t, struct err *err)
{
    const char *word = getenv("RUBRIC_REDIS_PASSWORD");
    const char *path = getenv("RUBRIC_REDIS_PASSWORD_FILE");
    char *line;
    if (word && *word && path && *path)
        return err_set(err, ERR_CONFIG,
                       "RUBRIC_REDIS_PASSWORD and RUBRIC_REDIS_PASSWORD_FILE are both set");
    if (word && *word)
        t->password = xstrdup(word);
    if (!path || !*path)
        return 0;
    if (file_read(path, 4096, &line, NULL, err) != 0)
        return err_prefix(err, "RUBRIC_REDIS_PASSWORD_FILE");
    line[strcspn(line, "\r\n")] = '\0';
    if (!*line) {
        free(line);
        return err_set(err, ERR_CONFIG, "RUBRIC_REDIS_PASSWORD_FILE: %s: its first line is empty",
                       path);
    }
    t->password = line;
    return 0;
}

int redis_target_parse(const char *url, struct redis_target *out, struct err *err)
{
    struct redis_target t = {.url = url_mask(url), .call_ms = CALL_MS};
    int rc = 0;
    if (strncmp(url, "redis://", 8) != 0) {
        rc = err_set(err, ERR_CONFIG, "%s: expected %s", t.url, FORM);
    } else {
        const char *rest = url + 8, *at = strrchr(rest, '@');
        if (at)
            rc = parse_login(&t, rest, (size_t)(at - rest), err);
        if (rc == 0)
            rc = parse_host(&t, at ? at + 1 : rest, err);
    }
    if (rc == 0 && !t.password)
        rc = outside(&t, err);
    if (rc == 0)
        *out = t;
    else
        redis_target_done(&t);
    return rc;
}
