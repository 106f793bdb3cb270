#include "data/fasttext_dict.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static const char end_of_line[] = FASTTEXT_END, label_begin[] = "__label__";
enum { END_LEN = sizeof end_of_line - 1, LABEL_LEN = sizeof label_begin - 1 };

#define FNV_START 2166136261u

static uint32_t fnv(uint32_t h, char c)
{
    int32_t signed_byte = (signed char)c;
    return (h ^ (uint32_t)signed_byte) * 16777619u;
}

uint32_t fasttext_hash(const char *s, size_t n)
{
    uint32_t h = FNV_START;
    for (size_t i = 0; i < n; i++)
        h = fnv(h, s[i]);
    return h;
}

void fasttext_dict_done(struct fasttext_dict *d)
{
    free(d->text);
    free(d->entries);
    free(d->slot);
    free(d->prune);
    free(d->sub_start);
    free(d->sub);
    *d = (struct fasttext_dict){0};
}

static void rehash(struct fasttext_dict *d, uint32_t slots)
{
    free(d->slot);
    d->slot = xmalloc(slots * sizeof *d->slot);
    d->mask = slots - 1;
    memset(d->slot, 0xff, slots * sizeof *d->slot);
    for (int32_t i = 0; i < d->n; i++) {
        uint32_t at = d->entries[i].hash & d->mask;
        while (d->slot[at] >= 0)
            at = (at + 1) & d->mask;
        d->slot[at] = i;
    }
}

void fasttext_dict_start(struct fasttext_dict *d)
{
    *d = (struct fasttext_dict){.n_pruned = -1};
    rehash(d, 1024);
}

static uint32_t slot_of(const struct fasttext_dict *d, const char *s, size_t n, uint32_t hash)
{
    uint32_t at = hash & d->mask;
    while (d->slot[at] >= 0) {
        const struct fasttext_entry *e = &d->entries[d->slot[at]];
        if (e->hash == hash && e->len == n && memcmp(d->text + e->name, s, n) == 0)
            break;
        at = (at + 1) & d->mask;
    }
    return at;
}

int32_t fasttext_dict_find(const struct fasttext_dict *d, const char *s, size_t n, uint32_t hash)
{
    return d->slot[slot_of(d, s, n, hash)];
}

const char *fasttext_dict_name(const struct fasttext_dict *d, int32_t i)
{
    return d->text + d->entries[i].name;
}

int32_t fasttext_dict_add(struct fasttext_dict *d, const char *name, size_t n, int64_t count,
                          bool is_label)
{
    uint32_t hash = fasttext_hash(name, n), at = slot_of(d, name, n, hash);
    if (d->slot[at] >= 0)
        return d->slot[at];
    if (d->text_len + n + 1 > d->text_room) {
        d->text_room = 2 * (d->text_len + n + 1) + 4096;
        d->text = xrealloc(d->text, d->text_room);
    }
    if (d->n == d->room) {
        d->room = 2 * d->room + 1024;
        d->entries = xrealloc(d->entries, (size_t)d->room * sizeof *d->entries);
    }
    memcpy(d->text + d->text_len, name, n);
    d->text[d->text_len + n] = '\0';
    d->entries[d->n] = (struct fasttext_entry){d->text_len, (uint32_t)n, hash, is_label, count};
    d->text_len += n + 1;
    d->slot[at] = d->n++;
    d->n_words += !is_label;
    d->n_labels += is_label;
    if ((uint32_t)d->n > d->mask / 2)
        rehash(d, 2 * (d->mask + 1));
    return d->n - 1;
}

void fasttext_dict_set_prune(struct fasttext_dict *d, const int32_t *pairs, int64_t n)
{
    uint32_t slots = 16;
    d->n_pruned = n;
    while ((int64_t)slots < 2 * n)
        slots *= 2;
    d->prune_mask = slots - 1;
    d->prune = xmalloc(slots * sizeof *d->prune);
    for (uint32_t i = 0; i < slots; i++)
        d->prune[i].id = -1;
    for (int64_t i = 0; i < n; i++) {
        uint32_t at = (uint32_t)pairs[2 * i] * 0x9e3779b9u & d->prune_mask;
        while (d->prune[at].id >= 0)
            at = (at + 1) & d->prune_mask;
        d->prune[at] = (struct fasttext_prune){pairs[2 * i], pairs[2 * i + 1]};
    }
}

int64_t fasttext_dict_rows(const struct fasttext_dict *d)
{
    return d->n_words + (d->n_pruned >= 0 ? d->n_pruned : d->args.bucket);
}

/* The row of a hashed n-gram, -1 where it was pruned away. */
static int32_t hashed_row(const struct fasttext_dict *d, int32_t id)
{
    if (d->n_pruned < 0)
        return d->n_words + id;
    for (uint32_t at = (uint32_t)id * 0x9e3779b9u & d->prune_mask; d->prune[at].id >= 0;
         at = (at + 1) & d->prune_mask)
        if (d->prune[at].id == id)
            return d->n_words + d->prune[at].row;
    return -1;
}

static void put(struct fasttext_line *l, int32_t row)
{
    if (row < 0)
        return;
    if (l->n == l->max)
        l->cut = true;
    else
        l->rows[l->n++] = row;
}

static bool continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* Of "<word>"; bytes as they are, so that broken UTF-8 is hashed as the program does. */
static void put_subwords(struct fasttext_line *l, const char *word, size_t n)
{
    const struct fasttext_args *a = &l->d->args;
    size_t len = n + 2;
#define BYTE(i) ((i) == 0 ? '<' : (i) == len - 1 ? '>' : word[(i)-1])
    for (size_t i = 0; i < len && a->maxn > 0 && a->bucket > 0; i++) {
        uint32_t h = FNV_START;
        size_t j = i;
        if (continues(BYTE(i)))
            continue;
        for (int32_t k = 1; j < len && k <= a->maxn; k++) {
            do
                h = fnv(h, BYTE(j));
            while (++j < len && continues(BYTE(j)));
            if (k >= a->minn && !(k == 1 && (i == 0 || j == len)))
                put(l, hashed_row(l->d, (int32_t)(h % (uint32_t)a->bucket)));
        }
    }
#undef BYTE
}

static bool is_end(const char *s, size_t n)
{
    return n == END_LEN && memcmp(s, end_of_line, END_LEN) == 0;
}

void fasttext_dict_finish(struct fasttext_dict *d)
{
    int32_t room = 1 << 16, *rows = xmalloc((size_t)room * sizeof *rows);
    size_t n = 0, all = (size_t)d->n_words + 1024;
    d->sub_start = xmalloc(((size_t)d->n_words + 1) * sizeof *d->sub_start);
    d->sub = xmalloc(all * sizeof *d->sub);
    for (int32_t i = 0; i < d->n_words; i++) {
        const struct fasttext_entry *e = &d->entries[i];
        struct fasttext_line l = {.d = d, .rows = rows, .max = room};
        put(&l, i);
        if (!is_end(d->text + e->name, e->len))
            put_subwords(&l, d->text + e->name, e->len);
        if (n + (size_t)l.n > all)
            d->sub = xrealloc(d->sub, (all = 2 * (n + (size_t)l.n)) * sizeof *d->sub);
        memcpy(d->sub + n, rows, (size_t)l.n * sizeof *rows);
        d->sub_start[i] = n;
        n += (size_t)l.n;
    }
    d->sub_start[d->n_words] = n;
    free(rows);
}

void fasttext_line_token(struct fasttext_line *l, const char *s, size_t n)
{
    const struct fasttext_dict *d = l->d;
    uint32_t hash = fasttext_hash(s, n);
    int32_t id = fasttext_dict_find(d, s, n, hash);
    bool is_label = id >= 0 ? d->entries[id].is_label
                            : n >= LABEL_LEN && memcmp(s, label_begin, LABEL_LEN) == 0;
    if (is_label) {
        if (id >= 0 && l->label < 0)
            l->label = id - d->n_words;
        return;
    }
    if (l->n_words == l->max_words) {
        l->cut = true;
        return;
    }
    l->hashes[l->n_words++] = hash;
    if (id >= 0)
        for (size_t i = d->sub_start[id]; i < d->sub_start[id + 1]; i++)
            put(l, d->sub[i]);
    else if (!is_end(s, n))
        put_subwords(l, s, n);
}

void fasttext_line_end(struct fasttext_line *l)
{
    const struct fasttext_args *a = &l->d->args;
    for (int32_t i = 0; i < l->n_words && a->bucket > 0; i++) {
        uint64_t h = (uint64_t)(int64_t)(int32_t)l->hashes[i];
        for (int32_t j = i + 1; j < l->n_words && j < i + a->word_ngrams; j++) {
            h = h * 116049371u + (uint64_t)(int64_t)(int32_t)l->hashes[j];
            put(l, hashed_row(l->d, (int32_t)(h % (uint64_t)a->bucket)));
        }
    }
}

static void read_token(void *arg, const char *s, size_t n)
{
    fasttext_line_token(arg, s, n);
}

void fasttext_line_title(struct fasttext_line *l, const struct words *w, const char *title,
                         size_t n)
{
    words_each(w, title, n, read_token, l);
    fasttext_line_token(l, end_of_line, END_LEN);
    fasttext_line_end(l);
}
