/* Vectors of FIPS 180-2 appendix B and NIST's example values. */
#include "tests/base/scratch.h"

#include "base/sha256.h"

static void known_answers(void **state)
{
    (void)state;
    static const char *const vectors[][2] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrl"
         "mnop"
         "qrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    };
    char hex[SHA256_HEX];
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        sha256_hex(vectors[i][0], strlen(vectors[i][0]), hex);
        assert_string_equal(hex, vectors[i][1]);
    }
    sha256_hex(NULL, 0, hex);
    assert_string_equal(hex, vectors[0][1]);
}

static void a_million_from_a_file(void **state)
{
    (void)state;
    struct err e;
    size_t n = 1000000, len = 0;
    char hex[SHA256_HEX], *million = xmalloc(n);
    memset(million, 'a', n);
    char *path = scratch_write("million", million, n);
    assert_int_equal(sha256_file(path, hex, &len, &e), 0);
    assert_int_equal(len, n);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(path);
    path = scratch_write("empty", "", 0);
    assert_int_equal(sha256_file(path, hex, NULL, &e), 0);
    assert_memory_equal(hex, "e3b0c442", 8);
    free(path);
    path = scratch_file("none");
    assert_int_equal(sha256_file(path, hex, &len, &e), -1);
    assert_error(&e, ERR_MISSING, "none: open: No such file or directory");
    free(path);
    free(million);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(a_million_from_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
