/* The engine of this repository as one contestant of tests/bench/engines, with the line protocol of
 * its peers (engines_peers/peer.py): a JSON object a line on stdout for each line on stdin.
 *     (start)            {"ready": true, ...} once the model has answered one title
 *     sorted, padded     one pass over all titles in works of a quarter of --batch titles, longest
 *                        first or as they come; nothing is padded in either: {"s": seconds, "rss_mb": ...}
 *     single             the first --singles titles one after another: {"s": ..., "ms": [latency of
 *                        each], ...}
 *     answers            {"answers": [[probabilities] of each title]}
 *     quit
 * Ids come from --work FILE, a JSON object {"ids": [[...], ...]} made once for all contestants, or,
 * where it has none, "titles": [...], which the model's own tokenizer encodes; with both, titles
 * that the two encode differently are counted in "ids_differ".  Neither tokenising nor packing is
 * in the times.  Works go to one thread each, so a single title is one thread's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/options.h"
#include "base/pool.h"
#include "models/model.h"

enum { MAX_WORK = 256 << 20 };

static const struct opt options[] = {
    {"model", OPT_STR, NULL, 0, 0, NULL, "model directory", false},
    {"work", OPT_STR, NULL, 0, 0, NULL, "JSON file of ids or titles", false},
    {"precision", OPT_STR, "auto", 0, 0, NULL, "as rubric-worker takes it", false},
    {"batch", OPT_INT, "128", 1, 100000, NULL, "titles in a work at most", false},
    {"singles", OPT_INT, "128", 1, 10000000, NULL, "titles of a pass one at a time", false},
    {"threads", OPT_INT, "0", 0, 1024, NULL, "threads; 0 = what the cgroup allows", false},
};
#define N_OPTIONS (sizeof options / sizeof *options)

/* Packed ids of titles in some order, cut into works: work w has the titles first[w] .. first[w +
 * 1) of order. */
struct plan {
    int32_t n, n_works;
    int32_t *order, *first, *ids, *start; /* [n], [n_works + 1], [start[n]], [n + 1] */
};

struct engine {
    struct model *model;
    struct pool *pool;
    int threads;
    struct workspace **ws; /* [threads] */
    int32_t n, n_labels, singles;
    int32_t **ids, *len; /* [n], of each title as they come */
    int32_t differ;      /* titles whose ids the model's own tokenizer makes differently */
    struct plan sorted, padded;
    float *p;       /* [n][n_labels] in the order of the plan that ran last */
    int32_t **offs; /* [threads][batch + 1] */
};

static double resident_mb(void)
{
    char *text = NULL;
    long pages = 0;
    if (file_read("/proc/self/statm", 4096, &text, NULL, NULL) == 0)
        (void)sscanf(text, "%*d %ld", &pages);
    free(text);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

static double seconds_since(int64_t begin)
{
    return (double)(clock_ns() - begin) * 1e-9;
}

/* What the model's tokenizer makes of title i, compared with ids (or taken as such where there are
 * none). */
static int take_title(struct engine *e, size_t i, const json_t *title, struct err *err)
{
    int32_t max = model_info(e->model)->max_tokens;
    int32_t *own = xcalloc((size_t)max, sizeof *own);
    if (!json_is_string(title)) {
        free(own);
        return err_set(err, ERR_FORMAT, "titles[%zu] is no string", i);
    }
    int32_t n =
        model_encode(e->model, json_string_value(title), json_string_length(title), own, max, NULL);
    if (e->ids[i]) {
        if (n != e->len[i] || memcmp(own, e->ids[i], (size_t)n * sizeof *own) != 0)
            e->differ++;
        free(own);
    } else {
        e->ids[i] = own;
        e->len[i] = n;
    }
    return 0;
}

static int take_ids(struct engine *e, size_t i, const json_t *row, struct err *err)
{
    size_t n = json_array_size(row), max = (size_t)model_info(e->model)->max_tokens;
    if (n < 1 || n > max)
        return err_set(err, ERR_FORMAT, "ids[%zu] has %zu ids, not 1 to %zu", i, n, max);
    e->ids[i] = xcalloc(n, sizeof **e->ids);
    e->len[i] = (int32_t)n;
    for (size_t t = 0; t < n; t++) {
        const json_t *id = json_array_get(row, t);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX)
            return err_set(err, ERR_FORMAT, "ids[%zu][%zu] is no id", i, t);
        e->ids[i][t] = (int32_t)json_integer_value(id);
    }
    return 0;
}

static int take_work(struct engine *e, const json_t *work, struct err *err)
{
    const json_t *ids = json_object_get(work, "ids"), *titles = json_object_get(work, "titles");
    size_t n = json_array_size(ids ? ids : titles);
    if (n < 1 || n > 10000000)
        return err_set(err, ERR_FORMAT, "neither ids nor titles");
    if (ids && titles && json_array_size(titles) != n)
        return err_set(err, ERR_CONFLICT, "%zu titles, but ids of %zu", json_array_size(titles), n);
    e->n = (int32_t)n;
    e->ids = xcalloc(n, sizeof *e->ids);
    e->len = xcalloc(n, sizeof *e->len);
    for (size_t i = 0; i < n; i++)
        if ((ids && take_ids(e, i, json_array_get(ids, i), err) != 0) ||
            (titles && take_title(e, i, json_array_get(titles, i), err) != 0))
            return -1;
    return 0;
}

static int read_work(struct engine *e, const char *path, struct err *err)
{
    json_t *work = json_parse_file(path, MAX_WORK, err);
    if (!work)
        return -1;
    int rc = take_work(e, work, err);
    json_decref(work);
    return rc == 0 ? 0 : err_prefix(err, "%s", path);
}

static const int32_t *lengths; /* for by_length; one thread plans */

static int by_length(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (lengths[x] != lengths[y])
        return lengths[x] < lengths[y] ? 1 : -1;
    return (x > y) - (x < y);
}

/* Works as few as batch allows, as many as fill all threads, and of one size but for the last: the
 * rule of all contestants that answer on several streams (peer.py: cut). */
static void plan_open(struct plan *p, const struct engine *e, int32_t batch, bool sort)
{
    size_t n = (size_t)e->n, total = 0;
    int32_t works = (e->n + batch - 1) / batch;
    works = (works + e->threads - 1) / e->threads * e->threads;
    int32_t each = (e->n + works - 1) / works;
    *p = (struct plan){.n = e->n, .n_works = (e->n + each - 1) / each};
    p->order = xcalloc(n, sizeof *p->order);
    for (int32_t i = 0; i < e->n; i++) {
        p->order[i] = i;
        total += (size_t)e->len[i];
    }
    lengths = e->len;
    if (sort)
        qsort(p->order, n, sizeof *p->order, by_length);
    p->first = xcalloc((size_t)p->n_works + 1, sizeof *p->first);
    for (int32_t w = 0; w <= p->n_works; w++)
        p->first[w] = w * each < e->n ? w * each : e->n;
    p->ids = xcalloc(total, sizeof *p->ids);
    p->start = xcalloc(n + 1, sizeof *p->start);
    for (int32_t i = 0; i < e->n; i++) {
        int32_t t = p->order[i];
        memcpy(p->ids + p->start[i], e->ids[t], (size_t)e->len[t] * sizeof *p->ids);
        p->start[i + 1] = p->start[i] + e->len[t];
    }
}

static void plan_close(struct plan *p)
{
    free(p->order);
    free(p->first);
    free(p->ids);
    free(p->start);
}

/* Titles from .. to - 1 of the plan as one batch on this thread's workspace. */
static void classify(struct engine *e, const struct plan *p, int32_t from, int32_t to, int thread)
{
    int32_t *start = e->offs[thread];
    for (int32_t i = from; i <= to; i++)
        start[i - from] = p->start[i] - p->start[from];
    struct batch b = {.ids = p->ids + p->start[from], .start = start, .n = to - from};
    model_classify(e->model, e->ws[thread], &b, e->p + (size_t)from * (size_t)e->n_labels);
}

struct pass {
    struct engine *e;
    const struct plan *p;
};

static void run_work(void *arg, int piece, int thread)
{
    const struct pass *a = arg;
    classify(a->e, a->p, a->p->first[piece], a->p->first[piece + 1], thread);
}

static void run_pass(struct engine *e, const struct plan *p)
{
    struct pass a = {e, p};
    pool_run(e->pool, p->n_works, run_work, &a);
}

static void say_pass(struct engine *e, const struct plan *p)
{
    int64_t begin = clock_ns();
    run_pass(e, p);
    double s = seconds_since(begin);
    (void)printf("{\"s\": %.6f, \"rss_mb\": %.1f}\n", s, resident_mb());
}

static void say_single(struct engine *e)
{
    int32_t n = e->singles < e->n ? e->singles : e->n;
    double *ms = xcalloc((size_t)n, sizeof *ms);
    int64_t begin = clock_ns();
    for (int32_t i = 0; i < n; i++) {
        int64_t t = clock_ns();
        classify(e, &e->padded, i, i + 1, 0);
        ms[i] = seconds_since(t) * 1e3;
    }
    (void)printf("{\"s\": %.6f, \"rss_mb\": %.1f, \"ms\": [", seconds_since(begin), resident_mb());
    for (int32_t i = 0; i < n; i++)
        (void)printf("%s%.4f", i ? ", " : "", ms[i]);
    (void)printf("]}\n");
    free(ms);
}

static void say_answers(struct engine *e)
{
    run_pass(e, &e->padded); /* in the order of the titles */
    (void)printf("{\"answers\": [");
    for (int32_t i = 0; i < e->n; i++)
        for (int32_t c = 0; c < e->n_labels; c++)
            (void)printf("%s%.7f%s",
                         c   ? ", "
                         : i ? ", ["
                             : "[",
                         (double)e->p[(size_t)i * (size_t)e->n_labels + (size_t)c],
                         c + 1 == e->n_labels ? "]" : "");
    (void)printf("]}\n");
}

/* Serves stdin; an unknown line is answered with an error. */
static void serve(struct engine *e)
{
    char line[64];
    while (fgets(line, sizeof line, stdin) && strcmp(line, "quit\n") != 0) {
        if (strcmp(line, "sorted\n") == 0)
            say_pass(e, &e->sorted);
        else if (strcmp(line, "padded\n") == 0)
            say_pass(e, &e->padded);
        else if (strcmp(line, "single\n") == 0)
            say_single(e);
        else if (strcmp(line, "answers\n") == 0)
            say_answers(e);
        else
            (void)printf("{\"error\": \"unknown command\"}\n");
        (void)fflush(stdout);
    }
}

static int engine_open(struct engine *e, const struct options *o, double *load_s, struct err *err)
{
    const char *dir = options_str(o, "model"), *work = options_str(o, "work");
    enum precision precision;
    if (!dir || !work)
        return err_set(err, ERR_USAGE, "--model and --work are needed");
    if (precision_parse(options_str(o, "precision"), &precision, err) != 0)
        return -1;
    int64_t begin = clock_ns();
    if (model_open(dir, precision, &e->model, err) != 0)
        return -1;
    *load_s = seconds_since(begin);
    if (read_work(e, work, err) != 0)
        return -1;
    e->n_labels = model_info(e->model)->n_labels;
    e->pool = pool_open((int)options_int(o, "threads"));
    e->threads = pool_threads(e->pool);
    int32_t batch = (int32_t)options_int(o, "batch"), most = 0;
    for (int32_t i = 0; i < e->n; i++)
        most = e->len[i] > most ? e->len[i] : most;
    e->singles = (int32_t)options_int(o, "singles");
    /* A peer runs a batch on all its threads together; here each thread takes a quarter of one. */
    int32_t piece = batch >= 4 ? batch / 4 : batch;
    plan_open(&e->sorted, e, piece, true);
    plan_open(&e->padded, e, piece, false);
    e->p = xcalloc((size_t)e->n * (size_t)e->n_labels, sizeof *e->p);
    e->ws = xcalloc((size_t)e->threads, sizeof *e->ws);
    e->offs = xcalloc((size_t)e->threads, sizeof *e->offs);
    for (int t = 0; t < e->threads; t++) {
        e->ws[t] = workspace_open(e->model, batch, batch * most);
        e->offs[t] = xcalloc((size_t)batch + 1, sizeof **e->offs);
    }
    classify(e, &e->padded, 0, 1, 0);
    return 0;
}

static void engine_close(struct engine *e)
{
    for (int t = 0; t < e->threads; t++) {
        workspace_close(e->ws[t]);
        free(e->offs[t]);
    }
    for (int32_t i = 0; e->ids && i < e->n; i++)
        free(e->ids[i]);
    free(e->ids);
    free(e->len);
    free(e->ws);
    free(e->offs);
    free(e->p);
    plan_close(&e->sorted);
    plan_close(&e->padded);
    pool_close(e->pool);
    model_close(e->model);
}

static void say_error(const struct err *err)
{
    json_t *o = json_pack("{s:s}", "error", err->msg);
    (void)json_dumpf(o, stdout, JSON_ENSURE_ASCII);
    (void)printf("\n");
    json_decref(o);
}

int main(int argc, char **argv)
{
    struct options *o = options_open(options, N_OPTIONS, NULL);
    struct err err = {0};
    struct engine e = {0};
    const char **rest = xcalloc((size_t)argc + 1, sizeof *rest);
    int n_rest = 0, status = 0;
    double load_s = 0;
    if (options_read_args(o, argc - 1, argv + 1, rest, &n_rest, &err) != 0 ||
        (n_rest && err_set(&err, ERR_USAGE, "unexpected argument \"%s\"", rest[0]) != 0) ||
        engine_open(&e, o, &load_s, &err) != 0) {
        say_error(&err);
        status = err_exit_status(&err);
    } else {
        const struct model_info *info = model_info(e.model);
        (void)printf("{\"ready\": true, \"version\": \"%s\", \"setting\": \"%d streams of 1 "
                     "thread\", \"precision\": \"%s\", \"load_s\": %.4f, \"rss_mb\": %.1f, "
                     "\"weights_mb\": %.1f, \"ids_differ\": %d}\n",
                     RUBRIC_VERSION, e.threads, precision_name(info->precision), load_s,
                     resident_mb(), (double)info->weights_bytes / 1e6, (int)e.differ);
        (void)fflush(stdout);
        serve(&e);
    }
    engine_close(&e);
    options_close(o);
    free(rest);
    return status;
}
