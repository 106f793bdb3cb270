/* json_cost against what the parser really takes, for documents made to be expensive and for cuts
 * through them. */
#include "base/json.h"

#include <malloc.h>

#include "base/buf.h"
#include "tests/base/scratch.h"

static size_t held, peak;

static void *count_malloc(size_t n)
{
    void *p = malloc(n);
    held += p ? malloc_usable_size(p) + 8 : 0; /* and the allocator's own word */
    peak = held > peak ? held : peak;
    return p;
}

static void count_free(void *p)
{
    held -= p ? malloc_usable_size(p) + 8 : 0;
    free(p);
}

static void within(const char *data, size_t len)
{
    struct err err;
    held = peak = 0;
    json_t *v = json_parse("x", data, len, &err);
    size_t cost = json_cost(data, len);
    if (peak > cost)
        fail_msg("%.60s… of %zu bytes took %zu, more than %zu", data, len, peak, cost);
    json_decref(v);
    assert_int_equal(held, 0);
}

static void test_cost(void **state)
{
    (void)state;
    static const char *const units[] = {
        "[],",
        "{},",
        "\"\",",
        "1,",
        "1.5,",
        "true,",
        "\"abcdefgh\",",
        "[[]],",
        "[{}],",
        "[1,2],",
        "[\"\",\"\",\"\"],",
        "{\"a\":{}},",
        "{\"id\":\"x\",\"title\":\"t\"},",
        "{\"a\":[],\"b\":[],\"c\":[],\"d\":[],\"e\":[],\"f\":[],\"g\":[]},",
        "\"\\u6807\",",
        "\"a b { [ , : \\\" \",",
        "[[[[[[[[]]]]]]]],",
        "12345678901234567,"};
    static const int counts[] = {0, 1, 2, 7, 8, 9, 16, 17, 33, 1000, 5000};
    struct buf b;
    json_set_alloc_funcs(count_malloc, count_free);
    buf_init(&b, 1 << 24);
    for (size_t u = 0; u < sizeof units / sizeof *units; u++)
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            buf_reset(&b);
            buf_puts(&b, "[");
            for (int i = 0; i < counts[k]; i++)
                buf_puts(&b, units[u]);
            buf_puts(&b, "1]");
            within(b.data, b.len);
            within(b.data, b.len - 2);
        }
    /* Members with keys of their own, short and long. */
    for (int width = 1; width <= 200; width += 66)
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            buf_reset(&b);
            buf_puts(&b, "{");
            for (int i = 0; i < counts[k]; i++)
                buf_printf(&b, "%s\"%0*d\":%s", i ? "," : "", width, i, i % 2 ? "1" : "{}");
            buf_puts(&b, "}");
            within(b.data, b.len);
        }
    /* One long string, and nesting as deep as it goes. */
    buf_reset(&b);
    buf_puts(&b, "[\"");
    for (int i = 0; i < 1 << 20; i++)
        buf_puts(&b, "a");
    buf_puts(&b, "\"]");
    within(b.data, b.len);
    within(b.data, b.len - 1);
    for (int i = 0; i < 2000; i++) {
        b.data[i] = '[';
        b.data[3999 - i] = ']';
    }
    within(b.data, 4000);
    within("", 0);
    within("\"\\", 2);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
