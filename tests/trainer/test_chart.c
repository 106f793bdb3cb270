/* chart.h: every point lies inside the axes, whatever the values; axes have steps one can read. */
#include "trainer/chart.h"

#include <math.h>

#include "tests/trainer/xml.h"

static void steps(void **state)
{
    (void)state;
    static const double cases[][2] = {{10, 2},      {4, 1},      {7.9, 1}, {8, 2},
                                      {0.05, 0.01}, {2000, 500}, {1, 0.2}, {1e-9, 2e-10},
                                      {0, 1},       {-3, 1},     {NAN, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(fabs(chart_step(cases[i][0]) - cases[i][1]) < 1e-6 * cases[i][1]);
}

/* Every pair of numbers in points="…" is within the drawing. */
static void expect_inside(const char *svg)
{
    int lines = 0;
    for (const char *s = svg; (s = strstr(s, "points=\"")); lines++) {
        s += 8;
        while (*s != '"') {
            char *end;
            double x = strtod(s, &end), y = strtod(end + 1, &end);
            if (!(x >= 59.9 && x <= 600.1 && y >= 33.9 && y <= 254.1))
                fail_msg("a point at %g, %g", x, y);
            s = end + strspn(end, " ");
        }
    }
    assert_int_equal(lines, CHART_LINES);
    assert_null(strstr(svg, "nan"));
    assert_null(strstr(svg, "inf"));
}

static void lines(void **state)
{
    (void)state;
    static const double x[] = {1, 5, 100}, zero[] = {0, 0, 0}, same[] = {0.5, 0.5, 0.5},
                        huge[] = {1e300, 3, 1e-300}, part[] = {0.1, 0.92, 1};
    static const double *const all[] = {zero, same, huge, part};
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 4; k++)
            for (size_t n = 1; n <= 3; n += 2) {
                struct chart c = {.id = "c",
                                  .title = "a < b",
                                  .x_name = "x & y",
                                  .names = {"<one>", "two"},
                                  .x = x,
                                  .y = {all[i], all[k]},
                                  .n = n,
                                  .mark = n == 3 ? 5 : -1,
                                  .mark_name = "kept",
                                  .percent = (i + k) % 2};
                struct buf b;
                buf_init(&b, 1 << 20);
                chart_lines(&c, &b);
                assert_false(b.full);
                assert_true(xml_check(b.data) > 10);
                expect_inside(b.data);
                assert_true(!strstr(b.data, "kept") == (n == 1));
                assert_non_null(strstr(b.data, "&lt;one&gt;"));
                buf_done(&b);
            }
}

static void reliability(void **state)
{
    (void)state;
    static const double y[] = {-1, 0, 0.5, 1};
    struct buf b;
    buf_init(&b, 1 << 20);
    chart_reliability("r", "t", y, 4, &b);
    (void)xml_check(b.data);
    int bars = 0;
    for (const char *s = b.data; (s = strstr(s, "<rect")); s++)
        bars++;
    assert_int_equal(bars, 3);                           /* the empty bin has none */
    assert_non_null(strstr(b.data, "height=\"110.0\"")); /* half of 220 */
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps), cmocka_unit_test(lines),
                                       cmocka_unit_test(reliability)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
