/* Which words are asked, and what the model sees in their place. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"
#include "data/wordpiece.h"
#include "tests/base/scratch.h"
#include "trainer/masking.h"

enum { TITLES = 20000, MAX = 64 };

struct seen {
    struct tokenizer *t;
    struct masking m;
    int32_t plain[MAX], ids[MAX], row[MAX], word[MAX];
    int32_t n;
};

static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]"
                            "\n中\n国\n女\n子\n排\n球\n队\n今\n天\n在\n北\n京\n以\n三\n比\n零\n"
                            "战\n胜\n对\n手\n取\n得\n连\na\n##b\n##c\n";

/* Of a tokenizer that reads this vocabulary. */
static const char *directory(const char *text)
{
    free(scratch_write("vocab.txt", text, strlen(text)));
    return scratch_dir();
}

static struct seen open_seen(double share, const char *title)
{
    struct seen s = {0};
    struct err err;
    const char *dir = directory(vocab);
    if (tokenizer_open(dir, TOKENIZER_BERT, &s.t, &err) != 0 ||
        masking_open(&s.m, s.t, dir, share, &err) != 0)
        fail_msg("%s", err.msg);
    s.n = tokenizer_encode(s.t, title, strlen(title), s.plain, MAX, NULL);
    return s;
}

static int32_t draw(struct seen *s, uint64_t seed, uint64_t which, uint32_t number)
{
    memcpy(s->ids, s->plain, sizeof s->ids);
    return masking_draw(&s->m, s->ids, s->n, seed, which, number, 100, s->row, s->word);
}

static void close_seen(struct seen *s)
{
    masking_close(&s->m);
    tokenizer_close(s->t);
}

/* 15 % of the pieces, each place as often as the others; four fifths, a tenth, a tenth. */
static void test_shares(void **state)
{
    (void)state;
    struct seen s = open_seen(0.15, "中国女子排球队今天在北京以三比零战胜对手取得三连胜");
    int64_t at[MAX] = {0}, masked = 0, kept = 0, other = 0, all = 0;
    assert_true(s.n > 20);
    for (uint32_t i = 0; i < TITLES; i++) {
        int32_t asked = draw(&s, 1, i / 100, i % 100);
        assert_int_equal(asked, lround(0.15 * s.n));
        for (int32_t k = 0; k < asked; k++) {
            int32_t place = s.row[k] - 100;
            assert_int_equal(s.word[k], s.plain[place]);
            at[place]++;
            masked += s.ids[place] == s.m.mask_id;
            kept += s.ids[place] == s.plain[place];
            other += s.ids[place] != s.m.mask_id && s.ids[place] != s.plain[place];
            assert_int_not_equal(s.m.role[s.word[k]], PIECE_SPECIAL);
        }
        all += asked;
    }
    assert_true(fabs((double)masked / (double)all - 0.8) < 0.01);
    assert_true(fabs((double)kept / (double)all - 0.1) < 0.01);
    assert_true(fabs((double)other / (double)all - 0.1) < 0.01);
    assert_int_equal(at[0] + at[s.n - 1], 0); /* [CLS] and [SEP] */
    double even = (double)all / (s.n - 2);
    for (int32_t i = 1; i < s.n - 1; i++)
        assert_true(fabs((double)at[i] / even - 1) < 0.1);
    close_seen(&s);
}

/* What is not asked stays as it is, and the same draw is the same. */
static void test_the_rest_stays(void **state)
{
    (void)state;
    struct seen s = open_seen(0.3, "中国女子排球队今天在北京");
    int32_t first[MAX];
    for (uint32_t i = 0; i < 1000; i++) {
        int32_t asked = draw(&s, 3, i, 5);
        memcpy(first, s.ids, sizeof first);
        for (int32_t at = 0; at < s.n; at++) {
            bool is_asked = false;
            for (int32_t k = 0; k < asked; k++)
                is_asked |= s.row[k] - 100 == at;
            assert_true(is_asked || s.ids[at] == s.plain[at]);
        }
        assert_int_equal(draw(&s, 3, i, 5), asked);
        assert_memory_equal(first, s.ids, (size_t)s.n * sizeof *first);
    }
    int differs = 0;
    for (uint32_t i = 0; i < 100; i++) {
        (void)draw(&s, 3, 7, i);
        memcpy(first, s.ids, sizeof first);
        (void)draw(&s, 3, 8, i);
        differs += memcmp(first, s.ids, (size_t)s.n * sizeof *first) != 0;
    }
    assert_true(differs > 50);
    close_seen(&s);
}

/* A word of several pieces is asked whole or not at all. */
static void test_words_are_whole(void **state)
{
    (void)state;
    struct seen s = open_seen(0.5, "中国abc女子abc排球");
    int32_t inside = 0, whole = 0;
    for (int32_t i = 0; i < s.n; i++)
        inside += s.m.role[s.plain[i]] == PIECE_CONTINUES;
    assert_true(inside > 0);
    for (uint32_t i = 0; i < 1000; i++) {
        bool asked_at[MAX + 1] = {false};
        int32_t asked = draw(&s, 1, i, 0);
        for (int32_t k = 0; k < asked; k++)
            asked_at[s.row[k] - 100] = true;
        for (int32_t at = 1; at < s.n; at++)
            if (s.m.role[s.plain[at]] == PIECE_CONTINUES) {
                assert_int_equal(asked_at[at], asked_at[at - 1]);
                whole += asked_at[at];
            }
    }
    assert_true(whole > 100);
    close_seen(&s);
}

static void test_nothing_to_ask(void **state)
{
    (void)state;
    struct seen s = open_seen(0.15, "\xe4\xb8\xad");
    s.plain[1] = s.plain[0];
    assert_int_equal(draw(&s, 1, 1, 1), 0);
    close_seen(&s);
}

static void test_tokenizers_without_masks(void **state)
{
    (void)state;
    struct tokenizer *t;
    struct masking m;
    struct err err;
    assert_int_equal(tokenizer_open("tests/golden/transformers/xlnet", TOKENIZER_XLNET, &t, &err),
                     0);
    assert_int_equal(masking_open(&m, t, "x", 0.15, &err), -1);
    assert_non_null(strstr(err.msg, "WordPiece"));
    tokenizer_close(t);
    const char *dir = directory("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n");
    assert_int_equal(tokenizer_open(dir, TOKENIZER_BERT, &t, &err), 0);
    assert_int_equal(masking_open(&m, t, "dir", 0.15, &err), -1);
    assert_non_null(strstr(err.msg, "[MASK]"));
    tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_the_rest_stays),
        cmocka_unit_test(test_words_are_whole),
        cmocka_unit_test(test_nothing_to_ask),
        cmocka_unit_test(test_tokenizers_without_masks),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
