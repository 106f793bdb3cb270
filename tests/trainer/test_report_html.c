/* report_html.h: pages of every shape are well-formed, hold the numbers, and let nothing in. */
#include "trainer/report_html.h"

#include "tests/trainer/xml.h"

#include "base/err.h"

static void add(struct report *r, int32_t label, int32_t predicted, float p)
{
    float *row = calloc((size_t)r->classes, sizeof *row);
    assert_non_null(row);
    row[predicted] = p;
    report_add(r, label, row);
    free(row);
}

static char *page_of(const struct report *r, const char *const *labels, const struct history *h,
                     const char *name)
{
    struct model_info info = {.family = "textcnn",
                              .name = name,
                              .version = "0123456789ab",
                              .sha256 = "ff",
                              .n_labels = r->classes,
                              .labels = labels,
                              .parameters = 12345,
                              .weights_bytes = 1500000,
                              .max_tokens = 64};
    struct buf b;
    buf_init(&b, REPORT_HTML_MAX);
    report_html(r, &info, h, "dir/<dev>.txt", &b);
    assert_false(b.full);
    return buf_take(&b);
}

static void expect(const char *page, const char *part)
{
    if (!strstr(page, part))
        fail_msg("the page lacks \"%s\":\n%s", part, page);
}

static int count(const char *page, const char *part)
{
    int n = 0;
    for (const char *s = page; (s = strstr(s, part)); s++)
        n++;
    return n;
}

/* Nothing runs and nothing is loaded. */
static void expect_self_contained(const char *page)
{
    static const char *const never[] = {"<script", "<link",  "<img",   "<iframe",
                                        "http:",   "https:", "url(",   "src=",
                                        "@import", " href",  " onload"};
    expect(page, "content=\"default-src 'none'; style-src 'unsafe-inline'\"");
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (strstr(page, never[i]))
            fail_msg("the page holds %s", never[i]);
}

static void figures(void **state)
{
    (void)state;
    static const char *const labels[] = {"finance", "体育", "never"};
    struct report r;
    struct history h = {0};
    report_init(&r, 3);
    for (int i = 0; i < 6; i++)
        add(&r, 0, 0, 0.95f);
    add(&r, 0, 1, 0.55f);
    add(&r, 0, 1, 0.55f);
    add(&r, 1, 1, 0.75f);
    add(&r, 1, 0, 0.35f);
    char *page = page_of(&r, labels, &h, "news");
    (void)xml_check(page);
    expect_self_contained(page);
    expect(page, "<li><b>70.00 %</b>accuracy</li>");
    expect(page, "<li><b>10</b>titles</li>");
    expect(page, "<th scope=\"row\"><bdi>finance</bdi></th><td>0.8571</td><td>0.7500</td>"
                 "<td>0.8000</td><td>8</td>");
    /* a class that never occurs */
    expect(page, "<th scope=\"row\"><bdi>never</bdi></th><td>0.0000</td><td>0.0000</td>"
                 "<td>0.0000</td><td>0</td>");
    expect(page, "title=\"75.0 %\">6</td>");
    expect(page, "title=\"25.0 %\">2</td>");
    expect(page, "<bdi>finance</bdi> taken for <bdi>体育</bdi>: 2</li>\n<li>");
    expect(page, "0.9 to 1.0</th><td>6</td><td>95.0 %</td><td>100.0 %</td>");
    expect(page, "has no history.json");
    expect(page, "dir/&lt;dev&gt;.txt");
    free(page);
    report_done(&r);
}

static void hostile_names(void **state)
{
    (void)state;
    static const char *const labels[] = {"</td><script>alert(1)</script>", "\"><img src=x>",
                                         "a\x01\xff&b"};
    struct report r;
    struct history h = {.found = true};
    report_init(&r, 3);
    add(&r, 0, 1, 0.5f);
    add(&r, 2, 0, 0.5f);
    char *page = page_of(&r, labels, &h, "</title><script src='x'>");
    (void)xml_check(page);
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "<img"));
    expect(page, "<title>&lt;/title&gt;&lt;script");
    expect(page, "a\xef\xbf\xbd\xef\xbf\xbd&amp;b");
    expect(page, "fitted in one piece");
    free(page);
    report_done(&r);
}

static void empty(void **state)
{
    (void)state;
    static const char *const labels[] = {"one"};
    struct report r;
    struct history h = {0};
    report_init(&r, 1);
    char *page = page_of(&r, labels, &h, "m");
    (void)xml_check(page);
    assert_null(strstr(page, "nan"));
    expect(page, "No title was taken for another class.");
    free(page);
    report_done(&r);
}

static void curves(void **state)
{
    (void)state;
    static const char *const labels[] = {"one", "two"};
    struct report r;
    struct history_point *points = xcalloc(100000, sizeof *points);
    report_init(&r, 2);
    add(&r, 0, 0, 0.9f);
    for (int64_t i = 0; i < 100000; i++)
        points[i] = (struct history_point){10 * (i + 1), 1.0 / (double)(i + 1), 0.5,
                                           2.0 / (double)(i + 1), 0.25};
    struct history h = {.found = true, .points = points, .n = 3, .best_iteration = 20};
    char *page = page_of(&r, labels, &h, "m");
    (void)xml_check(page);
    expect_self_contained(page);
    expect(page, "weights kept at step: 20</text>");
    expect(page, "<th scope=\"row\">20 (kept)</th><td>0.5000</td><td>1.0000</td>");
    expect(page, "<desc id=\"loss-desc\">train loss from 1 to 0.3333. dev loss from 2 to 0.6667.");
    assert_int_equal(count(page, "<polyline"), 4);
    assert_null(strstr(page, "has no history.json"));
    free(page);
    /* A long one is thinned out, and keeps its best and its last step. */
    h.n = 100000;
    h.best_iteration = 777770;
    page = page_of(&r, labels, &h, "m");
    (void)xml_check(page);
    expect(page, "777770 (kept)");
    expect(page, "<th scope=\"row\">1000000</th>");
    assert_true(strlen(page) < 200000);
    free(page);
    free(points);
    report_done(&r);
}

/* As many classes as there may be. */
static void many_classes(void **state)
{
    (void)state;
    enum { N = 1000 };
    const char *labels[N];
    struct report r;
    struct history h = {0};
    report_init(&r, N);
    for (int32_t i = 0; i < N; i++) {
        labels[i] = "label";
        add(&r, i, (i + i % 7) % N, 0.5f);
    }
    char *page = page_of(&r, labels, &h, "m");
    (void)xml_check(page);
    expect(page, "1000 classes: too many for a matrix on a page.");
    assert_null(strstr(page, "class=\"heat\""));
    assert_int_equal(count(page, " taken for "), 20);
    free(page);
    report_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(figures), cmocka_unit_test(hostile_names),
                                       cmocka_unit_test(empty), cmocka_unit_test(curves),
                                       cmocka_unit_test(many_classes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
