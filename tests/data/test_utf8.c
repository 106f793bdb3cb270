#include "tests/base/scratch.h"

#include "data/utf8.h"

static bool is_surrogate(uint32_t c)
{
    return c >= 0xd800 && c <= 0xdfff;
}

static void every_code_point_there_and_back(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char s[8] = {0};
        uint32_t got = 0;
        size_t n = utf8_encode(c, s), i = 0;
        if (is_surrogate(c)) {
            assert_int_equal(utf8_decode(s, n, &got), 0);
            assert_int_equal(utf8_prefix(s, n), 0);
            continue;
        }
        assert_int_equal(n, c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
        assert_int_equal(utf8_decode(s, sizeof s, &got), n);
        assert_int_equal(got, c);
        assert_int_equal(utf8_next(s, n, &i), c);
        assert_int_equal(i, n);
        for (size_t cut = 1; cut < n; cut++) /* a truncated character is none */
            assert_int_equal(utf8_prefix(s, cut), 0);
        if (c) {
            assert_int_equal(utf8_prefix(s, n), n);
            assert_int_equal(utf8_prefix(s, n + 1), n); /* a NUL follows */
        }
    }
}

/* A second, slow reader: decodes by arithmetic and refuses what encodes differently. */
static size_t oracle(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80   ? 1
               : p[0] < 0xc0 ? 0
               : p[0] < 0xe0 ? 2
               : p[0] < 0xf0 ? 3
               : p[0] < 0xf8 ? 4
                             : 0;
    if (!n || n > left)
        return 0;
    uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
        c = c * 64 + (p[i] - 0x80u);
    }
    char again[4];
    return c < 0x110000 && !is_surrogate(c) && utf8_encode(c, again) == n ? n : 0;
}

static void every_lead_and_boundary_byte(void **state)
{
    (void)state;
    static const unsigned char second[] = {0,    1,    0x41, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x9f,
                                           0xa0, 0xa5, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xf0, 0xff};
    enum { K = sizeof second };
    unsigned char s[6] = {0};
    for (int a = 1; a < 256; a++)
        for (int b = 0; b < K; b++)
            for (int c = 0; c < K; c++)
                for (int d = 0; d < K; d++)
                    for (size_t n = 1; n <= 4; n++) {
                        s[0] = (unsigned char)a;
                        s[1] = second[b];
                        s[2] = second[c];
                        s[3] = second[d];
                        uint32_t got;
                        size_t want = oracle(s, n), at = 0;
                        if (utf8_decode((char *)s, n, &got) != want)
                            fail_msg("%02x %02x %02x %02x", s[0], s[1], s[2], s[3]);
                        for (size_t len; at < n && s[at] && (len = oracle(s + at, n - at));
                             at += len)
                            ;
                        if (utf8_prefix((char *)s, n) != at)
                            fail_msg("prefix of %02x %02x %02x %02x", s[0], s[1], s[2], s[3]);
                        for (size_t i = 0, before; i < n; assert_true(i > before && i <= n)) {
                            before = i;
                            assert_true(utf8_next((char *)s, n, &i) < 0x200000);
                        }
                    }
}

static void white_space(void **state)
{
    (void)state;
    int n = 0;
    for (uint32_t c = 0; c < 0x110000; c++)
        n += utf8_is_space(c);
    assert_int_equal(n, 25); /* PropList.txt */
    assert_true(utf8_is_space(0x3000) && utf8_is_space('\t') && utf8_is_space(0x85));
    assert_false(utf8_is_space(0x200b) || utf8_is_space(0x180e) || utf8_is_space(0xfeff));
}

static void folding(void **state)
{
    (void)state;
    assert_int_equal(utf8_fold('A'), 'a');
    assert_int_equal(utf8_fold(0xff21), 0xff41); /* full-width A */
    assert_int_equal(utf8_fold(0x0416), 0x0436);
    assert_int_equal(utf8_fold(0x10400), 0x10428); /* Deseret, outside the BMP */
    assert_int_equal(utf8_fold(0x4e2d), 0x4e2d);
    assert_int_equal(utf8_fold(0x3000), ' ');
    assert_int_equal(utf8_fold('\n'), ' ');
    assert_int_equal(utf8_fold(1), UTF8_DROP);
    assert_int_equal(utf8_fold(0x7f), UTF8_DROP);
    assert_int_equal(utf8_fold(0xad), UTF8_DROP);
    assert_int_equal(utf8_fold(0x200b), UTF8_DROP);
    assert_int_equal(utf8_fold(0xfeff), UTF8_DROP);
    assert_int_equal(utf8_fold(0xe0041), UTF8_DROP);
    assert_int_equal(utf8_fold(0x1fffff), 0x1fffff);
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint32_t f = utf8_fold(c);
        if (f == UTF8_DROP)
            assert_true(c < UTF8_FOLD_END || (c >= UTF8_TAGS && c < UTF8_TAGS_END));
        else
            assert_int_equal(utf8_fold(f), f);
        if (c >= UTF8_FOLD_END && (c < UTF8_TAGS || c >= UTF8_TAGS_END))
            assert_int_equal(f, c);
    }
}

static void kinds(void **state)
{
    (void)state;
    static const struct {
        uint32_t c;
        enum utf8_kind kind;
    } cases[] = {
        {'a', UTF8_LETTER},         {'0', UTF8_LETTER},       {0x4e2d, UTF8_LETTER},
        {0x20ac, UTF8_LETTER},      {0x1f600, UTF8_LETTER},   {0x93f, UTF8_LETTER}, /* Mc */
        {0x20dd, UTF8_LETTER},                                                      /* Me */
        {' ', UTF8_SPACE},          {'\t', UTF8_SPACE},       {'\r', UTF8_SPACE},
        {0xa0, UTF8_SPACE},         {0x3000, UTF8_SPACE},     {0x2028, UTF8_SPACE},
        {0x0b, UTF8_CONTROL},       {0x85, UTF8_CONTROL},     {0, UTF8_CONTROL},
        {0x7f, UTF8_CONTROL},       {0xad, UTF8_CONTROL},     {0x200b, UTF8_CONTROL},
        {0xe000, UTF8_CONTROL},     {0xd800, UTF8_CONTROL},   {0xfffd, UTF8_CONTROL},
        {0x10ffff, UTF8_CONTROL},   {0x110000, UTF8_CONTROL}, {0x1fffff, UTF8_CONTROL},
        {0x301, UTF8_MARK},         {0xfe0f, UTF8_MARK},      {'$', UTF8_PUNCTUATION},
        {'^', UTF8_PUNCTUATION},    {'`', UTF8_PUNCTUATION},  {0x3002, UTF8_PUNCTUATION},
        {0xff0c, UTF8_PUNCTUATION},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (utf8_kind(cases[i].c) != cases[i].kind)
            fail_msg("U+%04X is of kind %d", (unsigned)cases[i].c, (int)utf8_kind(cases[i].c));
    assert_true(utf8_is_ideograph(0x4e00) && utf8_is_ideograph(0x9fff));
    assert_true(utf8_is_ideograph(0xf900) && utf8_is_ideograph(0x2f800));
    assert_false(utf8_is_ideograph(0x3042) || utf8_is_ideograph(0xac00) ||
                 utf8_is_ideograph(0x4dff) || utf8_is_ideograph(0x3007));
    assert_true(utf8_is_digit('9') && utf8_is_digit(0x663) && utf8_is_digit(0xff19));
    assert_false(utf8_is_digit(0xb2) || utf8_is_digit(0x4e00) || utf8_is_digit(0x1fffff));
}

/* What every character promises about its forms, and what the buffers' sizes rely on. */
static void forms(void **state)
{
    (void)state;
    for (uint32_t c = 1; c < 0x110000; c++) {
        uint32_t lower[UTF8_MAX_LOWER], out[UTF8_MAX_DECOMPOSED];
        char bytes[4], s[8];
        size_t len;
        if (is_surrogate(c))
            continue;
        int n = utf8_lower(c, lower);
        assert_int_equal(n, c == 0x130 ? 2 : 1);
        for (int i = 0; i < n; i++)
            assert_true(utf8_lower(lower[i], out) == 1 && out[0] == lower[i]);
        for (int composed = 0; composed < 2; composed++) {
            char expected[4 * UTF8_MAX_DECOMPOSED];
            size_t to = 0, bytes_n = utf8_encode(c, bytes);
            n = utf8_decompose(c, composed, out);
            assert_in_range(n, 1, UTF8_MAX_DECOMPOSED);
            for (int i = 0; i < n; i++)
                to += utf8_encode(out[i], expected + to);
            char *whole = utf8_normalize(bytes, bytes_n, composed, &len);
            if (len != to || memcmp(whole, expected, len) != 0)
                fail_msg("form of U+%04X", (unsigned)c);
            free(whole);
            if (utf8_needs_context(c, composed))
                continue;
            /* Behind a letter it stays what it is alone. */
            s[0] = 'e';
            memcpy(s + 1, bytes, bytes_n);
            whole = utf8_normalize(s, bytes_n + 1, composed, &len);
            if (len != to + 1 || memcmp(whole + 1, expected, to) != 0)
                fail_msg("U+%04X wants its context", (unsigned)c);
            free(whole);
        }
    }
}

static void assert_text(char *got, size_t len, const char *expected)
{
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(got, expected, len);
    free(got);
}

static void whole_texts(void **state)
{
    (void)state;
    size_t n;
    char *s = utf8_normalize("a\xcc\x87\xcc\xa3", 5, false, &n); /* the dot below comes first */
    assert_text(s, n, "a\xcc\xa3\xcc\x87");
    s = utf8_normalize("e\xcc\x81", 3, true, &n);
    assert_text(s, n, "\xc3\xa9");
    s = utf8_normalize("", 0, true, &n);
    assert_text(s, n, "");
    s = utf8_normalize("a\xff", 2, true, &n); /* broken bytes stay */
    assert_text(s, n, "a\xff");
    s = utf8_bare("\xef\xac\x81\xc3\xa9\xef\xbc\xa1", 8, &n);
    assert_text(s, n, "fieA");
    s = utf8_bare("\xe0\xa4\x95\xe0\xa4\xbf\xe2\x83\x9d", 9, &n); /* class 0: no accents */
    assert_text(s, n, "\xe0\xa4\x95\xe0\xa4\xbf\xe2\x83\x9d");
    s = utf8_lower_text("\xc4\xb0\xce\xa3\xc8\xba", 6, &n); /* no final sigma; two bytes, three */
    assert_text(s, n, "i\xcc\x87\xcf\x83\xe2\xb1\xa5");
    s = utf8_lower_text("A\xe4\xb8", 3, &n);
    assert_int_equal(s[0], 'a');
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_there_and_back),
        cmocka_unit_test(every_lead_and_boundary_byte),
        cmocka_unit_test(white_space),
        cmocka_unit_test(folding),
        cmocka_unit_test(kinds),
        cmocka_unit_test(forms),
        cmocka_unit_test(whole_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
