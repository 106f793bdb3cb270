/* Included twice by ops/rows_body.h, for int16 and int8 tables (ops/convpool_fixed.h): CELL the
 * element, LOAD a vector of them widened to int16, NAME(x) x with the type's suffix.
 *
 * BLOCK vectors of filters keep their sums and running maxima in registers while the title's rows
 * go by.  Every cell is read once a title, so the loop's cost is the loads. */

/* Filters [0, BLOCK * SL) of one title; w is a constant to the compiler where it is small. */
static inline __attribute__((always_inline)) void
NAME(fixed_block)(const CELL *tile, int w, const int32_t *row, int n, int16_t *y)
{
    size_t stride = (size_t)w * CONVPOOL_TILE;
    vs best[BLOCK];
    for (int v = 0; v < BLOCK; v++)
        best[v] = (vs){0} + INT16_MIN;
    for (int t = 0; t < n; t++) {
        int taps = t + w <= n ? w : n - t;
        vs sum[BLOCK];
        const CELL *p = tile + (size_t)row[t] * stride;
        for (int v = 0; v < BLOCK; v++)
            sum[v] = LOAD(p + v * SL);
        if (taps == w) { /* the count a constant */
            for (int j = 1; j < w; j++) {
                p = tile + (size_t)row[t + j] * stride + (size_t)j * CONVPOOL_TILE;
                for (int v = 0; v < BLOCK; v++)
                    sum[v] += LOAD(p + v * SL);
            }
        } else {
            for (int j = 1; j < taps; j++) {
                p = tile + (size_t)row[t + j] * stride + (size_t)j * CONVPOOL_TILE;
                for (int v = 0; v < BLOCK; v++)
                    sum[v] += LOAD(p + v * SL);
            }
        }
        for (int v = 0; v < BLOCK; v++)
            best[v] = max2s(sum[v], best[v]);
    }
    for (int v = 0; v < BLOCK; v++)
        memcpy(y + v * SL, &best[v], sizeof best[v]);
}

static inline __attribute__((always_inline)) void NAME(fixed_tile)(const CELL *tile, int w,
                                                                   const int32_t *row,
                                                                   const int32_t *start, int n,
                                                                   int16_t *y, size_t y_stride)
{
    for (int i = 0; i < n; i++, y += y_stride)
        for (int f = 0; f < CONVPOOL_TILE; f += BLOCK * SL)
            NAME(fixed_block)(tile + f, w, row + start[i], start[i + 1] - start[i], y + f);
}

static void NAME(rows_convpool)(const CELL *tile, int w, const int32_t *row, const int32_t *start,
                                int n, int16_t *y, size_t y_stride)
{
    switch (w) {
    case 1:
        NAME(fixed_tile)(tile, 1, row, start, n, y, y_stride);
        break;
    case 2:
        NAME(fixed_tile)(tile, 2, row, start, n, y, y_stride);
        break;
    case 3:
        NAME(fixed_tile)(tile, 3, row, start, n, y, y_stride);
        break;
    case 4:
        NAME(fixed_tile)(tile, 4, row, start, n, y, y_stride);
        break;
    case 5:
        NAME(fixed_tile)(tile, 5, row, start, n, y, y_stride);
        break;
    default:
        NAME(fixed_tile)(tile, w, row, start, n, y, y_stride);
    }
}
