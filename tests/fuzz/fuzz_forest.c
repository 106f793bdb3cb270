/* Any bytes as a forest's tensors: refused with a message, or every tree can be walked to a leaf. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "models/forest.h"

enum { LABELS = 2, FEATURES = 70 };

static void require(int good)
{
    if (!good)
        abort();
}

/* The next n bytes, aligned; zeros where there are no more. */
static void *take(const uint8_t **data, size_t *size, size_t n)
{
    void *out = calloc(1, n + 1);
    size_t there = n < *size ? n : *size;
    memcpy(out, *data, there);
    *data += there;
    *size -= there;
    return out;
}

static void walk(const struct forest *f, const uint8_t *present)
{
    struct forest_row row = forest_row_open(FEATURES);
    int32_t index[FEATURES], n = 0;
    float value[FEATURES];
    for (int32_t i = 0; i < FEATURES; i++)
        if (present[i] % 2) {
            index[n] = i;
            value[n++] = (float)present[i] / 255;
        }
    double sum[LABELS] = {0};
    forest_row_put(&row, index, value, n);
    forest_add(f, &row, 0, f->trees, sum);
    require(sum[0] + sum[1] > 0.99 * f->trees && sum[0] + sum[1] < 1.01 * f->trees);
    forest_row_close(&row);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *head = take(&data, &size, 3);
    int64_t questions = head[1], leaves = head[2];
    struct forest f = {.trees = 1 + head[0] % 16, .labels = LABELS};
    uint8_t *present = take(&data, &size, FEATURES);
    int32_t *feature = take(&data, &size, (size_t)questions * 4);
    float *threshold = take(&data, &size, (size_t)questions * 4);
    float *leaf = take(&data, &size, (size_t)leaves * LABELS * 4);
    int64_t nodes = (int64_t)size / 3;
    const struct tensor tensors[] = {
        {"question_feature", DT_I32, 1, {questions}, feature, (size_t)questions * 4, NULL, false},
        {"question_threshold",
         DT_F32,
         1,
         {questions},
         threshold,
         (size_t)questions * 4,
         NULL,
         false},
        {"node", DT_U8, 2, {nodes, 3}, data, (size_t)nodes * 3, NULL, false},
        {"leaf", DT_F32, 2, {leaves, LABELS}, leaf, (size_t)leaves * LABELS * 4, NULL, false},
    };
    struct tensor_set set;
    struct err err = {0};
    require(tensor_set_init(&set, "fuzz", tensors, sizeof tensors / sizeof *tensors, &err) == 0);
    if (forest_read(&set, FEATURES, &f, &err) == 0) {
        walk(&f, present);
        forest_done(&f);
    } else {
        require((err.code == ERR_FORMAT || err.code == ERR_NUMERIC) && err.msg[0] && !f.node);
    }
    tensor_set_done(&set);
    free(head);
    free(present);
    free(feature);
    free(threshold);
    free(leaf);
    return 0;
}
