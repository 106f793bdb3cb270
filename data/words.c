#include "data/words.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "data/segment.h"
#include "data/utf8.h"

enum { MAX_STOP_WORDS = 16 << 20 };
#define STOP_FILE "stopwords.txt"

struct words {
    enum words_how how;
    char *dictionary, *stop_path;
    struct segmenter *segmenter;
    char *stop_text;
    const char **stop; /* sorted, ended by NUL */
    size_t n_stop;
};

static const char *const names[] = {"characters", "spaces", "jieba"};

int words_parse(const char *name, enum words_how *how, struct err *err)
{
    for (int i = WORDS_CHARACTERS; i <= WORDS_JIEBA; i++)
        if (strcmp(name, names[i]) == 0) {
            *how = (enum words_how)i;
            return 0;
        }
    return err_set(err, ERR_FORMAT, "\"%.50s\" is no kind of words: characters, spaces or jieba",
                   name);
}

const char *words_name(enum words_how how)
{
    return names[how];
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int read_stop_words(struct words *w, const char *path, struct err *err)
{
    size_t len, room = 0, number = 0;
    if (file_read(path, MAX_STOP_WORDS, &w->stop_text, &len, err) != 0)
        return -1;
    w->stop_path = xstrdup(path);
    char *rest = w->stop_text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        size_t n = strlen(line);
        number++;
        if (utf8_prefix(line, n) != n)
            return err_set(err, ERR_FORMAT, "%s:%zu: invalid UTF-8", path, number);
        while (n && (line[n - 1] == '\r' || line[n - 1] == ' '))
            line[--n] = '\0';
        if (!n)
            continue;
        if (w->n_stop == room)
            w->stop = xrealloc(w->stop, (room = 2 * room + 256) * sizeof *w->stop);
        w->stop[w->n_stop++] = line;
    }
    if (w->n_stop == 0)
        return err_set(err, ERR_FORMAT, "%s: no word in it", path);
    qsort(w->stop, w->n_stop, sizeof *w->stop, by_text);
    return 0;
}

int words_open(enum words_how how, const char *dictionary, const char *stop_words,
               struct words **out, struct err *err)
{
    struct words *w = xcalloc(1, sizeof *w);
    int rc = 0;
    w->how = how;
    if (how == WORDS_JIEBA) {
        w->dictionary = xstrdup(dictionary ? dictionary : SEGMENT_DIR);
        rc = segmenter_open(w->dictionary, &w->segmenter, err);
        if (rc != 0 && !dictionary)
            rc = err_prefix(err, "jieba's dictionary (Debian's package python3-jieba)");
    }
    if (rc == 0 && stop_words)
        rc = read_stop_words(w, stop_words, err);
    if (rc != 0) {
        words_close(w);
        return -1;
    }
    *out = w;
    return 0;
}

void words_close(struct words *w)
{
    if (!w)
        return;
    segmenter_close(w->segmenter);
    free(w->dictionary);
    free(w->stop_path);
    free(w->stop_text);
    free(w->stop);
    free(w);
}

struct reader {
    const struct words *w;
    words_word *word;
    void *arg;
};

static bool is_stop(const struct words *w, const char *s, size_t n)
{
    size_t low = 0, high = w->n_stop;
    while (low < high) {
        size_t at = (low + high) / 2;
        int order = strncmp(w->stop[at], s, n);
        if (order == 0)
            order = w->stop[at][n] != '\0';
        if (order == 0)
            return true;
        if (order < 0)
            low = at + 1;
        else
            high = at;
    }
    return false;
}

static void pass(void *arg, const char *s, size_t n)
{
    const struct reader *r = arg;
    size_t i = 0;
    if (!utf8_is_space(utf8_next(s, n, &i)) && !is_stop(r->w, s, n))
        r->word(r->arg, s, n);
}

/* What fastText's reader takes for white space. */
static bool separates(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f' || c == '\0';
}

void words_each(const struct words *w, const char *title, size_t n, words_word *word, void *arg)
{
    struct reader r = {w, word, arg};
    if (w->how == WORDS_JIEBA) {
        segmenter_cut(w->segmenter, title, n, pass, &r);
        return;
    }
    for (size_t i = 0; i < n;) {
        size_t from = i;
        if (w->how == WORDS_CHARACTERS) {
            (void)utf8_next(title, n, &i);
            pass(&r, title + from, i - from);
            continue;
        }
        while (i < n && !separates(title[i]))
            i++;
        if (i > from && !is_stop(w, title + from, i - from))
            word(arg, title + from, i - from);
        i += i == from;
    }
}

int words_save(const struct words *w, const char *dir, struct err *err)
{
    int rc = w->segmenter ? segmenter_copy_files(w->dictionary, dir, err) : 0;
    if (rc == 0 && w->stop_path) {
        char *path = file_path("%s/" STOP_FILE, dir);
        rc = file_copy(w->stop_path, path, err);
        free(path);
    }
    return rc;
}

int words_open_saved(enum words_how how, const char *dir, struct words **out, struct err *err)
{
    char *path = file_path("%s/" STOP_FILE, dir);
    int rc = words_open(how, dir, file_exists(path) ? path : NULL, out, err);
    free(path);
    return rc;
}
