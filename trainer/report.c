#include "trainer/report.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

void report_init(struct report *r, int32_t classes)
{
    *r = (struct report){.classes = classes};
    r->confusion = xcalloc((size_t)classes * (size_t)classes, sizeof *r->confusion);
}

void report_done(struct report *r)
{
    free(r->confusion);
    *r = (struct report){0};
}

int64_t report_count(const struct report *r, int32_t label, int32_t predicted)
{
    return r->confusion[(int64_t)label * r->classes + predicted];
}

static void add_confidence(struct report *r, double p, bool right)
{
    int bin = p >= 1 ? REPORT_BINS - 1 : p > 0 ? (int)(p * REPORT_BINS) : 0;
    struct report_bin *b = &r->bins[bin];
    b->n++;
    b->right += right;
    b->confidence += p;
}

void report_add(struct report *r, int32_t label, const float *p)
{
    int32_t best = 0;
    for (int32_t c = 1; c < r->classes; c++)
        if (p[c] > p[best])
            best = c;
    r->confusion[(int64_t)label * r->classes + best]++;
    r->n++;
    add_confidence(r, (double)p[best], best == label);
    /* A probability that rounded to 0 counts as the least normal float: a finite, large loss. */
    r->loss_sum -= log(p[label] > FLT_MIN ? (double)p[label] : (double)FLT_MIN);
}

static double quotient(double a, double b)
{
    return b > 0 ? a / b : 0;
}

double report_loss(const struct report *r)
{
    return quotient(r->loss_sum, (double)r->n);
}

double report_accuracy(const struct report *r)
{
    int64_t right = 0;
    for (int32_t c = 0; c < r->classes; c++)
        right += report_count(r, c, c);
    return quotient((double)right, (double)r->n);
}

double report_calibration(const struct report *r)
{
    double sum = 0;
    for (int i = 0; i < REPORT_BINS; i++)
        sum += fabs(r->bins[i].confidence - (double)r->bins[i].right);
    return quotient(sum, (double)r->n);
}

static int64_t predicted_as(const struct report *r, int32_t c)
{
    int64_t n = 0;
    for (int32_t i = 0; i < r->classes; i++)
        n += report_count(r, i, c);
    return n;
}

struct scores report_class(const struct report *r, int32_t c)
{
    struct scores s = {0};
    for (int32_t i = 0; i < r->classes; i++)
        s.support += report_count(r, c, i);
    double tp = (double)report_count(r, c, c), predicted = (double)predicted_as(r, c);
    s.precision = quotient(tp, predicted);
    s.recall = quotient(tp, (double)s.support);
    s.f1 = quotient(2 * tp, predicted + (double)s.support);
    return s;
}

static struct scores average(const struct report *r, int by_support)
{
    struct scores sum = {0};
    double weights = 0;
    for (int32_t c = 0; c < r->classes; c++) {
        struct scores s = report_class(r, c);
        if (s.support == 0 && predicted_as(r, c) == 0)
            continue;
        double w = by_support ? (double)s.support : 1;
        sum.precision += w * s.precision;
        sum.recall += w * s.recall;
        sum.f1 += w * s.f1;
        sum.support += s.support;
        weights += w;
    }
    sum.precision = quotient(sum.precision, weights);
    sum.recall = quotient(sum.recall, weights);
    sum.f1 = quotient(sum.f1, weights);
    return sum;
}

struct scores report_macro(const struct report *r)
{
    return average(r, 0);
}

struct scores report_weighted(const struct report *r)
{
    return average(r, 1);
}

/* Columns a name takes on a terminal: two from U+3000 on (CJK and its neighbours), else one. */
static int columns(const char *s)
{
    int n = 0;
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        if ((*p & 0xC0) != 0x80)
            n += *p >= 0xE3 ? 2 : 1;
    }
    return n;
}

static void print_name(const char *name, int width, FILE *out)
{
    (void)fprintf(out, "%*s%s", width - columns(name), "", name);
}

static void print_scores(const char *name, int width, struct scores s, FILE *out)
{
    print_name(name, width, out);
    (void)fprintf(out, "  %9.4f  %9.4f  %9.4f  %9lld\n", s.precision, s.recall, s.f1,
                  (long long)s.support);
}

static void print_confusion(const struct report *r, const char *const *names, int width, FILE *out)
{
    int cell = 5;
    for (int64_t most = r->n; most >= 10000; most /= 10)
        cell++;
    (void)fprintf(out,
                  "\nconfusion matrix (rows: label, columns: prediction, in the same order)\n");
    for (int32_t i = 0; i < r->classes; i++) {
        print_name(names[i], width, out);
        for (int32_t j = 0; j < r->classes; j++)
            (void)fprintf(out, " %*lld", cell, (long long)report_count(r, i, j));
        (void)fputc('\n', out);
    }
}

void report_print(const struct report *r, const char *const *names, FILE *out)
{
    int width = columns("weighted average");
    for (int32_t c = 0; c < r->classes; c++)
        if (columns(names[c]) > width)
            width = columns(names[c]);
    (void)fprintf(out, "titles %lld   loss %.4f   accuracy %.2f %%\n\n", (long long)r->n,
                  report_loss(r), 100 * report_accuracy(r));
    (void)fprintf(out, "%*s  %9s  %9s  %9s  %9s\n", width, "", "precision", "recall", "f1",
                  "support");
    for (int32_t c = 0; c < r->classes; c++)
        print_scores(names[c], width, report_class(r, c), out);
    (void)fputc('\n', out);
    print_scores("macro average", width, report_macro(r), out);
    print_scores("weighted average", width, report_weighted(r), out);
    print_confusion(r, names, width, out);
}

static void json_scores(const struct scores *s, struct buf *out)
{
    buf_printf(out, "\"precision\":%.9g,\"recall\":%.9g,\"f1\":%.9g,\"support\":%lld", s->precision,
               s->recall, s->f1, (long long)s->support);
}

void report_json(const struct report *r, const struct model_info *model, const char *const *names,
                 struct buf *out)
{
    struct scores macro = report_macro(r), weighted = report_weighted(r);
    buf_puts(out, "{");
    if (model) {
        buf_puts(out, "\"model\":{\"name\":\"");
        buf_put_json(out, model->name, strlen(model->name));
        buf_printf(out, "\",\"version\":\"%s\"},", model->version);
    }
    buf_printf(out, "\"titles\":%lld,\"accuracy\":%.9g,\"loss\":%.9g,\"macro_f1\":%.9g,",
               (long long)r->n, report_accuracy(r), report_loss(r), macro.f1);
    buf_puts(out, "\"macro\":{");
    json_scores(&macro, out);
    buf_puts(out, "},\"weighted\":{");
    json_scores(&weighted, out);
    buf_puts(out, "},\"classes\":[");
    for (int32_t c = 0; c < r->classes; c++) {
        struct scores s = report_class(r, c);
        buf_printf(out, "%s{\"label\":\"", c ? "," : "");
        buf_put_json(out, names[c], strlen(names[c]));
        buf_printf(out, "\",\"index\":%d,", (int)c);
        json_scores(&s, out);
        buf_puts(out, "}");
    }
    buf_puts(out, "],\"confusion\":[");
    for (int32_t i = 0; i < r->classes; i++) {
        buf_puts(out, i ? ",[" : "[");
        for (int32_t j = 0; j < r->classes; j++)
            buf_printf(out, "%s%lld", j ? "," : "", (long long)report_count(r, i, j));
        buf_puts(out, "]");
    }
    buf_printf(out, "],\"calibration_error\":%.9g}\n", report_calibration(r));
}
