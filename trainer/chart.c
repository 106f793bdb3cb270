#include "trainer/chart.h"

#include <math.h>

#include "trainer/html.h"

/* The drawing, in units of the viewBox. */
enum { WIDTH = 640, HEIGHT = 300, LEFT = 60, RIGHT = 600, TOP = 34, BOTTOM = 254 };
static const double x_room = RIGHT - LEFT, y_room = BOTTOM - TOP;
#define FEW_POINTS 60 /* up to here each one is drawn as a dot, too */

struct axis {
    double low, high, step;
    int digits; /* behind the point */
};

double chart_step(double range)
{
    if (!(range > 0))
        return 1;
    double power = pow(10, floor(log10(range / 4)));
    double part = range / 4 / power;
    return power * (part >= 5 ? 5 : part >= 2 ? 2 : 1);
}

/* low and high are moved out to whole steps. */
static struct axis axis_of(double low, double high)
{
    if (!(high > low))
        high = low + (low > 0 ? 0.1 * low : 1);
    struct axis a = {.step = chart_step(high - low)};
    a.low = floor(low / a.step + 1e-9) * a.step;
    a.high = ceil(high / a.step - 1e-9) * a.step;
    int digits = (int)-floor(log10(a.step) + 1e-9);
    a.digits = digits > 0 ? digits : 0;
    return a;
}

static double at_x(const struct axis *a, double x)
{
    return (double)LEFT + x_room * (x - a->low) / (a->high - a->low);
}

static double at_y(const struct axis *a, double y)
{
    return (double)BOTTOM - y_room * (y - a->low) / (a->high - a->low);
}

static void begin(const char *id, const char *title, const char *description, struct buf *out)
{
    buf_printf(out,
               "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"%s-title %s-desc\">\n"
               "<title id=\"%s-title\">",
               WIDTH, HEIGHT, id, id, id);
    html_text(out, title);
    buf_printf(out, "</title>\n<desc id=\"%s-desc\">", id);
    html_text(out, description);
    buf_puts(out, "</desc>\n");
}

/* Grid and numbers of both axes. percent: of y; a step of the x axis is printed as it is. */
static void axes(const struct axis *x, const struct axis *y, bool percent, struct buf *out)
{
    int digits = percent ? (y->digits > 2 ? y->digits - 2 : 0) : y->digits;
    for (int i = 0; y->low + i * y->step < y->high + y->step / 2; i++) {
        double value = y->low + i * y->step, level = at_y(y, value);
        buf_printf(out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT,
                   RIGHT, level, level);
        buf_printf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.*f%s</text>\n", LEFT - 6,
                   level + 4, digits, percent ? 100 * value : value, percent ? " %" : "");
    }
    for (int i = 0; x->low + i * x->step < x->high + x->step / 2; i++) {
        double value = x->low + i * x->step;
        buf_printf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.*f</text>\n",
                   at_x(x, value), BOTTOM + 18, x->digits, value);
    }
}

static void x_name(const char *name, struct buf *out)
{
    buf_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + RIGHT) / 2,
               HEIGHT - 8);
    html_text(out, name);
    buf_puts(out, "</text>\n");
}

static void line(const struct chart *c, int k, const struct axis *x, const struct axis *y,
                 struct buf *out)
{
    buf_printf(out, "<polyline class=\"line%d\" points=\"", k);
    for (size_t i = 0; i < c->n; i++)
        buf_printf(out, "%s%.1f,%.1f", i ? " " : "", at_x(x, c->x[i]), at_y(y, c->y[k][i]));
    buf_puts(out, "\"/>\n");
    for (size_t i = 0; c->n <= FEW_POINTS && i < c->n; i++)
        buf_printf(out, "<circle class=\"dot%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/>\n", k,
                   at_x(x, c->x[i]), at_y(y, c->y[k][i]));
    int left = LEFT + 140 * k; /* its place in the legend */
    buf_printf(out, "<line class=\"line%d\" x1=\"%d\" x2=\"%d\" y1=\"16\" y2=\"16\"/>", k, left,
               left + 28);
    buf_printf(out, "<text x=\"%d\" y=\"20\">", left + 34);
    html_text(out, c->names[k]);
    buf_puts(out, "</text>\n");
}

void chart_lines(const struct chart *c, struct buf *out)
{
    double low = c->y[0][0], high = low;
    for (int k = 0; k < CHART_LINES; k++)
        for (size_t i = 0; i < c->n; i++) {
            low = fmin(low, c->y[k][i]);
            high = fmax(high, c->y[k][i]);
        }
    struct axis x = axis_of(0, c->x[c->n - 1]), y = axis_of(c->percent ? low : 0, high);
    struct buf description;
    buf_init(&description, 1 << 16);
    const char *unit = c->percent ? " %" : "";
    double scale = c->percent ? 100 : 1;
    for (int k = 0; k < CHART_LINES; k++)
        buf_printf(&description, "%s from %.4g%s to %.4g%s. ", c->names[k], scale * c->y[k][0],
                   unit, scale * c->y[k][c->n - 1], unit);
    if (c->mark >= 0)
        buf_printf(&description, "%s: %.0f.", c->mark_name, c->mark);
    begin(c->id, c->title, description.data, out);
    buf_done(&description);
    axes(&x, &y, c->percent, out);
    for (int k = 0; k < CHART_LINES; k++)
        line(c, k, &x, &y, out);
    if (c->mark >= 0) {
        double at = at_x(&x, c->mark);
        buf_printf(out, "<line class=\"mark\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", at,
                   at, TOP, BOTTOM);
        buf_printf(out, "<text x=\"%d\" y=\"20\" text-anchor=\"end\">", RIGHT);
        html_text(out, c->mark_name);
        buf_printf(out, ": %.0f</text>\n", c->mark);
    }
    x_name(c->x_name, out);
    buf_puts(out, "</svg>\n");
}

void chart_reliability(const char *id, const char *title, const double *y, int n, struct buf *out)
{
    const struct axis x = {0, 1, 0.1, 1}, level = {0, 1, 0.2, 1};
    begin(id, title,
          "A bar for each range of probability, as high as the part of its titles that was right. "
          "Bars that end on the diagonal mean probabilities that can be taken at their word.",
          out);
    axes(&x, &level, true, out);
    for (int i = 0; i < n; i++) {
        double left = at_x(&x, (double)i / n) + 2, right = at_x(&x, (i + 1.0) / n) - 2;
        if (y[i] >= 0)
            buf_printf(out,
                       "<rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                       "height=\"%.1f\"/>\n",
                       left, at_y(&level, y[i]), right - left, (double)BOTTOM - at_y(&level, y[i]));
    }
    buf_printf(out, "<line class=\"mark\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>\n", LEFT,
               BOTTOM, RIGHT, TOP);
    x_name("probability of the prediction", out);
    buf_puts(out, "</svg>\n");
}
