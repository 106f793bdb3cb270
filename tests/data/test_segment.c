/* Chinese words: equal to jieba's with the same dictionary and tables (tests/golden/jieba_words.py golden), what is
 * refused; and titles as words. */
#include "tests/base/scratch.h"

#include "data/segment.h"
#include "data/words.h"

#define GOLDEN "tests/golden/segment"

struct line {
    char text[2000];
    size_t n;
};

static void add(void *arg, const char *s, size_t n)
{
    struct line *l = arg;
    if (l->n)
        l->n += (size_t)snprintf(l->text + l->n, sizeof l->text - l->n, "\xe2\x81\xa0");
    l->n += (size_t)snprintf(l->text + l->n, sizeof l->text - l->n, "%.*s", (int)n, s);
}

static struct segmenter *open_golden(void)
{
    struct segmenter *s;
    struct err err;
    if (segmenter_open(GOLDEN, &s, &err) != 0)
        fail_msg("%s", err.msg);
    return s;
}

static void test_equals_jieba(void **state)
{
    (void)state;
    struct segmenter *s = open_golden();
    struct err err;
    char *titles, *expected;
    assert_int_equal(file_read(GOLDEN "/titles.txt", 1 << 20, &titles, NULL, &err), 0);
    assert_int_equal(file_read(GOLDEN "/expected.txt", 1 << 20, &expected, NULL, &err), 0);
    char *a = titles, *b = expected, *title;
    int n = 0;
    for (; (title = strsep(&a, "\n")) != NULL && *title; n++) {
        struct line l = {.n = 0};
        segmenter_cut(s, title, strlen(title), add, &l);
        assert_string_equal(l.text, strsep(&b, "\n"));
    }
    assert_int_equal(n, 13);
    free(titles);
    free(expected);
    segmenter_close(s);
}

/* Together the words are the text, whatever it is. */
static void count(void *arg, const char *s, size_t n)
{
    const char **at = arg;
    assert_ptr_equal(s, *at);
    assert_true(n > 0);
    *at += n;
}

static void test_nothing_is_lost(void **state)
{
    (void)state;
    struct segmenter *s = open_golden();
    static const char *const texts[] = {"", " ", "中", "\r\n\r", "a.b.1%%", "\xff\xfe中\xe4\xb8",
                                        "🏆"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *at = texts[i];
        segmenter_cut(s, texts[i], strlen(texts[i]), count, &at);
        assert_ptr_equal(at, texts[i] + strlen(texts[i]));
    }
    segmenter_close(s);
}

static void put(const char *name, const char *text)
{
    free(scratch_write(name, text, strlen(text)));
}

static void refused(const char *message)
{
    struct segmenter *s;
    struct err err;
    assert_int_equal(segmenter_open(scratch_dir(), &s, &err), -1);
    assert_error(&err, ERR_FORMAT, message);
}

static void test_refusals(void **state)
{
    (void)state;
    struct err err;
    struct segmenter *s;
    assert_int_equal(segmenter_copy_files(GOLDEN, scratch_dir(), &err), 0);
    put("dict.txt", "中国 800 ns\n央行\n");
    refused("dict.txt:2: expected a word, a space and its frequency");
    put("dict.txt", "中国 many ns\n");
    refused("dict.txt:1: expected a word, a space and its frequency");
    put("dict.txt", "中国 -1 ns\n");
    refused("dict.txt:1: expected a word, a space and its frequency");
    put("dict.txt", "\xff\xfe 3 n\n");
    refused("dict.txt:1: invalid UTF-8");
    put("dict.txt", "\n\n");
    refused("dict.txt: no word in it");
    put("dict.txt", "中国 800 ns\n");
    put("prob_start.py", "Q={}\n");
    refused("prob_start.py: no \"P=\" in it");
    put("prob_start.py", "P={'B': -1.0,\n'E': x}\n");
    refused("prob_start.py:2: expected a table of probabilities by states B, M, E, S");
    put("prob_start.py", "P={'B': -1.0, 'E': -1, 'S': -1}\n");
    refused("prob_start.py:1: expected all of the states B, M, E, S");
    put("prob_start.py", "P={'B': -1.0, 'E': -1, 'M': -1, 'S': -1");
    refused("prob_start.py:1: expected a table of probabilities by states B, M, E, S");
    put("prob_start.py", "P={'B': -0.3, 'E': -3.14e+100, 'M': -3.14e+100, 'S': -1.35}");
    put("prob_emit.py", "P={'B': {'\\u4e': -1.0}}");
    refused("prob_emit.py:1: expected a table of probabilities by states B, M, E, S");
    assert_int_equal(segmenter_open("no/such/directory", &s, &err), -1);
    assert_non_null(strstr(err.msg, "no/such/directory/dict.txt"));
}

static void words_of(enum words_how how, const char *stop, const char *title, const char *expected)
{
    struct words *w;
    struct err err;
    struct line l = {.n = 0};
    if (words_open(how, GOLDEN, stop, &w, &err) != 0)
        fail_msg("%s", err.msg);
    words_each(w, title, strlen(title), add, &l);
    for (char *gap; (gap = strstr(l.text, "\xe2\x81\xa0")) != NULL;) {
        *gap = '/';
        memmove(gap + 1, gap + 3, strlen(gap + 3) + 1);
    }
    assert_string_equal(l.text, expected);
    words_close(w);
}

static void test_words(void **state)
{
    (void)state;
    words_of(WORDS_CHARACTERS, NULL, "A股 大涨　了", "A/股/大/涨/了");
    words_of(WORDS_SPACES, NULL, "A股 大涨\t\t了", "A股/大涨/了");
    words_of(WORDS_JIEBA, NULL, "中国 股市大涨了", "中国/股市/大涨/了");
    put("stop.txt", "的\r\n\n了\n股市\n");
    char *stop = scratch_file("stop.txt");
    words_of(WORDS_JIEBA, stop, "中国的股市大涨了", "中国/大涨");
    words_of(WORDS_SPACES, stop, "中国的 股市 了", "中国的");
    words_of(WORDS_CHARACTERS, stop, "的了中", "中");
    struct words *w;
    struct err err;
    put("stop.txt", "\n");
    assert_int_equal(words_open(WORDS_SPACES, NULL, stop, &w, &err), -1);
    assert_error(&err, ERR_FORMAT, "stop.txt: no word in it");
    free(stop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_jieba),
        cmocka_unit_test(test_nothing_is_lost),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
