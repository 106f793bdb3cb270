/* retrain.h: each decision with its word, status and reason. */
#include "trainer/retrain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"

#define OLD "00000000000000aa"
#define NEW "00000000000000bb"

/* champion < 0: there is none. */
static struct retrain decided(int64_t champion, int64_t challenger, double max_drop,
                              double min_accuracy, const char *version)
{
    struct retrain r = {.titles = 1000,
                        .max_drop = max_drop,
                        .min_accuracy = min_accuracy,
                        .max_shift = 0.2,
                        .champion.made = -1};
    r.challenger = (struct retrain_side){.right = challenger, .loss = 0.5, .measured = true};
    (void)strcpy(r.challenger.version, version);
    if (champion >= 0) {
        r.champion =
            (struct retrain_side){.right = champion, .loss = 0.25, .measured = true, .made = -1};
        (void)strcpy(r.champion.version, OLD);
    }
    retrain_decide(&r);
    return r;
}

static void expect(struct retrain r, enum retrain_outcome outcome, const char *why)
{
    assert_string_equal(retrain_word(r.outcome), retrain_word(outcome));
    if (!strstr(r.why, why))
        fail_msg("\"%s\" lacks \"%s\"", r.why, why);
}

static void decisions(void **state)
{
    (void)state;
    expect(decided(-1, 900, 0, 0, NEW), RETRAIN_PROMOTED, "there was no model in production");
    expect(decided(-1, 900, 0, 0.9, NEW), RETRAIN_PROMOTED, "");
    expect(decided(-1, 899, 0, 0.9, NEW), RETRAIN_BELOW,
           "89.90 % is below the least allowed, 90.00 %");
    expect(decided(900, 900, 0, 0, NEW), RETRAIN_PROMOTED, "not worse");
    expect(decided(900, 901, 0, 0, NEW), RETRAIN_PROMOTED, "90.10 %, production has 90.00 %");
    expect(decided(900, 899, 0, 0, NEW), RETRAIN_WORSE, "dev accuracy 89.90 %");
    expect(decided(900, 899, 0.001, 0, NEW), RETRAIN_PROMOTED, "not worse");
    expect(decided(900, 898, 0.001, 0, NEW), RETRAIN_WORSE, "at most 0.10 points less");
    expect(decided(900, 890, 0.01, 0, NEW), RETRAIN_PROMOTED, "");
    expect(decided(900, 889, 0.01, 0, NEW), RETRAIN_WORSE, "");
    expect(decided(100, 800, 0, 0.9, NEW), RETRAIN_BELOW, "");
    expect(decided(900, 900, 0, 0, OLD), RETRAIN_SAME, "this very content");
    expect(decided(900, 900, 0, 1, OLD), RETRAIN_SAME, "");
    expect(decided(0, 0, 0, 0, NEW), RETRAIN_PROMOTED, "");
}

/* A dev set that contradicts the model which was right before is not believed. */
static void suspect(void **state)
{
    (void)state;
    struct retrain r = decided(100, 900, 0, 0, NEW);
    assert_int_equal(r.outcome, RETRAIN_PROMOTED); /* nothing is known of the champion's past */
    r.champion.made = 0.9;
    retrain_decide(&r);
    expect(r, RETRAIN_SUSPECT, "has dev accuracy 10.00 %, and had 90.00 % when it was made");
    r.champion.made = 0.3;
    retrain_decide(&r);
    expect(r, RETRAIN_PROMOTED, "not worse");
    r.champion.made = 0.301;
    retrain_decide(&r);
    expect(r, RETRAIN_SUSPECT, "at most 20.00 points less");
    r.max_shift = 1;
    retrain_decide(&r);
    expect(r, RETRAIN_PROMOTED, "");
}

static void statuses(void **state)
{
    (void)state;
    static const int expected[RETRAIN_OUTCOMES] = {
        [RETRAIN_PROMOTED] = 0,  [RETRAIN_SAME] = 3,    [RETRAIN_WORSE] = 3,
        [RETRAIN_BELOW] = 3,     [RETRAIN_SUSPECT] = 3, [RETRAIN_LOCKED] = 4,
        [RETRAIN_OVERTAKEN] = 4, [RETRAIN_LABELS] = 5};
    for (int i = 0; i < RETRAIN_OUTCOMES; i++) {
        assert_int_equal(retrain_status((enum retrain_outcome)i), expected[i]);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(retrain_word((enum retrain_outcome)i),
                                    retrain_word((enum retrain_outcome)k));
    }
}

static void forms(void **state)
{
    (void)state;
    struct retrain r = decided(-1, 900, 0, 0, NEW);
    struct buf b;
    buf_init(&b, 10000);
    retrain_text(&r, "news", "production", &b);
    assert_string_equal(b.data,
                        "challenger   " NEW "  dev accuracy 90.00 % (900 of 1000)  loss 0.5000\n"
                        "promoted: production of news is now " NEW
                        ": dev accuracy 90.00 %; there was no model in production\n");
    buf_reset(&b);
    (void)strcpy(r.why, "a \"quoted\"\nreason");
    r.outcome = RETRAIN_LOCKED;
    r.token = 7;
    retrain_json(&r, "news", "production", &b);
    json_t *doc = json_parse("out", b.data, b.len, NULL);
    assert_non_null(doc);
    assert_string_equal(json_string_value(json_object_get(doc, "outcome")), "locked");
    assert_string_equal(json_string_value(json_object_get(doc, "why")), r.why);
    assert_true(json_is_false(json_object_get(doc, "promoted")));
    assert_true(json_is_null(json_object_get(doc, "champion")));
    assert_int_equal(json_integer_value(json_object_get(doc, "token")), 7);
    json_t *side = json_object_get(doc, "challenger");
    assert_string_equal(json_string_value(json_object_get(side, "version")), NEW);
    assert_true(json_real_value(json_object_get(side, "accuracy")) == 0.9);
    json_decref(doc);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(decisions), cmocka_unit_test(suspect),
                                       cmocka_unit_test(statuses), cmocka_unit_test(forms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
