/* Part of ops/rows_body.h, once for each type of a table's cells: convolution and pooling over a table of
 * CELL, which LOAD reads VL of as floats and VALUE one of; NAME(name) is the name of this type's function.
 *
 * A block of BLOCK vectors of filters keeps its sums and running maxima in registers while the
 * title's rows go by.  Every value of a row is read once, so the loop's cost is the loads: width
 * and the number of taps are constants to the compiler. */

/* The next block's columns of the same row: the table lies in the third-level cache or in memory,
 * and a title's twenty rows are more streams than the hardware follows. */
#undef AHEAD
#define AHEAD(p)                                                                                   \
    for (size_t line_ = 0; line_ < BLOCK * VL * sizeof *(p); line_ += 64)                          \
    __builtin_prefetch((const char *)((p) + BLOCK * VL) + line_)

/* One window: the sum of `taps` taps at position t, for BLOCK vectors from column c of the width's
 * first tap. */
static inline __attribute__((always_inline)) void
NAME(convpool_window)(const CELL *const *at, int t, int taps, size_t c, size_t f, vf sum[BLOCK])
{
    for (int v = 0; v < BLOCK; v++)
        sum[v] = LOAD(at[t] + c + (size_t)v * VL);
    AHEAD(at[t] + c);
    for (int j = 1; j < taps; j++) {
        const CELL *p = at[t + j] + c + (size_t)j * f;
        AHEAD(p);
        for (int v = 0; v < BLOCK; v++)
            sum[v] += LOAD(p + (size_t)v * VL);
    }
}

static inline __attribute__((always_inline)) void NAME(convpool_block)(const CELL *const *at, int n,
                                                                       int w, size_t c, size_t f,
                                                                       float *y, int32_t *arg)
{
    vf best[BLOCK], sum[BLOCK];
    vi where[BLOCK];
    NAME(convpool_window)(at, 0, w < n ? w : n, c, f, best);
    for (int v = 0; v < BLOCK; v++)
        where[v] = (vi){0};
    int t = 1;
    for (; t + w <= n; t++) {
        NAME(convpool_window)(at, t, w, c, f, sum);
        for (int v = 0; v < BLOCK; v++) {
            if (arg)
                where[v] = (vi)pick(sum[v] > best[v], (vf)(t - (vi){0}), (vf)where[v]);
            best[v] = max2(sum[v], best[v]);
        }
    }
    for (; t < n; t++) { /* the windows that reach past the end */
        NAME(convpool_window)(at, t, n - t, c, f, sum);
        for (int v = 0; v < BLOCK; v++) {
            if (arg)
                where[v] = (vi)pick(sum[v] > best[v], (vf)(t - (vi){0}), (vf)where[v]);
            best[v] = max2(sum[v], best[v]);
        }
    }
    for (int v = 0; v < BLOCK; v++) {
        store(y + v * VL, best[v]);
        if (arg)
            memcpy(arg + v * VL, &where[v], sizeof where[v]);
    }
}

/* The filters that fill no block, one at a time. */
static void NAME(convpool_single)(const CELL *const *at, int n, int w, size_t c, size_t f, float *y,
                                  int32_t *arg)
{
    float best = 0.0f;
    int32_t where = 0;
    for (int t = 0; t < n; t++) {
        float sum = VALUE(at[t] + c);
        for (int j = 1; j < w && t + j < n; j++)
            sum += VALUE(at[t + j] + c + (size_t)j * f);
        if (t == 0 || sum > best) {
            best = sum;
            where = t;
        }
    }
    *y = best;
    if (arg)
        *arg = where;
}

static inline __attribute__((always_inline)) void NAME(convpool_width)(const CELL *const *at, int n,
                                                                       int w, size_t c, int filters,
                                                                       float *y, int32_t *arg)
{
    int f = 0;
    for (; f + BLOCK * VL <= filters; f += BLOCK * VL) {
        int32_t *where = arg ? arg + f : NULL;
        NAME(convpool_block)(at, n, w, c + (size_t)f, (size_t)filters, y + f, where);
    }
    for (; f < filters; f++) {
        int32_t *where = arg ? arg + f : NULL;
        NAME(convpool_single)(at, n, w, c + (size_t)f, (size_t)filters, y + f, where);
    }
}

static inline __attribute__((always_inline)) void NAME(convpool_widths)(const struct convpool *s,
                                                                        const CELL *const *at,
                                                                        int n, float *y,
                                                                        int32_t *arg)
{
    size_t c = 0;
    for (int i = 0; i < s->n_widths; i++) {
        switch (s->widths[i]) {
        case 1:
            NAME(convpool_width)(at, n, 1, c, s->n_filters, y, arg);
            break;
        case 2:
            NAME(convpool_width)(at, n, 2, c, s->n_filters, y, arg);
            break;
        case 3:
            NAME(convpool_width)(at, n, 3, c, s->n_filters, y, arg);
            break;
        case 4:
            NAME(convpool_width)(at, n, 4, c, s->n_filters, y, arg);
            break;
        case 5:
            NAME(convpool_width)(at, n, 5, c, s->n_filters, y, arg);
            break;
        default:
            NAME(convpool_width)(at, n, s->widths[i], c, s->n_filters, y, arg);
        }
        c += (size_t)s->widths[i] * (size_t)s->n_filters;
        y += s->n_filters;
        arg = arg ? arg + s->n_filters : NULL;
    }
}

static void NAME(rows_convpool)(const struct convpool *s, const CELL *p, const int32_t *row, int t,
                                float *y, int32_t *arg)
{
    const CELL *at[CONVPOOL_MAX_TOKENS];
    for (int i = 0; i < t; i++)
        at[i] = p + (size_t)row[i] * (size_t)s->stride;
    if (arg) {
        NAME(convpool_widths)(s, at, t, y, arg);
        return;
    }
    NAME(convpool_widths)(s, at, t, y, NULL);
}
