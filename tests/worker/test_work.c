#include "worker/work.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct work work;
    struct codec *codec;
    struct config cfg;
};

static int setup(void **state)
{
    static struct fixture f;
    work_init(&f.work);
    f.codec = codec_open(WIRE_JSON, 3, 1 << 20);
    f.cfg = (struct config){.max_title_bytes = 30, .batch_titles = 8};
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    codec_close(f->codec);
    work_done(&f->work);
    return 0;
}

static void add(struct fixture *f, const char *value)
{
    struct record r = {.value = value, .len = value ? strlen(value) : 0, .offset = 7};
    work_add(&f->work, &r, f->codec, &f->cfg, 64);
}

static void each_fault_becomes_a_dead_letter(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *value;
        enum reason reason;
    } cases[] = {
        {"{\"title\":\"好\"}", REASON_NONE},
        {NULL, REASON_NULL_VALUE},
        {"[]", REASON_EMPTY_BATCH},
        {"{\"title\":", REASON_MALFORMED},
        {"{\"title\":\"  \"}", REASON_EMPTY_TITLE},
        {"{\"title\":\"a\\u0000b\"}", REASON_NUL_IN_TITLE},
        {"{\"title\":\"0123456789012345678901234567890\"}", REASON_TITLE_TOO_LONG},
        {"[{\"title\":\"a\"},{\"title\":\"b\"},{\"title\":\"c\"},{\"title\":\"d\"}]",
         REASON_MALFORMED}, /* over max_headlines */
    };
    size_t n = sizeof cases / sizeof *cases;
    for (size_t i = 0; i < n; i++)
        add(f, cases[i].value);
    assert_int_equal(f->work.n_records, n);
    assert_int_equal(f->work.n_items, n);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(f->work.items[i].reason, cases[i].reason);
        assert_int_equal(f->work.items[i].record, i);
        assert_int_equal(f->work.items[i].index, 0);
        assert_int_equal(strlen(work_note(&f->work, &f->work.items[i])) > 0,
                         cases[i].reason != REASON_NONE);
    }
    assert_int_equal(f->work.fill.titles, 1);
    assert_int_equal(f->work.fill.tokens, 1);
}

static void a_bad_one_does_not_hold_the_others(void **state)
{
    struct fixture *f = *state;
    add(f, "[{\"title\":\"头\",\"id\":\"a\"},{\"title\":\"\"},{\"title\":\"尾巴\",\"id\":\"c\"}]");
    assert_int_equal(f->work.n_records, 1);
    assert_int_equal(f->work.n_items, 3);
    assert_int_equal(f->work.items[1].reason, REASON_EMPTY_TITLE);
    assert_int_equal(f->work.items[1].index, 1);
    assert_int_equal(f->work.items[2].index, 2);
    assert_memory_equal(f->work.text.data + f->work.items[2].title, "尾巴", 6);
    assert_memory_equal(f->work.text.data + f->work.items[2].id, "c", 1);
    assert_int_equal(f->work.fill.tokens, 3);
}

static void a_bad_id_is_one_headlines_fault(void **state)
{
    struct fixture *f = *state;
    add(f, "[{\"title\":\"头\"},{\"title\":\"中\",\"id\":[]},5]");
    assert_int_equal(f->work.n_items, 3);
    assert_int_equal(f->work.items[0].reason, REASON_NONE);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(f->work.items[i].reason, REASON_MALFORMED);
        assert_int_equal(f->work.items[i].index, i);
    }
    assert_string_equal(work_note(&f->work, &f->work.items[1]), "\"id\": expected a string");
}

static void reset_forgets(void **state)
{
    struct fixture *f = *state;
    add(f, "{\"title\":\"好\"}");
    work_reset(&f->work);
    assert_int_equal(
        f->work.n_items + f->work.n_records + f->work.text.len + (size_t)f->work.fill.titles, 0);
}

static void reasons_have_names(void **state)
{
    (void)state;
    for (int i = 0; i < REASON_COUNT; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(reason_name((enum reason)i), reason_name((enum reason)j));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_fault_becomes_a_dead_letter, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_one_does_not_hold_the_others, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_id_is_one_headlines_fault, setup, teardown),
        cmocka_unit_test_setup_teardown(reset_forgets, setup, teardown),
        cmocka_unit_test(reasons_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
