#include "tests/base/scratch.h"

#include "data/utf8.h"
#include "data/vocab.h"

#define SPECIALS "[PAD]\n[UNK]\n[SPACE]\n"

static int read_text(const char *text, size_t n, struct vocab **v, struct err *err)
{
    char *path = scratch_write("vocab.txt", text, n);
    int rc = vocab_read(path, v, err);
    free(path);
    return rc;
}

static struct vocab *made(const char *text)
{
    struct vocab *v;
    struct err e;
    assert_int_equal(read_text(text, strlen(text), &v, &e), 0);
    return v;
}

static void refused(const char *text, size_t n, const char *expected)
{
    struct err e;
    struct vocab *untouched = (struct vocab *)&e, *v = untouched;
    assert_int_equal(read_text(text, n, &v, &e), -1);
    assert_error(&e, ERR_FORMAT, expected);
    assert_ptr_equal(v, untouched);
}
#define REFUSED(text, expected) refused(text, sizeof text - 1, expected)

static void bad_files(void **state)
{
    (void)state;
    REFUSED("", "vocab.txt: the file is empty");
    REFUSED("\n", "vocab.txt:1: expected [PAD]");
    REFUSED("a\nb\n", "vocab.txt:1: expected [PAD]");
    REFUSED("[PAD]", "vocab.txt:2: expected [UNK]");
    REFUSED("[PAD]\n[UNK]\n", "vocab.txt:3: expected [SPACE]");
    REFUSED("[PAD]\n[UNK]\n[SPACE] \na\n", "vocab.txt:3: expected [SPACE]");
    REFUSED("[UNK]\n[PAD]\n[SPACE]\n", "vocab.txt:1: expected [PAD]");
    REFUSED(SPECIALS "a\n\nb\n", "vocab.txt:5: an empty line");
    REFUSED(SPECIALS "a\n\n", "vocab.txt:5: an empty line");
    REFUSED(SPECIALS "a\n\r\n", "vocab.txt:5: an empty line");
    REFUSED(SPECIALS "\xe4\xb8\n", "vocab.txt:4: invalid UTF-8 or a NUL");
    REFUSED(SPECIALS "a\xff\n", "vocab.txt:4: invalid UTF-8 or a NUL");
    REFUSED(SPECIALS "\0\n", "vocab.txt:4: invalid UTF-8 or a NUL");
    REFUSED(SPECIALS "\xed\xa0\x80\n", "vocab.txt:4: invalid UTF-8 or a NUL");
    REFUSED(SPECIALS "a\nbc\n", "vocab.txt:5: more than one character (2 bytes)");
    REFUSED(SPECIALS "a \n", "vocab.txt:4: more than one character (2 bytes)");
    REFUSED(SPECIALS "a\nb\na\n", "vocab.txt:6: U+0061 is repeated");
    REFUSED(SPECIALS "a\n[PAD]\n", "vocab.txt:5: more than one character (5 bytes)");
    REFUSED(SPECIALS " \n", "vocab.txt:4: U+0020 is white space or a control character");
    REFUSED(SPECIALS "\xe3\x80\x80\n", "vocab.txt:4: U+3000 is white space or a control character");
    REFUSED(SPECIALS "\x01\n", "vocab.txt:4: U+0001 is white space or a control character");
    struct vocab *v;
    struct err e;
    char *path = scratch_file("none");
    assert_int_equal(vocab_read(path, &v, &e), -1);
    assert_error(&e, ERR_MISSING, "none: open: No such file or directory");
    free(path);
}

static void accepted_forms(void **state)
{
    (void)state;
    static const char *const forms[] = {
        SPECIALS "a\n\xe4\xb8\xad\n\xf0\x9f\x98\x80\n",
        SPECIALS "a\n\xe4\xb8\xad\n\xf0\x9f\x98\x80",
        "[PAD]\r\n[UNK]\r\n[SPACE]\r\na\r\n\xe4\xb8\xad\r\n\xf0\x9f\x98\x80\r\n",
        "\xef\xbb\xbf" SPECIALS "a\n\xe4\xb8\xad\n\xf0\x9f\x98\x80\r",
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct vocab *v = made(forms[i]);
        assert_int_equal(vocab_size(v), 6);
        assert_int_equal(vocab_id(v, 'a'), 3);
        assert_int_equal(vocab_id(v, 'A'), 3);
        assert_int_equal(vocab_id(v, 0x4e2d), 4);
        assert_int_equal(vocab_id(v, 0x1f600), 5);
        assert_int_equal(vocab_id(v, ' '), VOCAB_SPACE);
        assert_int_equal(vocab_id(v, 'b'), VOCAB_UNK);
        assert_int_equal(vocab_id(v, 0x200b), VOCAB_UNK);
        assert_int_equal(vocab_id(v, 0x10ffff), VOCAB_UNK);
        assert_int_equal(vocab_id(v, UINT32_MAX), VOCAB_UNK);
        vocab_close(v);
    }
    struct vocab *v = made(SPECIALS);
    assert_int_equal(vocab_size(v), 3);
    vocab_close(v);
    vocab_close(NULL);
}

static void encodes_to(const struct vocab *v, const char *title, size_t n, const char *expected)
{
    /* Exactly sized blocks: a sanitizer sees any byte read or id written too many. */
    char *copy = xmalloc(n), text[400];
    memcpy(copy, title, n);
    for (int32_t max = 1; max <= 20; max++) {
        int32_t *ids = xmalloc((size_t)max * sizeof *ids), k = vocab_encode(v, copy, n, ids, max);
        size_t used = 0;
        assert_in_range(k, 1, max);
        for (int32_t i = 0; i < k; i++)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%d", i ? " " : "",
                                     (int)ids[i]);
        /* A shorter bound gives the beginning of the same ids. */
        assert_memory_equal(text, expected, used);
        if (max == 20)
            assert_string_equal(text, expected);
        free(ids);
    }
    free(copy);
}
#define ENCODES(v, title, expected) encodes_to(v, title, sizeof title - 1, expected)

static void encodes(void **state)
{
    (void)state;
    struct vocab *v = made(SPECIALS "a\n\xe4\xb8\xad\n\xf0\x9f\x98\x80\n\xd0\xb6\nZ\n1\n");
    ENCODES(v, "a", "3");
    ENCODES(v, "A\xe4\xb8\xad\xf0\x9f\x98\x80\xd0\x96\xd0\xb6", "3 4 5 6 6");
    ENCODES(v, "b\xe6\x96\x87", "1 1");
    ENCODES(v, "zZ", "1 1"); /* Z's line is not lower case: no title reaches it */
    ENCODES(v, "  a \t\xe3\x80\x80 a\xc2\xa0", "3 2 3");
    ENCODES(v,
            "a\x01\xe2\x80\x8b"
            "a",
            "3 3");
    ENCODES(v, "a \x01 a", "3 2 3");  /* the dropped character does not part the run */
    ENCODES(v, " \x01 a \x01 ", "3"); /* nor make an end */
    ENCODES(v, "\x01\xef\xbb\xbf", "1");
    ENCODES(v, "   ", "1");
    ENCODES(v, "", "1");
    ENCODES(v, "a\r\n1", "3 2 8");
    int32_t id = 77;
    assert_int_equal(vocab_encode(v, "a", 1, &id, 0), 0);
    assert_int_equal(id, 77);
    vocab_close(v);
}

static void broken_bytes_do_no_harm(void **state)
{
    (void)state;
    struct vocab *v = made(SPECIALS "a\n");
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        unsigned char bytes[12];
        size_t n = (size_t)round % 12 + 1;
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1103515245u + 12345u;
            bytes[i] = (unsigned char)(seed >> 16 | 0x80 * (round & 1));
        }
        char *s = xmalloc(n);
        memcpy(s, bytes, n);
        int32_t ids[12], k = vocab_encode(v, s, n, ids, 12);
        assert_in_range(k, 1, 12);
        for (int32_t i = 0; i < k; i++)
            assert_in_range(ids[i], 0, 3);
        free(s);
    }
    vocab_close(v);
}

/* The table against the rule, for every code point there is. */
static void table_equals_the_rule(void **state)
{
    (void)state;
    struct vocab *v = made(
        SPECIALS "a\n\xc3\xa9\n\xe4\xb8\xad\n\xf0\x90\x90\xa8\n\xef\xbd\x81\n\xf0\xa0\x80\x80\n");
    for (uint32_t c = 1; c < 0x110000; c++) {
        if (c >= 0xd800 && c <= 0xdfff)
            continue;
        char s[4];
        int32_t ids[4], want = VOCAB_UNK;
        size_t n = utf8_encode(c, s);
        switch (utf8_fold(c)) {
        case 'a':
            want = 3;
            break;
        case 0xe9:
            want = 4;
            break;
        case 0x4e2d:
            want = 5;
            break;
        case 0x10428:
            want = 6;
            break;
        case 0xff41:
            want = 7;
            break;
        case 0x20000:
            want = 8;
            break;
        }
        if (vocab_encode(v, s, n, ids, 4) != 1 || ids[0] != want)
            fail_msg("U+%04X", c);
    }
    vocab_close(v);
}

static void count(struct vocab_builder *b, const char *title)
{
    vocab_builder_add(b, title, strlen(title));
}

static void builds(void **state)
{
    (void)state;
    struct vocab_builder *b = vocab_builder_open();
    count(b, "bB  a\x01\xe4\xb8\xad");
    count(b, "\xe4\xb8\xad\xe3\x80\x80"
             "cA\xf0\x9f\x98\x80");
    /* a 2, b 2, U+4E2D 2, c 1, U+1F600 1: by count, then by code point. */
    struct vocab *v = vocab_builder_finish(b, 1, 0);
    static const uint32_t order[] = {'a', 'b', 0x4e2d, 'c', 0x1f600};
    assert_int_equal(vocab_size(v), 8);
    for (int i = 0; i < 5; i++)
        assert_int_equal(vocab_id(v, order[i]), VOCAB_FIRST + i);
    assert_int_equal(vocab_id(v, 'B'), 4);
    assert_int_equal(vocab_id(v, 1), VOCAB_UNK);
    vocab_close(v);
    v = vocab_builder_finish(b, 2, 0);
    assert_int_equal(vocab_size(v), 6);
    assert_int_equal(vocab_id(v, 'c'), VOCAB_UNK);
    vocab_close(v);
    v = vocab_builder_finish(b, 1, 5);
    assert_int_equal(vocab_size(v), 5);
    assert_int_equal(vocab_id(v, 'b'), 4);
    assert_int_equal(vocab_id(v, 0x4e2d), VOCAB_UNK);
    vocab_close(v);
    v = vocab_builder_finish(b, 1, 2); /* the specials are always there */
    assert_int_equal(vocab_size(v), 3);
    vocab_close(v);
    count(b, "ccc");
    v = vocab_builder_finish(b, 1, 0);
    assert_int_equal(vocab_id(v, 'c'), 3);
    vocab_close(v);
    vocab_builder_close(b);
    b = vocab_builder_open();
    v = vocab_builder_finish(b, 1, 0);
    assert_int_equal(vocab_size(v), 3);
    vocab_close(v);
    vocab_builder_close(b);
    vocab_builder_close(NULL);
}

static void written_and_read_again(void **state)
{
    (void)state;
    struct err e;
    struct vocab_builder *b = vocab_builder_open();
    for (uint32_t c = 1; c < 0x11000; c += 3) { /* past the first capacity, out of the BMP */
        char s[4];
        if (c < 0xd800 || c > 0xdfff)
            vocab_builder_add(b, s, utf8_encode(c, s));
    }
    struct vocab *v = vocab_builder_finish(b, 1, 0), *w;
    char *path = scratch_file("written"), *text;
    assert_int_equal(vocab_write(v, path, &e), 0);
    assert_int_equal(vocab_read(path, &w, &e), 0);
    assert_int_equal(vocab_size(w), vocab_size(v));
    assert_true(vocab_size(v) > 20000);
    for (uint32_t c = 0; c < 0x110000; c++)
        if (vocab_id(v, c) != vocab_id(w, c))
            fail_msg("U+%04X", c);
    assert_int_equal(file_read(path, 1 << 20, &text, NULL, &e), 0);
    assert_memory_equal(text, SPECIALS, sizeof SPECIALS - 1);
    free(text);
    free(path);
    path = scratch_file("none/vocab.txt");
    assert_int_equal(vocab_write(v, path, &e), -1);
    assert_int_equal(e.code, ERR_MISSING);
    free(path);
    vocab_close(v);
    vocab_close(w);
    vocab_builder_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_files),
        cmocka_unit_test(accepted_forms),
        cmocka_unit_test(encodes),
        cmocka_unit_test(broken_bytes_do_no_harm),
        cmocka_unit_test(table_equals_the_rule),
        cmocka_unit_test(builds),
        cmocka_unit_test(written_and_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
