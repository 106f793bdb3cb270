/* report.h: hand cases, and the figures of scikit-learn for a fixed pseudo-random case
 * (tests/golden/report_oracle.py). */
#include "trainer/report.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"

static void near(double a, double b)
{
    if (fabs(a - b) > 1e-9)
        fail_msg("%.12g is not %.12g", a, b);
}

static void add(struct report *r, int32_t label, int32_t predicted, float p)
{
    float row[3] = {(1 - p) / 2, (1 - p) / 2, (1 - p) / 2};
    row[predicted] = p;
    report_add(r, label, row);
}

static void hand_case(void **state)
{
    (void)state;
    struct report r;
    report_init(&r, 3);
    /* labels 0 0 0 1 1 2, predicted 0 0 1 1 1 1 */
    add(&r, 0, 0, 0.5f);
    add(&r, 0, 0, 0.5f);
    add(&r, 0, 1, 0.5f);
    add(&r, 1, 1, 0.5f);
    add(&r, 1, 1, 0.5f);
    add(&r, 2, 1, 0.5f);
    assert_int_equal(r.n, 6);
    near(report_accuracy(&r), 4.0 / 6);
    near(report_loss(&r), (4 * log(2) + 2 * log(4)) / 6);
    struct scores s = report_class(&r, 0);
    near(s.precision, 1);
    near(s.recall, 2.0 / 3);
    near(s.f1, 0.8);
    assert_int_equal(s.support, 3);
    s = report_class(&r, 1);
    near(s.precision, 0.5);
    near(s.recall, 1);
    near(s.f1, 2.0 / 3);
    s = report_class(&r, 2); /* never predicted: 0 / 0 is 0 */
    near(s.precision, 0);
    near(s.recall, 0);
    near(s.f1, 0);
    s = report_macro(&r);
    near(s.precision, 0.5);
    near(s.f1, (0.8 + 2.0 / 3) / 3);
    assert_int_equal(s.support, 6);
    s = report_weighted(&r);
    near(s.f1, (3 * 0.8 + 2 * 2.0 / 3) / 6);
    near(s.recall, report_accuracy(&r));
    report_done(&r);
}

static void ties_go_to_the_lowest_index(void **state)
{
    (void)state;
    struct report r;
    report_init(&r, 3);
    report_add(&r, 1, (const float[]){0.2f, 0.4f, 0.4f});
    near(report_accuracy(&r), 1);
    report_done(&r);
}

static void zero_probability_is_a_finite_loss(void **state)
{
    (void)state;
    struct report r;
    report_init(&r, 2);
    report_add(&r, 0, (const float[]){0, 1});
    assert_true(isfinite(report_loss(&r)) && report_loss(&r) > 80);
    report_done(&r);
}

static void empty_is_all_zero(void **state)
{
    (void)state;
    struct report r;
    report_init(&r, 2);
    near(report_loss(&r), 0);
    near(report_accuracy(&r), 0);
    near(report_macro(&r).f1, 0);
    near(report_weighted(&r).f1, 0);
    report_done(&r);
}

/* A class that neither occurs nor is predicted does not pull the macro average down, as in
 * scikit-learn. */
static void absent_class(void **state)
{
    (void)state;
    struct report r;
    report_init(&r, 3);
    add(&r, 0, 0, 0.9f);
    add(&r, 1, 1, 0.9f);
    near(report_macro(&r).f1, 1);
    report_done(&r);
}

/* Printed by tests/golden/report_oracle.py with scikit-learn. The sequence is x -> 1103515245 x +
 * 12345 mod 2^31. */
static void scikit_learn(void **state)
{
    (void)state;
    static const double expected[5][3] = {
#include "report_oracle.inc"
    };
    struct report r;
    uint64_t x = 1;
    report_init(&r, 3);
    for (int i = 0; i < 1000; i++) {
        x = (1103515245 * x + 12345) % 2147483648;
        int32_t label = (int32_t)(x >> 16) % 3;
        x = (1103515245 * x + 12345) % 2147483648;
        int32_t predicted = (int32_t)(x >> 16) % 10 < 7 ? label : (int32_t)(x >> 20) % 3;
        add(&r, label, predicted, 0.9f);
    }
    for (int i = 0; i < 5; i++) {
        struct scores s = i < 3    ? report_class(&r, i)
                          : i == 3 ? report_macro(&r)
                                   : report_weighted(&r);
        near(s.precision, expected[i][0]);
        near(s.recall, expected[i][1]);
        near(s.f1, expected[i][2]);
    }
    report_done(&r);
}

static void json_form(void **state)
{
    (void)state;
    static const char *const names[] = {"a\"b", "体育", "c"};
    struct report r;
    struct buf out;
    report_init(&r, 3);
    add(&r, 0, 0, 0.5f);
    add(&r, 1, 2, 0.5f);
    buf_init(&out, 1 << 20);
    report_json(&r, NULL, names, &out);
    json_t *doc = json_parse("report", out.data, out.len, NULL);
    assert_non_null(doc);
    near(json_real_value(json_object_get(doc, "accuracy")), 0.5);
    near(json_number_value(json_object_get(doc, "macro_f1")), 1.0 / 3);
    assert_true(json_is_number(json_object_get(doc, "loss")));
    json_t *classes = json_object_get(doc, "classes"),
           *confusion = json_object_get(doc, "confusion");
    assert_int_equal(json_array_size(classes), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(classes, 0), "label")),
                        "a\"b");
    assert_int_equal(json_integer_value(json_array_get(json_array_get(confusion, 1), 2)), 1);
    json_decref(doc);
    buf_done(&out);
    report_done(&r);
}

static void console_form(void **state)
{
    (void)state;
    static const char *const names[] = {"finance", "体育", "c"};
    struct report r;
    char *text = NULL;
    size_t len = 0;
    report_init(&r, 3);
    add(&r, 0, 0, 0.5f);
    add(&r, 1, 2, 0.5f);
    FILE *out = open_memstream(&text, &len);
    report_print(&r, names, out);
    (void)fclose(out);
    assert_non_null(strstr(text, "titles 2   loss 1.0397   accuracy 50.00 %"));
    assert_non_null(strstr(text, "macro average"));
    assert_non_null(strstr(text, "weighted average"));
    assert_non_null(strstr(text, "            体育     0     0     1"));
    free(text);
    report_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hand_case),
        cmocka_unit_test(ties_go_to_the_lowest_index),
        cmocka_unit_test(zero_probability_is_a_finite_loss),
        cmocka_unit_test(empty_is_all_zero),
        cmocka_unit_test(absent_class),
        cmocka_unit_test(scikit_learn),
        cmocka_unit_test(json_form),
        cmocka_unit_test(console_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
