/* A page must be well-formed XML: every element closed in order, every attribute quoted, no bare
 * '<' or '&'. Enough of a parser to hold the pages of this folder to it. */
#ifndef TESTS_TRAINER_XML_H
#define TESTS_TRAINER_XML_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define XML_NAME "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"

/* s points to '&'; the end of the reference. */
static inline const char *xml_reference(const char *s)
{
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (int i = 0; i < 5; i++)
        if (strncmp(s, known[i], strlen(known[i])) == 0)
            return s + strlen(known[i]);
    fail_msg("a bare &: %.60s", s);
    return s;
}

static inline const char *xml_text(const char *s, const char *until)
{
    while (*s && !strchr(until, *s)) {
        if ((unsigned char)*s < ' ' && *s != '\n')
            fail_msg("control character %d", *s);
        s = *s == '&' ? xml_reference(s) : s + 1;
    }
    return s;
}

/* s points behind "<name"; the end of the tag, '>' or "/>" not passed. */
static inline const char *xml_attributes(const char *s)
{
    for (s += strspn(s, " \n"); *s != '>' && *s != '/'; s += strspn(s, " \n")) {
        size_t n = strspn(s, XML_NAME);
        if (n == 0 || s[n] != '=' || s[n + 1] != '"')
            fail_msg("no attribute: %.60s", s);
        s = xml_text(s + n + 2, "\"<");
        if (*s++ != '"')
            fail_msg("an attribute without an end: %.60s", s);
    }
    return s;
}

/* Returns how many elements there are. */
static inline int xml_check(const char *page)
{
    const char *open[64];
    size_t length[64], depth = 0;
    int elements = 0;
    const char *s = strncmp(page, "<!DOCTYPE html>\n", 16) == 0 ? page + 16 : page;
    for (s = xml_text(s, "<"); *s; s = xml_text(s, "<")) {
        bool end = s[1] == '/';
        const char *name = s + 1 + end;
        size_t n = strspn(name, XML_NAME);
        assert_true(n > 0);
        if (end) {
            if (!depth || length[depth - 1] != n || strncmp(open[depth - 1], name, n) != 0)
                fail_msg("closed out of order: %.60s", s);
            depth--;
            s = name + n;
        } else {
            s = xml_attributes(name + n);
            elements++;
            if (*s == '/') {
                s++;
            } else {
                assert_true(depth < 64);
                open[depth] = name;
                length[depth++] = n;
            }
        }
        if (*s++ != '>')
            fail_msg("no end of a tag: %.60s", s - 20);
    }
    if (depth)
        fail_msg("not closed: %.60s", open[depth - 1]);
    return elements;
}

#endif
