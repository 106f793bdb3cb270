/* Charts as inline SVG, without scripts: lines over steps, bars over bins. Colours come from the
 * page's style (classes line0, line1, grid, mark, bar), and no meaning hangs on colour alone: the
 * second line is dashed, a title and a description are read aloud. Pure functions that append to
 * out. */
#ifndef TRAINER_CHART_H
#define TRAINER_CHART_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define CHART_LINES 2

struct chart {
    const char *id;    /* of the page's elements, [a-z-]+ */
    const char *title; /* what is drawn */
    const char *x_name;
    const char *names[CHART_LINES]; /* of the lines */
    const double *x;                /* [n], ascending, from 0 on */
    const double *y[CHART_LINES];   /* [n] each, finite, from 0 on */
    size_t n;                       /* at least 1 */
    double mark;                    /* this x is marked; below 0: none */
    const char *mark_name;
    bool
        percent; /* y is a part of 1 and printed as %; the axis fits the values, else it is from 0 */
};
void chart_lines(const struct chart *c, struct buf *out);

/* Bars of n equal bins of 0 .. 1, each from 0 to y[i] (0 .. 1), with the diagonal beside them. A bin
 * with y[i] < 0 is empty and has no bar. */
void chart_reliability(const char *id, const char *title, const double *y, int n, struct buf *out);

/* The step of an axis: 1, 2 or 5 times a power of ten, so that range holds four to ten of them. */
double chart_step(double range);

#endif
