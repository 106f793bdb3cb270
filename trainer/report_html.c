#include "trainer/report_html.h"

#include <stdlib.h>

#include "base/file.h"
#include "trainer/chart.h"
#include "trainer/html.h"

#define MAX_POINTS 500 /* of a learning curve; longer ones are thinned out */
#define TOP_CONFUSIONS 20

/* Neither '<' nor '&' in it: the page is XML, too. */
static const char style[] =
    ":root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--paper:#fff;--rule:#d1d9e0;"
    "--good:9,105,218;--bad:188,76,0;--a:#0969da;--b:#bc4c00}\n"
    "@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--paper:#0d1117;"
    "--rule:#3d444d;--good:31,111,235;--bad:189,86,29;--a:#58a6ff;--b:#f0883e}}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);"
    "font:16px/1.5 system-ui,sans-serif}\n"
    "main{max-width:64rem;margin:0 auto;padding:1rem}\n"
    "h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}\n"
    "p.note,caption,dt{color:var(--soft)}caption{text-align:left;padding-bottom:.4rem}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.2rem .6rem;border-bottom:1px solid var(--rule);text-align:right}\n"
    "th[scope=row],th.left{text-align:left;font-weight:600}\n"
    "ul.figures{display:flex;flex-wrap:wrap;gap:1rem 2.5rem;list-style:none;padding:0}\n"
    "ul.figures b{display:block;font-size:1.8rem;line-height:1.2}\n"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}"
    "dd{margin:0;overflow-wrap:anywhere}\n"
    ".heat td{min-width:2.4rem;text-align:center}.heat .none{color:var(--soft)}\n"
    ".heat .good{background:rgba(var(--good),var(--v))}"
    ".heat .bad{background:rgba(var(--bad),var(--v))}.heat .deep{color:#fff}\n"
    ".heat thead th{vertical-align:bottom;max-width:6rem;overflow-wrap:anywhere}\n"
    "svg{max-width:100%;height:auto;font:12px system-ui,sans-serif}svg text{fill:var(--ink)}\n"
    ".grid{stroke:var(--rule)}.mark{stroke:var(--soft);stroke-dasharray:3 3}\n"
    ".line0,.line1{fill:none;stroke:var(--a);stroke-width:2}"
    ".line1{stroke:var(--b);stroke-dasharray:7 4}\n"
    ".bar{fill-opacity:.55}.dot0,.bar{fill:var(--a)}.dot1{fill:var(--b)}\n";

static void head(const struct model_info *info, struct buf *out)
{
    buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                  "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\n"
                  "<meta http-equiv=\"Content-Security-Policy\" "
                  "content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n<title>");
    html_text(out, info->name);
    buf_puts(out, " ");
    html_text(out, info->version);
    buf_printf(out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<main>\n<h1>", style);
    html_name(out, info->name);
    buf_puts(out, ", version ");
    html_name(out, info->version);
    buf_puts(out, "</h1>\n");
}

static void figure(const char *name, double value, int digits, const char *unit, struct buf *out)
{
    buf_printf(out, "<li><b>%.*f%s</b>%s</li>\n", digits, value, unit, name);
}

static void figures(const struct report *r, struct buf *out)
{
    buf_puts(out, "<ul class=\"figures\">\n");
    figure("accuracy", 100 * report_accuracy(r), 2, " %", out);
    figure("loss", report_loss(r), 4, "", out);
    figure("macro F1", report_macro(r).f1, 4, "", out);
    figure("weighted F1", report_weighted(r).f1, 4, "", out);
    figure("calibration error", 100 * report_calibration(r), 2, " %", out);
    figure("titles", (double)r->n, 0, "", out);
    buf_puts(out, "</ul>\n");
}

static void fact(const char *name, const char *value, struct buf *out)
{
    buf_printf(out, "<dt>%s</dt><dd>", name);
    html_name(out, value);
    buf_puts(out, "</dd>\n");
}

static void facts(const struct model_info *info, const char *data, struct buf *out)
{
    buf_puts(out, "<h2>The model</h2>\n<dl>\n");
    fact("family", info->family, out);
    fact("name", info->name, out);
    fact("version", info->version, out);
    fact("sha256 of the weights", info->sha256, out);
    buf_printf(out, "<dt>parameters</dt><dd>%lld</dd>\n", (long long)info->parameters);
    buf_printf(out, "<dt>weights in memory</dt><dd>%.1f MB</dd>\n",
               (double)info->weights_bytes / 1e6);
    buf_printf(out, "<dt>characters read of a title</dt><dd>%d</dd>\n", (int)info->max_tokens);
    fact("arithmetic", precision_name(info->precision), out);
    buf_printf(out, "<dt>classes</dt><dd>%d</dd>\n", (int)info->n_labels);
    fact("evaluated on", data, out);
    buf_puts(out, "</dl>\n");
}

static void scores_cells(struct scores s, struct buf *out)
{
    buf_printf(out, "<td>%.4f</td><td>%.4f</td><td>%.4f</td><td>%lld</td></tr>\n", s.precision,
               s.recall, s.f1, (long long)s.support);
}

static void class_table(const struct report *r, const char *const *names, struct buf *out)
{
    buf_puts(out,
             "<h2>Classes</h2>\n<div class=\"wide\"><table>\n<caption>A quotient of nothing by "
             "nothing is 0; macro averages are over classes that occur.</caption>\n<thead><tr><th "
             "scope=\"col\" class=\"left\">class</th><th scope=\"col\">precision</th><th "
             "scope=\"col\">recall</th><th scope=\"col\">F1</th><th scope=\"col\">support</th>"
             "</tr></thead>\n<tbody>\n");
    for (int32_t c = 0; c < r->classes; c++) {
        buf_puts(out, "<tr><th scope=\"row\">");
        html_name(out, names[c]);
        buf_puts(out, "</th>");
        scores_cells(report_class(r, c), out);
    }
    buf_puts(out, "</tbody>\n<tfoot>\n<tr><th scope=\"row\">macro average</th>");
    scores_cells(report_macro(r), out);
    buf_puts(out, "<tr><th scope=\"row\">weighted average</th>");
    scores_cells(report_weighted(r), out);
    buf_puts(out, "</tfoot>\n</table></div>\n");
}

static void heat_cell(int64_t n, int64_t support, bool right, struct buf *out)
{
    if (n == 0) {
        buf_puts(out, "<td class=\"none\">0</td>");
        return;
    }
    double part = (double)n / (double)support;
    /* Visible from the first title on; white figures where the ground is dark. */
    double shade = 0.12 + 0.88 * part;
    buf_printf(out, "<td class=\"%s%s\" style=\"--v:%.2f\" title=\"%.1f %%\">%lld</td>",
               right ? "good" : "bad", shade > 0.6 ? " deep" : "", shade, 100 * part, (long long)n);
}

static void heat_map(const struct report *r, const char *const *names, struct buf *out)
{
    buf_puts(out,
             "<div class=\"wide\"><table class=\"heat\">\n<caption>Rows: label, columns: "
             "prediction. Numbers are titles; the shade is the part of the label&#39;s titles, "
             "on the diagonal the right ones.</caption>\n<thead><tr><th class=\"left\" "
             "scope=\"col\">label</th>");
    for (int32_t c = 0; c < r->classes; c++) {
        buf_puts(out, "<th scope=\"col\">");
        html_name(out, names[c]);
        buf_puts(out, "</th>");
    }
    buf_puts(out, "</tr></thead>\n<tbody>\n");
    for (int32_t i = 0; i < r->classes; i++) {
        int64_t support = report_class(r, i).support;
        buf_puts(out, "<tr><th scope=\"row\">");
        html_name(out, names[i]);
        buf_puts(out, "</th>");
        for (int32_t j = 0; j < r->classes; j++)
            heat_cell(report_count(r, i, j), support, i == j, out);
        buf_puts(out, "</tr>\n");
    }
    buf_puts(out, "</tbody>\n</table></div>\n");
}

struct confusion {
    int32_t label, predicted;
    int64_t n;
};

/* The TOP_CONFUSIONS most frequent wrong cells, ties in the order of the matrix. Returns how many.
 */
static int worst_confusions(const struct report *r, struct confusion list[TOP_CONFUSIONS])
{
    int n = 0;
    for (int32_t i = 0; i < r->classes; i++)
        for (int32_t j = 0; j < r->classes; j++) {
            struct confusion c = {i, j, report_count(r, i, j)};
            int at = n;
            if (i == j || c.n == 0)
                continue;
            while (at > 0 && list[at - 1].n < c.n)
                at--;
            if (at == TOP_CONFUSIONS)
                continue;
            n += n < TOP_CONFUSIONS;
            for (int k = n - 1; k > at; k--)
                list[k] = list[k - 1];
            list[at] = c;
        }
    return n;
}

static void confusions(const struct report *r, const char *const *names, struct buf *out)
{
    struct confusion list[TOP_CONFUSIONS];
    int n = worst_confusions(r, list);
    buf_puts(out, "<h2>Confusions</h2>\n");
    if (r->classes <= REPORT_HTML_MATRIX)
        heat_map(r, names, out);
    else
        buf_printf(out, "<p class=\"note\">%d classes: too many for a matrix on a page.</p>\n",
                   (int)r->classes);
    if (n == 0) {
        buf_puts(out, "<p>No title was taken for another class.</p>\n");
        return;
    }
    buf_puts(out, "<details open=\"open\"><summary>The most frequent mistakes</summary>\n<ol>\n");
    for (int i = 0; i < n; i++) {
        buf_puts(out, "<li>");
        html_name(out, names[list[i].label]);
        buf_puts(out, " taken for ");
        html_name(out, names[list[i].predicted]);
        buf_printf(out, ": %lld</li>\n", (long long)list[i].n);
    }
    buf_puts(out, "</ol></details>\n");
}

static void calibration(const struct report *r, struct buf *out)
{
    double y[REPORT_BINS];
    buf_puts(out, "<h2>Calibration</h2>\n");
    for (int i = 0; i < REPORT_BINS; i++)
        y[i] = r->bins[i].n ? (double)r->bins[i].right / (double)r->bins[i].n : -1;
    chart_reliability("calibration", "How often predictions were right, by their probability", y,
                      REPORT_BINS, out);
    buf_puts(out, "<details><summary>As numbers</summary>\n<table>\n<thead><tr><th scope=\"col\" "
                  "class=\"left\">probability</th><th scope=\"col\">titles</th><th "
                  "scope=\"col\">mean probability</th><th scope=\"col\">right</th></tr></thead>\n"
                  "<tbody>\n");
    for (int i = 0; i < REPORT_BINS; i++) {
        const struct report_bin *b = &r->bins[i];
        buf_printf(out, "<tr><th scope=\"row\">%.1f to %.1f</th><td>%lld</td>",
                   (double)i / REPORT_BINS, (i + 1.0) / REPORT_BINS, (long long)b->n);
        if (b->n)
            buf_printf(out, "<td>%.1f %%</td><td>%.1f %%</td></tr>\n",
                       100 * b->confidence / (double)b->n, 100 * y[i]);
        else
            buf_puts(out, "<td></td><td></td></tr>\n");
    }
    buf_puts(out, "</tbody>\n</table></details>\n");
}

/* Columns of a history that is thinned out to at most MAX_POINTS + 2 points; the best and the last
 * one stay. One block, owned by x. */
struct curves {
    double *x, *y[4];
    size_t n;
};

static void curves_make(struct curves *c, const struct history *h)
{
    size_t every = (h->n + MAX_POINTS - 1) / MAX_POINTS, room = h->n / every + 3;
    c->x = xmalloc(5 * room * sizeof *c->x);
    c->n = 0;
    for (size_t k = 0; k < 4; k++)
        c->y[k] = c->x + (k + 1) * room;
    for (size_t i = 0; i < h->n; i++) {
        const struct history_point *p = &h->points[i];
        if (i % every != 0 && i + 1 != h->n && p->iteration != h->best_iteration)
            continue;
        c->x[c->n] = (double)p->iteration;
        c->y[0][c->n] = p->train_loss;
        c->y[1][c->n] = p->dev_loss;
        c->y[2][c->n] = p->train_accuracy;
        c->y[3][c->n++] = p->dev_accuracy;
    }
}

static void curve_table(const struct curves *c, double best, struct buf *out)
{
    buf_puts(out, "<details><summary>As numbers</summary>\n<table>\n<thead><tr><th scope=\"col\" "
                  "class=\"left\">step</th><th scope=\"col\">train loss</th><th scope=\"col\">dev "
                  "loss</th><th scope=\"col\">train accuracy</th><th scope=\"col\">dev "
                  "accuracy</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < c->n; i++)
        buf_printf(out,
                   "<tr><th scope=\"row\">%.0f%s</th><td>%.4f</td><td>%.4f</td><td>%.2f %%</td>"
                   "<td>%.2f %%</td></tr>\n",
                   c->x[i], c->x[i] == best ? " (kept)" : "", c->y[0][i], c->y[1][i],
                   100 * c->y[2][i], 100 * c->y[3][i]);
    buf_puts(out, "</tbody>\n</table></details>\n");
}

static void learning(const struct history *h, struct buf *out)
{
    buf_puts(out, "<h2>Learning curves</h2>\n");
    if (!h->n) {
        buf_puts(out, h->found ? "<p class=\"note\">This family is fitted in one piece: there are "
                                 "no steps to show.</p>\n"
                               : "<p class=\"note\">The model&#39;s directory has no " HISTORY_FILE
                                 ": it was made before fits kept one, or elsewhere.</p>\n");
        return;
    }
    struct curves c;
    curves_make(&c, h);
    struct chart chart = {.id = "loss",
                          .title = "Loss on the training and the dev titles over the steps",
                          .x_name = "step",
                          .names = {"train loss", "dev loss"},
                          .x = c.x,
                          .y = {c.y[0], c.y[1]},
                          .n = c.n,
                          .mark = h->best_iteration ? (double)h->best_iteration : -1,
                          .mark_name = "weights kept at step"};
    buf_puts(out, "<p class=\"note\">On training titles with dropout, as they were learnt; on dev "
                  "as a worker would classify them.</p>\n");
    chart_lines(&chart, out);
    chart.id = "accuracy";
    chart.title = "Accuracy on the training and the dev titles over the steps";
    chart.names[0] = "train accuracy";
    chart.names[1] = "dev accuracy";
    chart.y[0] = c.y[2];
    chart.y[1] = c.y[3];
    chart.percent = true;
    chart_lines(&chart, out);
    curve_table(&c, chart.mark, out);
    free(c.x);
}

void report_html(const struct report *r, const struct model_info *info, const struct history *h,
                 const char *data, struct buf *out)
{
    head(info, out);
    figures(r, out);
    class_table(r, info->labels, out);
    confusions(r, info->labels, out);
    calibration(r, out);
    learning(h, out);
    facts(info, data, out);
    buf_puts(out, "<p class=\"note\">Made by rubric-trainer " RUBRIC_VERSION ".</p>\n"
                  "</main>\n</body>\n</html>\n");
}

int report_html_write(const char *path, const struct report *r, const struct model_info *info,
                      const struct history *h, const char *data, struct err *err)
{
    struct buf page;
    buf_init(&page, REPORT_HTML_MAX);
    report_html(r, info, h, data, &page);
    int rc = page.full ? err_set(err, ERR_IO, "%s: more than %zu bytes", path, REPORT_HTML_MAX)
                       : file_replace(path, page.data, page.len, err);
    buf_done(&page);
    return rc;
}
