#include "trainer/checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/safetensors.h"

#define FORMAT "2"
enum { TEXT = 64 };

/* The numbers, once: name and place. */
struct number {
    const char *name;
    int64_t *whole; /* this or that */
    double *real;
};
#define N_NUMBERS 12

static void numbers(struct checkpoint *c, int64_t *publish, struct number list[N_NUMBERS])
{
    const struct number all[N_NUMBERS] = {
        {"format", NULL, NULL},
        {"iteration", &c->iteration, NULL},
        {"best_iteration", &c->best_iteration, NULL},
        {"improved", &c->improved, NULL},
        {"seen", &c->seen, NULL},
        {"labelled", &c->labelled, NULL},
        {"correct", &c->correct, NULL},
        {"publish", publish, NULL},
        {"best_loss", NULL, &c->best_loss},
        {"best_accuracy", NULL, &c->best_accuracy},
        {"loss_sum", NULL, &c->loss_sum},
        {"seconds", NULL, &c->seconds},
    };
    memcpy(list, all, sizeof all);
}

struct block {
    const char *name;
    float *data;
};
#define N_BLOCKS 5

static void blocks(const struct checkpoint *c, struct block list[N_BLOCKS])
{
    const struct block all[N_BLOCKS] = {
        {"weights", c->w}, {"adam.m", c->m}, {"adam.v", c->v}, {"best", c->best}, {"ema", c->ema}};
    memcpy(list, all, sizeof all);
}

int checkpoint_write(const char *path, const struct checkpoint *c, const char *settings,
                     struct err *err)
{
    struct checkpoint copy = *c;
    int64_t publish = c->publish;
    struct number list[N_NUMBERS];
    struct block data[N_BLOCKS];
    numbers(&copy, &publish, list);
    blocks(c, data);

    const char *meta[2 * N_NUMBERS + 3];
    char text[N_NUMBERS][TEXT];
    size_t n = 0;
    for (int i = 0; i < N_NUMBERS; i++) {
        if (list[i].whole)
            (void)snprintf(text[i], TEXT, "%lld", (long long)*list[i].whole);
        else if (list[i].real)
            (void)snprintf(text[i], TEXT, "%a", *list[i].real);
        else
            (void)snprintf(text[i], TEXT, FORMAT);
        meta[n++] = list[i].name;
        meta[n++] = text[i];
    }
    meta[n++] = "settings";
    meta[n++] = settings;
    meta[n] = NULL;

    struct tensor t[N_BLOCKS + 1];
    size_t tensors = 0;
    for (int i = 0; i < N_BLOCKS; i++)
        if (data[i].data)
            t[tensors++] = (struct tensor){.name = data[i].name,
                                           .dtype = DT_F32,
                                           .n_dims = 1,
                                           .dims = {(int64_t)c->size},
                                           .data = data[i].data,
                                           .bytes = c->size * sizeof(float)};
    t[tensors++] = (struct tensor){.name = "log",
                                   .dtype = DT_U8,
                                   .n_dims = 1,
                                   .dims = {(int64_t)c->log.len},
                                   .data = c->log.len ? c->log.data : "",
                                   .bytes = c->log.len};
    return safetensors_write(path, t, tensors, meta, err);
}

static int same_settings(const char *path, const char *was, const char *now, struct err *err)
{
    for (;;) {
        size_t a = strcspn(was, "\n"), b = strcspn(now, "\n");
        if (a != b || memcmp(was, now, a) != 0)
            return err_set(err, ERR_CONFLICT,
                           "%s: cannot be resumed with other settings: it was made with \"%.*s\", "
                           "this run has \"%.*s\"",
                           path, (int)a, was, (int)b, now);
        if (!was[a] || !now[b])
            return 0;
        was += a + 1;
        now += b + 1;
    }
}

static int read_numbers(const char *path, const struct safetensors *st,
                        const struct number list[N_NUMBERS], struct err *err)
{
    for (int i = 0; i < N_NUMBERS; i++) {
        const char *text = safetensors_meta(st, list[i].name);
        char *end = NULL;
        bool good = text && *text;
        if (good && list[i].whole) {
            *list[i].whole = strtoll(text, &end, 10);
            good = !*end && *list[i].whole >= 0;
        } else if (good && list[i].real) {
            *list[i].real = strtod(text, &end);
            good = !*end && !isnan(*list[i].real);
        } else if (good) {
            good = strcmp(text, FORMAT) == 0;
        }
        if (!good && text && strcmp(list[i].name, "format") == 0)
            return err_set(err, ERR_FORMAT,
                           "%s: a training checkpoint of format \"%s\", expected " FORMAT
                           ": another version wrote it; --overwrite starts anew",
                           path, text);
        if (!good)
            return err_set(err, ERR_FORMAT, "%s: not a training checkpoint: %s = \"%s\"", path,
                           list[i].name, text ? text : "(missing)");
    }
    return 0;
}

static int read_blocks(const char *path, const struct safetensors *st, struct checkpoint *c,
                       struct err *err)
{
    struct block data[N_BLOCKS];
    const int64_t dims[] = {(int64_t)c->size};
    const struct tensor *t;
    blocks(c, data);
    for (int i = 0; i < N_BLOCKS; i++) {
        if (!data[i].data)
            continue;
        if (tensor_set_need(safetensors_tensors(st), data[i].name, 1, dims, &t, err) != 0)
            return -1;
        if (tensor_to_f32(t, data[i].data, err) != 0)
            return err_prefix(err, "%s", path);
    }
    return 0;
}

int checkpoint_read(const char *path, struct checkpoint *c, const char *settings, struct err *err)
{
    struct safetensors *st;
    struct number list[N_NUMBERS];
    int64_t publish = 0;
    if (safetensors_open(path, &st, err) != 0)
        return -1;
    numbers(c, &publish, list);
    const char *was = safetensors_meta(st, "settings");
    const struct tensor *log = tensor_set_find(safetensors_tensors(st), "log");
    int rc = 0;
    if (!was || !log || log->dtype != DT_U8)
        rc = err_set(err, ERR_FORMAT, "%s: not a training checkpoint", path);
    else
        rc = same_settings(path, was, settings, err);
    if (rc == 0)
        rc = read_numbers(path, st, list, err);
    if (rc == 0)
        rc = read_blocks(path, st, c, err);
    if (rc == 0) {
        c->publish = publish != 0;
        buf_reset(&c->log);
        if (log->bytes)
            buf_put(&c->log, log->data, log->bytes);
    }
    safetensors_close(st);
    return rc;
}
