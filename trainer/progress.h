/* What a person watches while the trainer works. On a terminal a bar is redrawn in place, at most
 * ten times a second: train.txt    [#########...........]  46 %  4.6/9.9 MB epoch 2/8
 * [####................]  21 %  301/1407  3.4 it/s  loss 0.3120  acc 90.12 %  left 0:05:25
 * Elsewhere nothing is drawn; progress_end's line is all that is written. One thread uses a struct
 * progress at a time. */
#ifndef TRAINER_PROGRESS_H
#define TRAINER_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *out;
    bool tty, drawn;
    char label[48];
    int64_t start_ns, drawn_ns, first, total;
};

/* first: how many of the total were done before this run (a resumed epoch); they do not count for
 * the rate. */
void progress_begin(struct progress *p, FILE *out, const char *label, int64_t first, int64_t total);
/* detail is put behind the bar; it may be NULL. */
void progress_step(struct progress *p, int64_t done, const char *detail);
void progress_clear(struct progress *p); /* takes the bar away so that a line can be written */
/* Takes the bar away and writes "label: text". */
void progress_end(struct progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

double progress_rate(const struct progress *p, int64_t done);  /* a second; 0 when unknown */
int64_t progress_left(const struct progress *p, int64_t done); /* seconds; -1 when unknown */

/* "1:02:03"; "-:--:--" for a negative number. Returns s. */
char *progress_duration(int64_t seconds, char s[24]);

#endif
