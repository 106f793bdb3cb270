/* Ids against transformers' slow tokenizers on nasty strings (tests/golden/tokenizer_ids.py); and what is
 * wrong with the files of a tokenizer. */
#include "tests/base/scratch.h"

#include "base/json.h"
#include "data/tokenizer.h"
#include "data/wordpiece.h"

#define ROWS "tests/golden/transformers/"

static void write_text(const char *name, const char *text)
{
    free(scratch_write(name, text, strlen(text)));
}

/* The scratch folder becomes the row's tokenizer with a configuration. */
static void set_up(const char *row, const char *config)
{
    const char *file = strcmp(row, "bert") == 0 ? "vocab.txt" : "spiece.model";
    char *from = file_path(ROWS "%s/%s", row, file), *to = scratch_file(file);
    char *a = scratch_file("vocab.txt"), *b = scratch_file("spiece.model");
    struct err err;
    (void)remove(a);
    (void)remove(b);
    assert_int_equal(file_copy(from, to, &err), 0);
    write_text("tokenizer_config.json", config);
    free(from);
    free(to);
    free(a);
    free(b);
}

static enum tokenizer_kind kind_of(const char *row)
{
    return strcmp(row, "bert") == 0    ? TOKENIZER_BERT
           : strcmp(row, "xlnet") == 0 ? TOKENIZER_XLNET
                                       : TOKENIZER_T5;
}

static void test_golden(void **state)
{
    (void)state;
    struct err err;
    json_t *cases = json_parse_file("tests/golden/tokenizers.json", 1 << 24, &err), *c;
    char *last = xstrdup("");
    struct tokenizer *t = NULL;
    size_t i;
    assert_non_null(cases);
    json_array_foreach(cases, i, c)
    {
        const char *row = json_string_value(json_object_get(c, "row"));
        char *config = json_dumps(json_object_get(c, "config"), 0);
        char *now = file_path("%s %s", row, config);
        if (strcmp(now, last) != 0) {
            tokenizer_close(t);
            set_up(row, config);
            if (tokenizer_open(scratch_dir(), kind_of(row), &t, &err) != 0)
                fail_msg("%s", err.msg);
        }
        free(last);
        free(config);
        last = now;
        const json_t *text = json_object_get(c, "text"), *ids = json_object_get(c, "ids");
        size_t n = json_string_length(text);
        int32_t max = (int32_t)json_integer_value(json_object_get(c, "max")), got[512];
        char *exact = xmalloc(n + !n); /* a sanitizer sees one byte more */
        bool cut;
        memcpy(exact, json_string_value(text), n);
        int32_t m = tokenizer_encode(t, exact, n, got, max, &cut);
        bool same = (size_t)m == json_array_size(ids);
        for (int32_t k = 0; k < m && same; k++)
            same = got[k] == json_integer_value(json_array_get(ids, (size_t)k)) &&
                   got[k] < tokenizer_size(t);
        if (!same)
            fail_msg("case %zu, %s: \"%.60s\": other ids", i, now, json_string_value(text));
        if (cut != json_is_true(json_object_get(c, "cut")))
            fail_msg("case %zu, %s: \"%.60s\": cut is %d", i, now, json_string_value(text), cut);
        free(exact);
    }
    assert_true(i > 500);
    tokenizer_close(t);
    free(last);
    json_decref(cases);
}

static void refused(enum tokenizer_kind kind, const char *text)
{
    struct tokenizer *t = NULL;
    struct err err;
    assert_int_equal(tokenizer_open(scratch_dir(), kind, &t, &err), -1);
    assert_null(t);
    if (!strstr(err.msg, text))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
}

static void test_refused(void **state)
{
    (void)state;
    set_up("bert", "{\"do_lower_case\": 3}");
    refused(TOKENIZER_BERT, "tokenizer_config.json");
    set_up("bert", "[]");
    refused(TOKENIZER_BERT, "expected an object");
    set_up("bert", "{");
    refused(TOKENIZER_BERT, "tokenizer_config.json");
    set_up("bert", "{\"strip_accents\": null}");
    write_text("vocab.txt", "");
    refused(TOKENIZER_BERT, "none of its 0 lines is [UNK]");
    write_text("vocab.txt", "[UNK]\n[CLS]\n");
    refused(TOKENIZER_BERT, "none of its 2 lines is [SEP]");
    set_up("xlnet", "{}");
    write_text("spiece.model", "no model");
    refused(TOKENIZER_XLNET, "spiece.model: no SentencePiece model");
    set_up("t5", "{}");
    refused(TOKENIZER_XLNET, "pieces is <sep>");
    refused(TOKENIZER_BERT, "pieces is [CLS]");
    char *path = scratch_file("spiece.model");
    (void)remove(path);
    free(path);
    refused(TOKENIZER_T5, "spiece.model");
    refused(TOKENIZER_BERT, "vocab.txt");
}

/* CRLF, no newline at the end, a line twice: the last one counts, as in the reference. */
static void test_vocabulary_file(void **state)
{
    (void)state;
    struct err err;
    struct wordpiece *w;
    struct wordpiece_options opt = {true, true, true};
    char *path = scratch_write("vocab.txt", "[UNK]\r\n[CLS]\r\n[SEP]\r\na\r\n##b\r\na\r\nc", 33);
    assert_int_equal(wordpiece_open(path, &opt, &w, &err), 0);
    assert_int_equal(wordpiece_size(w), 7);
    assert_int_equal(wordpiece_id(w, "a"), 5);
    assert_int_equal(wordpiece_id(w, "##b"), 4);
    assert_int_equal(wordpiece_id(w, "b"), -1);
    int32_t ids[8];
    assert_int_equal(wordpiece_encode(w, "AB c \xff\xfe", 7, ids, 8, NULL), 5);
    const int32_t expected[] = {1, 5, 4, 6, 2};
    assert_memory_equal(ids, expected, sizeof expected);
    wordpiece_close(w);
    free(path);
}

/* Broken bytes: nothing is read outside, ids stay within the vocabulary. */
static void test_broken_bytes(void **state)
{
    (void)state;
    static const char *const rows[] = {"bert", "xlnet", "t5"};
    struct err err;
    for (int k = 0; k < 3; k++) {
        struct tokenizer *t;
        set_up(rows[k], "{}");
        assert_int_equal(tokenizer_open(scratch_dir(), kind_of(rows[k]), &t, &err), 0);
        for (unsigned seed = 1; seed < 3000; seed++) {
            size_t n = seed % 13;
            unsigned x = seed * 2654435761u;
            unsigned char *text = xmalloc(n + !n);
            int32_t ids[16];
            for (size_t i = 0; i < n; i++, x = x * 1664525u + 1013904223u)
                text[i] = (unsigned char)(x >> 23 | 0x80);
            int32_t got = tokenizer_encode(t, (const char *)text, n, ids, 16, NULL);
            assert_in_range(got, 1, 16);
            for (int32_t i = 0; i < got; i++)
                assert_in_range(ids[i], 0, tokenizer_size(t) - 1);
            free(text);
        }
        tokenizer_close(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_vocabulary_file),
        cmocka_unit_test(test_broken_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
