/* A model measured in this process: titles are tokenised, packed and classified in batches by a
 * number of threads; time is that of the whole, latency that of a batch. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/file.h"
#include "data/title.h"
#include "models/profile.h"
#include "worker/load.h"
#include "worker/verbs.h"

static const struct opt options[] = {
    LOAD_OPTIONS,
    {"titles", OPT_STR, NULL, 0, 0, NULL,
     "file of titles, one a line (what follows a tab is ignored)", false},
    {"batch", OPT_INT, "256", 1, 100000, NULL, "titles in a batch", false},
    {"threads", OPT_INT, "0", 0, 1024, NULL, "threads; 0 = as many as the cgroup allows processors",
     false},
    {"seconds", OPT_REAL, "3", 0.01, 3600, NULL, "how long to measure, after a warm-up pass",
     false},
    {"profile", OPT_BOOL, "false", 0, 0, NULL,
     "where the time goes, by kind of work (transformers)", false},
    {"json", OPT_BOOL, "false", 0, 0, NULL, "print JSON", false},
};
#define N_OPTIONS (sizeof options / sizeof *options)

#define MAX_SAMPLES 1000000

struct bench {
    const struct model *model;
    char *text;
    const char **titles;
    size_t *lens;
    size_t n;
    int batch;
    int64_t until_ns;
    atomic_size_t next;
    _Atomic int64_t headlines, tokens;
    double *samples; /* seconds of each batch */
    bool wants_profile;
    _Atomic int64_t spent_ns[PROFILE_OPS]; /* over all threads */
    atomic_size_t n_samples;
};

/* Splits the file into valid titles; bad ones are left out. */
static int read_titles(struct bench *b, const char *path, struct err *err)
{
    size_t len;
    if (file_read(path, (size_t)4 << 30, &b->text, &len, err) != 0)
        return -1;
    size_t cap = 0;
    for (char *p = b->text, *end = b->text + len; p < end;) {
        char *nl = memchr(p, '\n', (size_t)(end - p));
        char *stop = nl ? nl : end, *tab = memchr(p, '\t', (size_t)(stop - p));
        size_t n = (size_t)((tab ? tab : stop) - p);
        if (title_check(p, n, TITLE_MAX_BYTES, NULL) == TITLE_OK) {
            if (b->n == cap) {
                cap = cap ? 2 * cap : 4096;
                b->titles = xrealloc(b->titles, cap * sizeof *b->titles);
                b->lens = xrealloc(b->lens, cap * sizeof *b->lens);
            }
            b->titles[b->n] = p;
            b->lens[b->n++] = n;
        }
        p = stop + 1;
    }
    return b->n ? 0 : err_set(err, ERR_FORMAT, "%s: no title", path);
}

struct scratch {
    struct workspace *ws;
    int32_t *ids, *start;
    float *p;
};

static int64_t run_batch(struct bench *b, struct scratch *s, size_t from)
{
    const int32_t max = model_info(b->model)->max_tokens;
    for (int i = 0; i < b->batch; i++) {
        size_t t = (from + (size_t)i) % b->n;
        s->start[i + 1] = s->start[i] + model_encode(b->model, b->titles[t], b->lens[t],
                                                     s->ids + s->start[i], max, NULL);
    }
    struct batch batch = {.ids = s->ids, .start = s->start, .n = b->batch};
    model_classify(b->model, s->ws, &batch, s->p);
    return s->start[b->batch];
}

static void *bench_main(void *arg)
{
    struct bench *b = arg;
    const struct model_info *info = model_info(b->model);
    size_t ids = (size_t)b->batch * (size_t)info->max_tokens;
    struct scratch s = {
        .ws = workspace_open(b->model, b->batch, (int32_t)ids),
        .ids = xcalloc(ids, sizeof *s.ids),
        .start = xcalloc((size_t)b->batch + 1, sizeof *s.start),
        .p = xcalloc((size_t)b->batch * (size_t)info->n_labels, sizeof *s.p),
    };
    struct profile profile = {{0}};
    bool profiled = b->wants_profile && workspace_profile(s.ws, &profile);
    for (int64_t now = clock_ns(); now < b->until_ns;) {
        size_t from = atomic_fetch_add(&b->next, (size_t)b->batch);
        int64_t tokens = run_batch(b, &s, from % b->n), end = clock_ns();
        size_t slot = atomic_fetch_add(&b->n_samples, 1);
        if (slot < MAX_SAMPLES)
            b->samples[slot] = (double)(end - now) * 1e-9;
        atomic_fetch_add(&b->headlines, b->batch);
        atomic_fetch_add(&b->tokens, tokens);
        now = end;
    }
    for (int i = 0; i < PROFILE_OPS && profiled; i++)
        atomic_fetch_add(&b->spent_ns[i], profile.ns[i]);
    workspace_close(s.ws);
    free(s.ids);
    free(s.start);
    free(s.p);
    return NULL;
}

static double measure(struct bench *b, int threads, double seconds)
{
    pthread_t *ids = xcalloc((size_t)threads, sizeof *ids);
    int64_t begin = clock_ns();
    int started = 0;
    atomic_store(&b->headlines, 0);
    atomic_store(&b->tokens, 0);
    atomic_store(&b->n_samples, 0);
    for (int i = 0; i < PROFILE_OPS; i++)
        atomic_store(&b->spent_ns[i], 0);
    b->until_ns = begin + (int64_t)(seconds * 1e9);
    while (started < threads && pthread_create(&ids[started], NULL, bench_main, b) == 0)
        started++;
    for (int i = 0; i < started; i++)
        (void)pthread_join(ids[i], NULL);
    free(ids);
    return (double)(clock_ns() - begin) * 1e-9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double resident_mb(void)
{
    char *text = NULL;
    long pages = 0;
    if (file_read("/proc/self/statm", 4096, &text, NULL, NULL) == 0)
        (void)sscanf(text, "%*d %ld", &pages);
    free(text);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

/* A line for each kind of work: its share of all threads' time, and what a headline costs of it. */
static void report_profile(struct bench *b, bool json)
{
    double all = 0, headlines = (double)atomic_load(&b->headlines);
    for (int i = 0; i < PROFILE_OPS; i++)
        all += (double)atomic_load(&b->spent_ns[i]);
    if (all == 0 && !json)
        (void)printf("  no profile: this family keeps no times\n");
    if (json)
        (void)printf(",\"profile\":[");
    for (int i = 0; i < PROFILE_OPS && all > 0; i++) {
        double ns = (double)atomic_load(&b->spent_ns[i]);
        if (json)
            (void)printf("%s{\"op\":\"%s\",\"share\":%.4f,\"us_per_headline\":%.3f}", i ? "," : "",
                         profile_name((enum profile_op)i), ns / all, ns / 1e3 / headlines);
        else
            (void)printf("  %-34s %5.1f %%  %10.1f us a headline\n",
                         profile_name((enum profile_op)i), 100 * ns / all, ns / 1e3 / headlines);
    }
    if (json)
        (void)printf("]");
}

static void report(struct bench *b, double elapsed, double load_s, int threads, bool json)
{
    const struct model_info *info = model_info(b->model);
    struct buf name;
    size_t n = atomic_load(&b->n_samples);
    n = n < MAX_SAMPLES ? n : MAX_SAMPLES;
    if (n)
        qsort(b->samples, n, sizeof *b->samples, by_value);
    double p50 = n ? b->samples[n / 2] * 1e3 : 0,
           p99 = n ? b->samples[n - 1 - (n - 1) / 100] * 1e3 : 0;
    double rate = (double)atomic_load(&b->headlines) / elapsed,
           tokens = (double)atomic_load(&b->tokens) / elapsed;
    if (json) {
        buf_init(&name, 10000);
        buf_put_json(&name, info->name, strlen(info->name));
        (void)printf(
            "{\"model\":{\"name\":\"%s\",\"version\":\"%s\"},\"family\":\"%s\",\"precision\":\"%"
            "s\",\"threads\":%d,\"batch\":%d,\"headlines_per_"
            "s\":%.1f,"
            "\"tokens_per_s\":%.1f,\"latency_ms\":{\"p50\":%.4f,\"p99\":%.4f},\"load_s\":%.4f,"
            "\"weights_mb\":%.3f,\"resident_mb\":%.1f",
            name.data ? name.data : "", info->version, info->family,
            precision_name(info->precision), threads, b->batch, rate, tokens, p50, p99, load_s,
            (double)info->weights_bytes / 1e6, resident_mb());
        buf_done(&name);
    } else {
        (void)printf("%s version %s, %s, %s, %d thread(s), batch %d\n  %.0f headlines/s, %.0f "
                     "tokens/s\n  batch "
                     "latency p50 %.3f ms, "
                     "p99 %.3f ms\n  loaded in %.3f s, weights %.1f MB, resident %.1f MB\n",
                     info->name, info->version, info->family, precision_name(info->precision),
                     threads, b->batch, rate, tokens, p50, p99, load_s,
                     (double)info->weights_bytes / 1e6, resident_mb());
    }
    if (b->wants_profile)
        report_profile(b, json);
    if (json)
        (void)printf("}\n");
}

int verb_bench(int argc, char **argv)
{
    struct options *o = options_open(options, N_OPTIONS, NULL);
    struct err err = {0};
    struct model *m = NULL;
    struct bench b = {0};
    int n_rest = 0, status = 0;
    const char **rest = xcalloc((size_t)argc + 1, sizeof(char *));
    if (argc > 0 && strcmp(argv[0], "--help") == 0) {
        (void)printf("usage: rubric-worker bench --model DIR --titles FILE\n"
                     "       rubric-worker bench --registry URL --name NAME --titles FILE\n\n");
        options_help(options, N_OPTIONS, stdout);
        goto end;
    }
    int64_t begin = clock_ns();
    if (load_read_args(o, argc, argv, rest, &n_rest, &err) != 0 ||
        (n_rest && err_set(&err, ERR_USAGE, "unexpected argument \"%s\"", rest[0]) != 0) ||
        (!options_str(o, "titles") &&
         err_set(&err, ERR_USAGE, "titles is not set: the file of titles") != 0) ||
        load_model(o, false, NULL, &m, NULL, &err) != 0) {
        (void)fprintf(stderr, "rubric-worker bench: %s\n", err.msg);
        status = err_exit_status(&err);
        goto end;
    }
    double load_s = (double)(clock_ns() - begin) * 1e-9;
    if (read_titles(&b, options_str(o, "titles"), &err) != 0) {
        (void)fprintf(stderr, "rubric-worker bench: %s\n", err.msg);
        status = err_exit_status(&err);
        goto end;
    }
    b.model = m;
    b.wants_profile = options_bool(o, "profile");
    b.batch = (int)options_int(o, "batch");
    b.samples = xcalloc(MAX_SAMPLES, sizeof *b.samples);
    int threads = (int)options_int(o, "threads");
    threads = threads ? threads : cpu_count();
    double seconds = options_real(o, "seconds");
    (void)measure(&b, threads, seconds / 5 < 0.5 ? seconds / 5 : 0.5);
    report(&b, measure(&b, threads, seconds), load_s, threads, options_bool(o, "json"));
end:
    free(b.samples);
    free(b.titles);
    free(b.lens);
    free(b.text);
    model_close(m);
    options_close(o);
    free(rest);
    return status;
}
