#include "data/stats.h"

#include <stdlib.h>
#include <string.h>

#include "data/utf8.h"

#define CODE_POINTS 0x110000

static const char *title_at(const struct dataset *d, size_t i, size_t *n)
{
    *n = d->offset[i + 1] - d->offset[i];
    return d->text + d->offset[i];
}

static int compare(const struct dataset *a, size_t i, const struct dataset *b, size_t j)
{
    size_t n, m;
    const char *s = title_at(a, i, &n), *t = title_at(b, j, &m);
    int order = memcmp(s, t, n < m ? n : m);
    return order ? order : (n > m) - (n < m);
}

static int by_title_and_label(const void *a, const void *b, void *arg)
{
    const struct dataset *d = arg;
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    int order = compare(d, i, d, j);
    return order ? order : (d->labels[i] > d->labels[j]) - (d->labels[i] < d->labels[j]);
}

/* Rows of d in the order of title, then label. */
static size_t *sorted(const struct dataset *d)
{
    size_t *order = xmalloc((d->n + 1) * sizeof *order);
    for (size_t i = 0; i < d->n; i++)
        order[i] = i;
    qsort_r(order, d->n, sizeof *order, by_title_and_label, (void *)(size_t)d);
    return order;
}

/* The end of the run of equal titles that begins at order[i]. */
static size_t run_end(const struct dataset *d, const size_t *order, size_t i)
{
    size_t j = i + 1;
    while (j < d->n && compare(d, order[i], d, order[j]) == 0)
        j++;
    return j;
}

static void count_titles(struct stats *s, const struct dataset *d)
{
    size_t *order = sorted(d);
    for (size_t i = 0, end; i < d->n; i = end) {
        end = run_end(d, order, i);
        s->distinct++;
        s->two_labels += d->labels[order[i]] != d->labels[order[end - 1]];
    }
    free(order);
}

static int by_value(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void count_lengths(struct stats *s, const struct dataset *d)
{
    if (!d->n)
        return;
    unsigned char *seen = xcalloc(CODE_POINTS, 1);
    int32_t *lengths = xcalloc(d->n, sizeof *lengths);
    int64_t sum = 0;
    for (size_t i = 0; i < d->n; i++) {
        size_t n;
        const char *t = title_at(d, i, &n);
        for (size_t at = 0; at < n; lengths[i]++) {
            uint32_t c = utf8_next(t, n, &at);
            if (c < CODE_POINTS && !seen[c]) {
                seen[c] = 1;
                s->characters++;
            }
        }
        sum += lengths[i];
    }
    qsort(lengths, d->n, sizeof *lengths, by_value);
    s->length_mean = (double)sum / (double)d->n;
    s->length_p50 = lengths[(d->n * 50 + 99) / 100 - 1];
    s->length_p90 = lengths[(d->n * 90 + 99) / 100 - 1];
    s->length_p99 = lengths[(d->n * 99 + 99) / 100 - 1];
    s->length_max = lengths[d->n - 1];
    free(lengths);
    free(seen);
}

void stats_init(struct stats *s, const struct dataset *d, const struct classes *c)
{
    *s = (struct stats){.titles = (int64_t)d->n, .skipped = (int64_t)d->skipped, .classes = c->n};
    s->per_class = xcalloc((size_t)c->n, sizeof *s->per_class);
    for (size_t i = 0; i < d->n; i++)
        s->per_class[d->labels[i]]++;
    count_lengths(s, d);
    count_titles(s, d);
}

void stats_done(struct stats *s)
{
    free(s->per_class);
    s->per_class = NULL;
}

/* Both sets in the order of their titles, walked side by side. */
struct stats_overlap stats_overlap(const struct dataset *train, const struct dataset *other)
{
    struct stats_overlap o = {0};
    size_t *a = sorted(train), *b = sorted(other);
    for (size_t i = 0, j = 0; i < train->n && j < other->n;) {
        int order = compare(train, a[i], other, b[j]);
        size_t i_end = order <= 0 ? run_end(train, a, i) : i;
        size_t j_end = order >= 0 ? run_end(other, b, j) : j;
        if (order == 0) {
            o.titles++;
            o.lines += (int64_t)(j_end - j);
            for (size_t y = j; y < j_end; y++) {
                size_t x = i;
                while (x < i_end && train->labels[a[x]] != other->labels[b[y]])
                    x++;
                o.same_label += x < i_end;
            }
        }
        i = i_end;
        j = j_end;
    }
    free(a);
    free(b);
    return o;
}

struct set {
    const char *name;
    const struct dataset *d;
    struct stats s;
};

static void print_classes(FILE *out, const struct classes *c, const struct set *sets, int n)
{
    (void)fprintf(out, "classes (%d)\n", (int)c->n);
    for (int i = 0; i < n; i++)
        (void)fprintf(out, "%s%20s", i ? "" : "  index", sets[i].name);
    (void)fprintf(out, "  name\n");
    for (int32_t k = 0; k < c->n; k++) {
        (void)fprintf(out, "  %5d", (int)k);
        for (int i = 0; i < n; i++) {
            int64_t part = sets[i].s.per_class[k], all = sets[i].s.titles;
            (void)fprintf(out, "%12lld %7.2f%%", (long long)part,
                          all ? 100 * (double)part / (double)all : 0.0);
        }
        (void)fprintf(out, "  %s\n", c->names[k]);
    }
    (void)fprintf(out, "balance (largest class / smallest)\n");
    for (int i = 0; i < n; i++) {
        int64_t least = sets[i].s.per_class[0], most = least;
        for (int32_t k = 1; k < c->n; k++) {
            int64_t part = sets[i].s.per_class[k];
            least = part < least ? part : least;
            most = part > most ? part : most;
        }
        (void)fprintf(out, "  %-6s %lld / %lld", sets[i].name, (long long)most, (long long)least);
        if (least)
            (void)fprintf(out, " = %.2f\n", (double)most / (double)least);
        else
            (void)fprintf(out, ": a class without titles\n");
    }
}

static void print_set(FILE *out, const struct set *set)
{
    const struct stats *s = &set->s;
    (void)fprintf(out,
                  "  %-6s mean %.1f, p50 %d, p90 %d, p99 %d, max %d; %lld distinct characters\n",
                  set->name, s->length_mean, (int)s->length_p50, (int)s->length_p90,
                  (int)s->length_p99, (int)s->length_max, (long long)s->characters);
}

static void print_duplicates(FILE *out, const struct set *set)
{
    const struct stats *s = &set->s;
    (void)fprintf(out,
                  "  %-6s %lld distinct titles, %lld repeated lines, %lld titles with two labels\n",
                  set->name, (long long)s->distinct, (long long)(s->titles - s->distinct),
                  (long long)s->two_labels);
}

static void print_overlap(FILE *out, const struct set *a, const struct set *b)
{
    struct stats_overlap o = stats_overlap(a->d, b->d);
    (void)fprintf(
        out,
        "  %s and %s: %lld lines of %s (%lld titles) are in %s too, %lld with the same label\n",
        a->name, b->name, (long long)o.lines, b->name, (long long)o.titles, a->name,
        (long long)o.same_label);
}

int stats_print(FILE *out, const struct classes *c, const struct dataset *train,
                const struct dataset *dev, const struct dataset *test)
{
    struct set sets[3] = {{.name = "train", .d = train}};
    int n = 1;
    if (dev)
        sets[n++] = (struct set){.name = "dev", .d = dev};
    if (test)
        sets[n++] = (struct set){.name = "test", .d = test};
    (void)fprintf(out, "titles\n");
    for (int i = 0; i < n; i++) {
        stats_init(&sets[i].s, sets[i].d, c);
        (void)fprintf(out, "  %-6s %lld", sets[i].name, (long long)sets[i].s.titles);
        if (sets[i].s.skipped)
            (void)fprintf(out, " (%lld bad lines left out)", (long long)sets[i].s.skipped);
        (void)fprintf(out, "\n");
    }
    print_classes(out, c, sets, n);
    (void)fprintf(out, "length in characters\n");
    for (int i = 0; i < n; i++)
        print_set(out, &sets[i]);
    (void)fprintf(out, "duplicates\n");
    for (int i = 0; i < n; i++)
        print_duplicates(out, &sets[i]);
    if (n > 1)
        (void)fprintf(out, "overlap\n");
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++)
            print_overlap(out, &sets[i], &sets[j]);
    for (int i = 0; i < n; i++)
        stats_done(&sets[i].s);
    return ferror(out) ? -1 : 0;
}
