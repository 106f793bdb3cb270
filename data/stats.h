/* What a folder of labelled headlines is like: classes and their balance, lengths, duplicates,
 * contradictions, and what train shares with dev and test. Lengths are in characters (code points
 * of the title as stored). Two titles are the same when their bytes are. */
#ifndef DATA_STATS_H
#define DATA_STATS_H

#include <stdint.h>
#include <stdio.h>

#include "data/dataset.h"

struct stats {
    int64_t titles, skipped;
    int64_t *per_class; /* [classes] titles of each */
    int32_t classes;
    double length_mean;
    int32_t length_p50, length_p90, length_p99,
        length_max;     /* a percentile is the least length that p % do not exceed */
    int64_t characters; /* distinct code points */
    int64_t distinct;   /* distinct titles; titles - distinct lines repeat an earlier one */
    int64_t two_labels; /* distinct titles that carry more than one label */
};

struct stats_overlap {
    int64_t lines;      /* of the other set, whose title is in train too */
    int64_t titles;     /* the same, counted once each */
    int64_t same_label; /* of those lines: train has the title with that label */
};

void stats_init(struct stats *s, const struct dataset *d, const struct classes *c);
void stats_done(struct stats *s);
struct stats_overlap stats_overlap(const struct dataset *train, const struct dataset *other);

/* A folder as a page of text. train is needed; dev and test may be NULL. Returns 0, -1 when out
 * does not take it. */
int stats_print(FILE *out, const struct classes *c, const struct dataset *train,
                const struct dataset *dev, const struct dataset *test);

#endif
