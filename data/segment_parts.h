/* Inside of data/segment*.c: the dictionary and tables that one reads and the other cuts by. */
#ifndef DATA_SEGMENT_PARTS_H
#define DATA_SEGMENT_PARTS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "data/segment.h"

enum { HAN_FIRST = 0x4e00, HAN_END = 0x9fd6, HAN = HAN_END - HAN_FIRST };
enum state { BEGIN, MIDDLE, END, SINGLE, STATES };

/* A word, or the beginning of one (frequency 0). */
struct word {
    uint64_t hash;
    uint32_t at, len; /* in text; len 0: the slot is free */
    double weight;    /* ln(frequency or 1) - ln(total) */
    int64_t frequency;
};

struct segmenter {
    char *text; /* dict.txt */
    struct word *words;
    uint32_t mask, n;
    double total; /* ln of it */
    double start[STATES], trans[STATES][STATES], emit[STATES][HAN];
};

#define HASH_START 14695981039346656037ULL /* FNV-1a */

static inline uint64_t hash_more(uint64_t h, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 1099511628211ULL;
    return h;
}

static inline uint32_t slot_of(const struct segmenter *s, const char *word, size_t n, uint64_t hash)
{
    uint32_t at = (uint32_t)(hash ^ hash >> 32) & s->mask;
    while (s->words[at].len && (s->words[at].hash != hash || s->words[at].len != n ||
                                memcmp(s->text + s->words[at].at, word, n) != 0))
        at = (at + 1) & s->mask;
    return at;
}

static inline const struct word *find_word(const struct segmenter *s, const char *word, size_t n,
                                           uint64_t hash)
{
    const struct word *w = &s->words[slot_of(s, word, n, hash)];
    return w->len ? w : NULL;
}

#endif
