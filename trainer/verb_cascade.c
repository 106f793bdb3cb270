#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "trainer/chart.h"
#include "trainer/compose.h"
#include "trainer/corpus.h"
#include "trainer/evaluate.h"
#include "trainer/verb.h"

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "stages",
     .type = OPT_STR,
     .help = "directories of models, cheapest first, with commas between"},
    {.name = "titles",
     .type = OPT_STR,
     .help =
         "labelled titles that no stage was trained on (data hold-out): the thresholds are found "
         "on them"},
    {.name = "data", .type = OPT_STR, .help = "labelled titles to measure the cascade on"},
    {.name = "max-drop",
     .type = OPT_REAL,
     .def = "0.1",
     .min = 0,
     .max = 100,
     .help = "points of accuracy that it may be below its last stage, on --titles"},
    {.name = "out", .type = OPT_STR, .help = "directory of the cascade"},
    {.name = "svg", .type = OPT_STR, .help = "draw what accuracy costs into this file"},
    {.name = "overwrite", .type = OPT_BOOL, .def = "false", .help = "replace a cascade in --out"},
    {.name = "model-name", .type = OPT_STR, .def = "cascade", .help = "name in config.json"},
    VERB_THREADS_OPTION,
};

enum { MAX_STAGES = 5, MOST_STEPS = 200, CURVE = 12 /* lines of the printed curve */ };
/* Thresholds tried for each stage, by the number of stages that have one. */
static const int steps_of[MAX_STAGES] = {1, MOST_STEPS, 60, 20, 10};

struct point {
    double accuracy, cost; /* cost: seconds a title */
    float threshold[MAX_STAGES];
};

struct search {
    const struct compose *c;
    int n;                         /* stages */
    float *confidence[MAX_STAGES]; /* [titles] greatest probability */
    bool *right[MAX_STAGES];
    int n_steps;
    float steps[MAX_STAGES][MOST_STEPS + 1]; /* thresholds to try, ascending, the last one: never */
    struct point *points;
    size_t n_points, room;
};

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void judge(struct search *s)
{
    int32_t labels = compose_labels(s->c);
    size_t n = s->c->titles.n;
    for (int i = 0; i < s->n; i++) {
        s->confidence[i] = xmalloc(n * sizeof **s->confidence);
        s->right[i] = xmalloc(n * sizeof **s->right);
        for (size_t t = 0; t < n; t++) {
            const float *p = s->c->p[i] + t * (size_t)labels;
            int32_t best = 0;
            for (int32_t k = 1; k < labels; k++)
                best = p[k] > p[best] ? k : best;
            s->confidence[i][t] = p[best];
            s->right[i][t] = best == s->c->titles.labels[t];
        }
    }
}

/* Even parts of the titles by confidence. */
static void choose_steps(struct search *s)
{
    size_t n = s->c->titles.n;
    float *sorted = xmalloc(n * sizeof *sorted);
    s->n_steps = steps_of[s->n - 1];
    for (int i = 0; i + 1 < s->n; i++) {
        memcpy(sorted, s->confidence[i], n * sizeof *sorted);
        qsort(sorted, n, sizeof *sorted, by_value);
        for (int k = 0; k < s->n_steps; k++)
            s->steps[i][k] = k ? sorted[(size_t)k * n / (size_t)s->n_steps] : 0;
        s->steps[i][s->n_steps] = 1.5f; /* never */
    }
    free(sorted);
}

/* How many titles come to each stage; returns how many are answered rightly. */
static size_t follow(const struct search *s, const struct point *p, size_t reached[MAX_STAGES])
{
    size_t right = 0;
    memset(reached, 0, MAX_STAGES * sizeof *reached);
    for (size_t t = 0; t < s->c->titles.n; t++) {
        int i = 0;
        reached[0]++;
        while (i + 1 < s->n && s->confidence[i][t] < p->threshold[i])
            reached[++i]++;
        right += s->right[i][t];
    }
    return right;
}

static void measure(const struct search *s, struct point *p)
{
    size_t reached[MAX_STAGES];
    p->accuracy = (double)follow(s, p, reached) / (double)s->c->titles.n;
    p->cost = 0;
    for (int i = 0; i < s->n; i++)
        p->cost += s->c->seconds[i] * (double)reached[i] / (double)s->c->titles.n;
}

static void try_all(struct search *s, struct point *p, int stage)
{
    if (stage + 1 >= s->n) {
        measure(s, p);
        if (s->n_points == s->room)
            s->points = xrealloc(s->points, (s->room = 2 * s->room + 1024) * sizeof *s->points);
        s->points[s->n_points++] = *p;
        return;
    }
    for (int k = 0; k <= s->n_steps; k++) {
        p->threshold[stage] = s->steps[stage][k];
        try_all(s, p, stage + 1);
    }
}

static int by_cost(const void *a, const void *b)
{
    const struct point *x = a, *y = b;
    if (x->cost != y->cost)
        return x->cost < y->cost ? -1 : 1;
    return x->accuracy > y->accuracy ? -1 : x->accuracy < y->accuracy;
}

/* Points that no other is both cheaper and better than, by rising cost. */
static void keep_curve(struct search *s)
{
    size_t kept = 0;
    double best = -1;
    qsort(s->points, s->n_points, sizeof *s->points, by_cost);
    for (size_t i = 0; i < s->n_points; i++)
        if (s->points[i].accuracy > best) {
            best = s->points[i].accuracy;
            s->points[kept++] = s->points[i];
        }
    s->n_points = kept;
}

static void print_curve(const struct search *s, const struct point *chosen)
{
    size_t every = s->n_points > CURVE ? s->n_points / CURVE : 1;
    (void)printf("\n%10s %12s  thresholds\n", "accuracy", "us a title");
    for (size_t i = 0; i < s->n_points; i++) {
        const struct point *p = &s->points[i];
        if (i % every && p != chosen && i + 1 != s->n_points)
            continue;
        (void)printf("%8.2f %% %12.1f ", 100 * p->accuracy, p->cost * 1e6);
        for (int k = 0; k + 1 < s->n; k++)
            (void)printf(p->threshold[k] > 1 ? "  never" : "  %.4f", (double)p->threshold[k]);
        (void)printf("%s\n", p == chosen ? "  *" : "");
    }
    size_t reached[MAX_STAGES];
    (void)follow(s, chosen, reached);
    (void)printf("\n%-24s %10s\n", "chosen", "answered");
    for (int i = 0; i < s->n; i++) {
        char *name = compose_part_name(s->c, i);
        size_t on = i + 1 < s->n ? reached[i + 1] : 0;
        (void)printf("%-24s %8.1f %%\n", name,
                     100 * (double)(reached[i] - on) / (double)s->c->titles.n);
        free(name);
    }
}

static struct point last_alone(const struct search *s)
{
    struct point last = {.accuracy = 0};
    for (int i = 0; i + 1 < s->n; i++)
        last.threshold[i] = 1.5f;
    measure(s, &last);
    return last;
}

/* The curve as a drawing of its own, replaced atomically. */
static int draw_curve(const struct search *s, const struct point *chosen, const char *path,
                      struct err *err)
{
    struct point last = last_alone(s);
    double *x = xmalloc(s->n_points * sizeof *x), *y = xmalloc(s->n_points * sizeof *y),
           *level = xmalloc(s->n_points * sizeof *level);
    for (size_t i = 0; i < s->n_points; i++) {
        x[i] = s->points[i].cost * 1e6;
        y[i] = s->points[i].accuracy;
        level[i] = last.accuracy;
    }
    struct chart chart = {.id = "cascade",
                          .title = "Accuracy by cost",
                          .x_name = "microseconds a title",
                          .names = {"cascade", "last stage alone"},
                          .x = x,
                          .y = {y, level},
                          .n = s->n_points,
                          .mark = chosen->cost * 1e6,
                          .mark_name = "chosen",
                          .percent = true};
    struct buf out;
    buf_init(&out, 1 << 20);
    buf_puts(&out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 300\">\n"
                   "<style>text{font:12px sans-serif}.grid{stroke:#ddd}.line0,.line1{fill:none;"
                   "stroke-width:2;stroke:#0b6bcb}.line1{stroke:#b3541e;stroke-dasharray:6 4}"
                   ".dot0{fill:#0b6bcb}.dot1{fill:none}.mark{stroke:#666;stroke-dasharray:2 3}"
                   "</style>\n");
    chart_lines(&chart, &out);
    buf_puts(&out, "</svg>\n");
    int rc = out.full ? err_set(err, ERR_CONFIG, "%s: the drawing is too large", path)
                      : file_replace(path, out.data, out.len, err);
    buf_done(&out);
    free(x);
    free(y);
    free(level);
    return rc;
}

/* The cheapest that is good enough; the last stage alone always is. */
static const struct point *choose(const struct search *s, double max_drop)
{
    struct point last = last_alone(s);
    for (size_t i = 0; i < s->n_points; i++)
        if (s->points[i].accuracy >= last.accuracy - max_drop / 100 - 1e-9)
            return &s->points[i];
    return &s->points[s->n_points - 1];
}

static int write_cascade(const struct search *s, const struct point *p, const struct options *o,
                         const char *out, struct err *err)
{
    json_t *config = json_object(), *stages = json_array();
    for (int i = 0; i < s->n; i++) {
        char *name = compose_part_name(s->c, i);
        json_t *stage = json_pack("{s:s}", "dir", name);
        if (i + 1 < s->n)
            (void)json_object_set_new(stage, "threshold", json_real((double)p->threshold[i]));
        (void)json_array_append_new(stages, stage);
        free(name);
    }
    (void)json_object_set_new(config, "model_type", json_string(cascade_arch.model_type));
    (void)json_object_set_new(config, "stages", stages);
    int rc = compose_write(s->c, out, options_bool(o, "overwrite"), options_str(o, "model-name"),
                           config, err);
    json_decref(config);
    return rc;
}

/* What was written, on titles that nothing was fitted on, beside its stages. */
static int measure_on(const struct compose *c, const char *out, const char *path, struct err *err)
{
    const struct model_info *info = model_info(c->models[0]);
    struct classes classes = {.names = (char **)(size_t)info->labels, .n = info->n_labels};
    const char *names[MODEL_MAX_STAGES];
    int64_t answered[MODEL_MAX_STAGES];
    struct dataset d;
    struct model *m;
    if (corpus_same_classes(path, &classes, err) != 0 ||
        corpus_read_file(path, &classes, (struct corpus_rules){0, compose_spaced(c)}, stdout, &d,
                         err) != 0)
        return -1;
    if (model_open(out, PRECISION_AUTO, &m, err) != 0) {
        dataset_done(&d);
        return -1;
    }
    (void)printf("\n%-24s %10s %14s %10s\n", path, "accuracy", "titles/s", "answered");
    for (int i = 0; i <= c->n; i++) {
        const struct model *one = i < c->n ? c->models[i] : m;
        struct report r;
        report_init(&r, info->n_labels);
        int64_t start = clock_ns();
        evaluate_model(one, &d, c->pool, &r);
        double rate = (double)d.n / ((double)(clock_ns() - start) * 1e-9);
        char *part = i < c->n ? compose_part_name(c, i) : xstrdup("cascade");
        (void)printf("%-24s %8.2f %% %14.0f\n", part, 100 * report_accuracy(&r), rate);
        free(part);
        report_done(&r);
    }
    int n = model_stages(m, names, answered);
    for (int i = 0; i < n; i++)
        (void)printf("%-24s %10s %14s %8.1f %%\n", names[i], "", "",
                     100 * (double)answered[i] / (double)d.n);
    model_close(m);
    dataset_done(&d);
    return 0;
}

static int make(const struct compose *c, const struct options *o, const char *out, struct err *err)
{
    struct search s = {.c = c, .n = c->n};
    struct point p = {0};
    judge(&s);
    choose_steps(&s);
    try_all(&s, &p, 0);
    keep_curve(&s);
    const struct point *chosen = choose(&s, options_real(o, "max-drop"));
    print_curve(&s, chosen);
    int rc = options_str(o, "svg") ? draw_curve(&s, chosen, options_str(o, "svg"), err) : 0;
    if (rc == 0)
        rc = write_cascade(&s, chosen, o, out, err);
    if (rc == 0 && options_str(o, "data"))
        rc = measure_on(c, out, options_str(o, "data"), err);
    if (rc == 0)
        (void)printf("\ncascade in %s\n", out);
    for (int i = 0; i < s.n; i++) {
        free(s.confidence[i]);
        free(s.right[i]);
    }
    free(s.points);
    return rc;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *stages, *titles, *out;
    struct compose c;
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "stages", &stages, err) != 0 ||
        verb_need(o, "titles", &titles, err) != 0 || verb_need(o, "out", &out, err) != 0 ||
        compose_open(&c, stages, (int)options_int(o, "threads"), err) != 0)
        return -1;
    int rc = c.n >= 2 && c.n <= MAX_STAGES
                 ? 0
                 : err_set(err, ERR_USAGE, "--stages names %d models, expected 2 to %d", c.n,
                           MAX_STAGES);
    if (rc == 0)
        rc = compose_read(&c, titles, stdout, err);
    if (rc == 0)
        rc = make(&c, o, out, err);
    compose_close(&c);
    return rc;
}

const struct verb verb_cascade = {
    .name = "cascade",
    .help = "make one model of several: the first that is sure enough answers",
    .words = "",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .run = run};
