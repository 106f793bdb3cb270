#include "models/nezha.h"

#include <math.h>
#include <stdlib.h>

#include "base/err.h"
#include "ops/attention.h"
#include "ops/rows.h"

void nezha_tables(const struct transformer_config *cfg, int max_tokens, float **key_table,
                  float **value_table)
{
    int d = cfg->head_size, n = 2 * max_tokens - 1, most = cfg->max_relative;
    float *rows_of = xcalloc((size_t)n * (size_t)d + ROWS_PAD, sizeof *rows_of);
    for (int i = 0; i < n; i++) {
        int distance = i - (max_tokens - 1);
        int at = (distance > most ? most : distance < -most ? -most : distance) + most;
        for (int j = 0; j < d; j++) {
            double angle = at * exp((double)(j / 2 * 2) * -(log(10000.0) / d));
            rows_of[(size_t)i * (size_t)d + (size_t)j] = (float)(j % 2 ? cos(angle) : sin(angle));
        }
    }
    *key_table = xmalloc((size_t)d * (size_t)attention_table_ld(max_tokens) * sizeof **key_table);
    attention_transpose_table(*key_table, rows_of, d, max_tokens, d);
    *value_table = rows_of;
}
