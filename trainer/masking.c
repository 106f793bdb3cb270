#include "trainer/masking.h"

#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/rng.h"
#include "data/wordpiece.h"

#define STREAM_MASK 0x6d61736bULL /* an rng stream; the draw is added to the high half */
enum { LONGEST = 1024 };

int masking_open(struct masking *m, const struct tokenizer *t, const char *dir, double share,
                 struct err *err)
{
    const struct wordpiece *w = tokenizer_wordpiece(t);
    int32_t n = tokenizer_size(t);
    *m = (struct masking){.share = share};
    if (!w)
        return err_set(err, ERR_USAGE,
                       "%s: words are masked by WordPiece, its tokenizer is another", dir);
    m->mask_id = wordpiece_id(w, "[MASK]");
    if (m->mask_id < 0)
        return err_set(err, ERR_FORMAT, "%s/vocab.txt: none of its %d lines is [MASK]", dir,
                       (int)n);
    m->role = xmalloc((size_t)n);
    m->pieces = xmalloc((size_t)n * sizeof *m->pieces);
    wordpiece_roles(w, m->role);
    for (int32_t i = 0; i < n; i++)
        if (m->role[i] != PIECE_SPECIAL)
            m->pieces[m->n_pieces++] = i;
    if (m->n_pieces == 0) {
        masking_close(m);
        return err_set(err, ERR_FORMAT, "%s/vocab.txt: no word in it", dir);
    }
    return 0;
}

void masking_close(struct masking *m)
{
    free(m->role);
    free(m->pieces);
    *m = (struct masking){0};
}

bool masking_knows(const struct masking *m, const int32_t *ids, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        if (m->role[ids[i]] != PIECE_SPECIAL)
            return true;
    return false;
}

static int32_t budget(const struct masking *m, int32_t n)
{
    int32_t most = (int32_t)lround(m->share * (double)n);
    return most > 1 ? most : 1;
}

int32_t masking_room(const struct masking *m, int32_t max_ids, int32_t max_titles)
{
    return (int32_t)ceil(m->share * (double)max_ids) + max_titles;
}

/* Words as spans [begin[i], begin[i + 1]) would overlap what is special, so both ends are kept. */
struct word {
    int32_t from, to;
};

static uint32_t find_words(const struct masking *m, const int32_t *ids, int32_t n,
                           struct word *words)
{
    uint32_t k = 0;
    for (int32_t i = 0; i < n; i++) {
        uint8_t role = m->role[ids[i]];
        if (role == PIECE_SPECIAL)
            continue;
        if (role == PIECE_CONTINUES && k && words[k - 1].to == i)
            words[k - 1].to++;
        else
            words[k++] = (struct word){i, i + 1};
    }
    return k;
}

int32_t masking_draw(const struct masking *m, int32_t *ids, int32_t n, uint64_t seed, uint64_t draw,
                     uint32_t number, int32_t first, int32_t *row, int32_t *word)
{
    struct word words[LONGEST];
    uint32_t order[LONGEST];
    uint64_t stream = STREAM_MASK + (draw << 32);
    uint64_t own = seed ^ ((uint64_t)number + 1) * 0x9e3779b97f4a7c15ULL;
    n = n < LONGEST ? n : LONGEST;
    uint32_t k = find_words(m, ids, n, words);
    int32_t asked = 0, most = budget(m, n);
    for (uint32_t i = 0; i < k; i++)
        order[i] = i;
    rng_shuffle(order, k, own, stream);
    for (uint32_t i = 0; i < k; i++) {
        struct word w = words[order[i]];
        if (w.to - w.from > most - asked)
            continue;
        for (int32_t at = w.from; at < w.to; at++) {
            uint32_t r[4];
            rng_block(own, stream + 1, (uint64_t)at, r);
            row[asked] = first + at;
            word[asked++] = ids[at];
            if (r[0] % 10 < 8)
                ids[at] = m->mask_id;
            else if (r[0] % 10 == 8)
                ids[at] = m->pieces[r[1] % (uint32_t)m->n_pieces];
        }
        if (asked == most)
            break;
    }
    return asked;
}
