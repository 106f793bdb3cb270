#include <stdlib.h>

#include "base/buf.h"
#include "data/segment_parts.h"
#include "data/utf8.h"

/* A stretch of text being cut; characters by number, at[i] is where the i-th begins. */
struct cut {
    const struct segmenter *s;
    const char *text;
    size_t *at; /* [characters + 1] */
    double *best;
    size_t *next;  /* [characters]: where the word that begins here ends */
    uint8_t *back; /* [characters][STATES] */
    segment_word *word;
    void *arg;
};

static void tell(const struct cut *c, size_t from, size_t to)
{
    c->word(c->arg, c->text + c->at[from], c->at[to] - c->at[from]);
}

static uint32_t code_at(const struct cut *c, size_t i)
{
    size_t at = 0;
    return utf8_next(c->text + c->at[i], c->at[i + 1] - c->at[i], &at);
}

static bool is_han(uint32_t c)
{
    return c >= HAN_FIRST && c < HAN_END;
}

static bool is_alnum(uint32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* What words are made of; the rest stands alone. */
static bool is_inner(uint32_t c)
{
    return is_han(c) || is_alnum(c) || (c < 128 && c && strchr("+#&._%-", (int)c));
}

/* From the back, each character's best way to the end; among equals the longest word. */
static void find_route(const struct cut *c, size_t from, size_t to)
{
    c->best[to] = 0;
    for (size_t i = to; i-- > from;) {
        uint64_t hash = HASH_START;
        double most = 0;
        bool any = false;
        for (size_t k = i; k < to; k++) {
            hash = hash_more(hash, c->text + c->at[k], c->at[k + 1] - c->at[k]);
            const struct word *w =
                find_word(c->s, c->text + c->at[i], c->at[k + 1] - c->at[i], hash);
            if (!w)
                break;
            if (!w->frequency)
                continue;
            double p = w->weight + c->best[k + 1];
            if (!any || p >= most) {
                most = p;
                c->next[i] = k + 1;
            }
            any = true;
        }
        if (!any) {
            most = 0.0 - c->s->total + c->best[i + 1];
            c->next[i] = i + 1;
        }
        c->best[i] = most;
    }
}

/* Viterbi over ideographs from .. to; ties go to the state whose letter is later. */
static void cut_new_words(const struct cut *c, size_t from, size_t to)
{
    static const uint8_t before[STATES][2] = {[BEGIN] = {END, SINGLE},
                                              [MIDDLE] = {BEGIN, MIDDLE},
                                              [END] = {BEGIN, MIDDLE},
                                              [SINGLE] = {END, SINGLE}};
    double v[STATES] = {0}, now[STATES];
    for (size_t i = from; i < to; i++) {
        uint32_t x = code_at(c, i) - HAN_FIRST;
        for (int y = 0; y < STATES; y++) {
            const double *emit = c->s->emit[y];
            if (i == from) {
                now[y] = c->s->start[y] + emit[x];
                continue;
            }
            int a = before[y][0], b = before[y][1];
            double pa = v[a] + c->s->trans[a][y] + emit[x], pb = v[b] + c->s->trans[b][y] + emit[x];
            bool second = pb >= pa; /* the later letter stands second */
            now[y] = second ? pb : pa;
            c->back[i * STATES + (size_t)y] = (uint8_t)(second ? b : a);
        }
        memcpy(v, now, sizeof v);
    }
    /* From the end back, the places where words end are noted. */
    int state = v[SINGLE] >= v[END] ? SINGLE : END;
    for (size_t i = to; i-- > from;) {
        int was = state;
        if (i > from)
            state = c->back[i * STATES + (size_t)was];
        c->back[i * STATES] = was == END || was == SINGLE;
    }
    size_t begin = from;
    for (size_t i = from; i < to; i++)
        if (c->back[i * STATES]) {
            tell(c, begin, i + 1);
            begin = i + 1;
        }
    if (begin < to)
        tell(c, begin, to);
}

/* Letters and digits with what belongs to a number; what lies between them whole. */
static void cut_signs(const struct cut *c, size_t from, size_t to)
{
    size_t between = from;
    for (size_t i = from; i < to;) {
        if (!is_alnum(code_at(c, i))) {
            i++;
            continue;
        }
        size_t end = i;
        while (end < to && is_alnum(code_at(c, end)))
            end++;
        if (end + 1 < to && code_at(c, end) == '.') {
            size_t digits = end + 1;
            while (digits < to && code_at(c, digits) >= '0' && code_at(c, digits) <= '9')
                digits++;
            if (digits > end + 1)
                end = digits;
        }
        if (end < to && code_at(c, end) == '%')
            end++;
        if (between < i)
            tell(c, between, i);
        tell(c, i, end);
        between = i = end;
    }
    if (between < to)
        tell(c, between, to);
}

/* Characters that the dictionary leaves alone, one behind the other. */
static void cut_rest(const struct cut *c, size_t from, size_t to)
{
    size_t n = c->at[to] - c->at[from];
    const char *text = c->text + c->at[from];
    const struct word *w =
        to - from > 1 ? find_word(c->s, text, n, hash_more(HASH_START, text, n)) : NULL;
    if (to - from == 1 || (w && w->frequency)) {
        for (size_t i = from; i < to; i++)
            tell(c, i, i + 1);
        return;
    }
    for (size_t i = from; i < to;) {
        bool han = is_han(code_at(c, i));
        size_t end = i;
        while (end < to && is_han(code_at(c, end)) == han)
            end++;
        (han ? cut_new_words : cut_signs)(c, i, end);
        i = end;
    }
}

static void cut_block(const struct cut *c, size_t from, size_t to)
{
    size_t alone = from;
    find_route(c, from, to);
    for (size_t i = from; i < to; i = c->next[i]) {
        if (c->next[i] == i + 1)
            continue;
        if (alone < i)
            cut_rest(c, alone, i);
        tell(c, i, c->next[i]);
        alone = c->next[i];
    }
    if (alone < to)
        cut_rest(c, alone, to);
}

void segmenter_cut(const struct segmenter *s, const char *text, size_t n, segment_word *word,
                   void *arg)
{
    char *room = xmalloc((n + 1) * (sizeof(size_t) * 2 + sizeof(double) + STATES));
    struct cut c = {.s = s, .text = text, .word = word, .arg = arg};
    size_t count = 0;
    c.at = (size_t *)(void *)room;
    c.next = c.at + n + 1;
    c.best = (double *)(void *)(c.next + n + 1);
    c.back = (uint8_t *)(c.best + n + 1);
    for (size_t i = 0; i < n; count++) {
        c.at[count] = i;
        (void)utf8_next(text, n, &i);
    }
    c.at[count] = n;
    for (size_t i = 0; i < count;) {
        size_t end = i;
        while (end < count && is_inner(code_at(&c, end)))
            end++;
        if (end > i) {
            cut_block(&c, i, end);
            i = end;
        } else {
            /* "\r\n" is one. */
            end =
                i + 1 < count && text[c.at[i]] == '\r' && text[c.at[i + 1]] == '\n' ? i + 2 : i + 1;
            tell(&c, i, end);
            i = end;
        }
    }
    free(room);
}
