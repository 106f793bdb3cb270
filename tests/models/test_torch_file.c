/* Files of torch.save() in both layouts, and what is wrong with them, by its text. Golden files:
 * tests/golden/torch_files.py. */
#include "models/torch_file.h"

#include <math.h>
#include <time.h>

#include "base/buf.h"
#include "models/torch_tensors.h"
#include "tests/base/scratch.h"

#define ROOT "tests/golden/torch/"

static const struct tensor *get(const struct tensor_set *set, const char *name, enum dtype dtype,
                                int n_dims)
{
    const struct tensor *t = tensor_set_find(set, name);
    if (!t)
        fail_msg("no tensor %s", name);
    assert_int_equal(t->dtype, dtype);
    assert_int_equal(t->n_dims, n_dims);
    return t;
}

static void check_floats(const struct tensor_set *set, const char *name, enum dtype dtype,
                         int n_dims, int n, float step)
{
    float x[64];
    const struct tensor *t = get(set, name, dtype, n_dims);
    assert_int_equal(t->bytes, (size_t)n * dtype_size(dtype));
    assert_int_equal(tensor_to_f32(t, x, NULL), 0);
    for (int i = 0; i < n; i++)
        assert_true(fabsf(x[i] - (float)i * step) < 1e-6f);
}

static void check_small(const char *path)
{
    struct err err;
    struct torch_file *f;
    if (torch_file_open(path, &f, &err) != 0)
        fail_msg("%s", err.msg);
    const struct tensor_set *s = torch_file_tensors(f);
    assert_int_equal(s->n, 14);
    check_floats(s, "f32", DT_F32, 3, 24, 0.5f);
    check_floats(s, "f16", DT_F16, 1, 24, 0.25f);
    check_floats(s, "bf16", DT_BF16, 1, 6, 1);
    check_floats(s, "f64", DT_F64, 1, 3, 1.0f / 3);
    check_floats(s, "whole", DT_F32, 1, 24, 1);
    check_floats(s, "empty", DT_F32, 2, 0, 0);
    float x[24];
    assert_int_equal(tensor_to_f32(get(s, "tail", DT_F32, 1), x, NULL), 0);
    assert_true(x[0] == 20 && x[3] == 23);
    assert_ptr_equal(get(s, "tail", DT_F32, 1)->data, /* one storage, no copy */
                     (const char *)get(s, "whole", DT_F32, 1)->data + 80);
    const struct tensor *turned = get(s, "turned", DT_F32, 2);
    assert_true(turned->dims[0] == 6 && turned->dims[1] == 4);
    assert_int_equal(tensor_to_f32(turned, x, NULL), 0);
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 4; j++)
            assert_true(x[i * 4 + j] == (float)(j * 6 + i));
    assert_int_equal(tensor_to_f32(get(s, "parameter", DT_F32, 1), x, NULL), 0);
    assert_true(x[2] == 2);
    assert_int_equal(tensor_to_f32(get(s, "scalar", DT_F32, 0), x, NULL), 0);
    assert_true(x[0] == 3.5f);
    int64_t wide[2];
    memcpy(wide, get(s, "i64", DT_I64, 1)->data, sizeof wide);
    assert_true(wide[0] == -5 && wide[1] == 7);
    assert_int_equal(get(s, "i32", DT_I32, 2)->dims[0], 2);
    assert_int_equal(*(const unsigned char *)get(s, "flags", DT_BOOL, 1)->data, 1);
    assert_int_equal(((const unsigned char *)get(s, "bytes", DT_U8, 1)->data)[1], 255);
    assert_int_equal(torch_file_skipped(f), 0);
    torch_file_close(f);
}

static void test_small(void **state)
{
    (void)state;
    check_small(ROOT "small.bin");
    check_small(ROOT "small-legacy.bin");
    struct err err;
    struct torch_file *f;
    assert_int_equal(torch_file_open(ROOT "nested.pt", &f, &err), 0);
    assert_int_equal(torch_file_tensors(f)->n, 1);
    check_floats(torch_file_tensors(f), "w", DT_F32, 1, 4, 1); /* not "best", beside it */
    assert_int_equal(torch_file_skipped(f), 1);
    torch_file_close(f);
}

static void refused_file(const char *path, const char *text)
{
    struct err err;
    struct torch_file *f = NULL;
    assert_int_equal(torch_file_open(path, &f, &err), -1);
    assert_null(f);
    if (strncmp(err.msg, path, strlen(path)) != 0 || !strstr(err.msg, text))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
}

static void test_refused_goldens(void **state)
{
    (void)state;
    refused_file(ROOT "code.pt", "pickle, byte 2: the global \"os system\" is not allowed");
    refused_file(ROOT "quantized.pt",
                 "the global \"torch._utils _rebuild_qtensor\" is not allowed: "
                 "quantised weights of PyTorch are not read; save the model in "
                 "floats, it is quantised when it is opened");
    refused_file(ROOT "dynamic.pt", "the global \"torch qint8\" is not allowed: quantised weights");
    refused_file(ROOT "whole.pt", "the global \"torch.nn.modules.container Sequential\" is not "
                                  "allowed: a whole model is code; save its weights alone");
    refused_file(ROOT "negated.pt", "a conjugated or negated view: save a copy, tensor.clone()");
    refused_file(ROOT "expanded.pt",
                 "tensor \"w\": 4 elements expanded from a storage of 1; save a "
                 "copy, tensor.contiguous()");
    refused_file(ROOT "protocol.pt", "pickle, byte 0: protocol 4, expected 2");
    refused_file(ROOT "short.pt", "the global \"torch ShortStorage\" is not allowed");
    refused_file(ROOT "none.pt", "No such file");
}

/* Every shorter file is refused or, where only the end of nothing important is missing, read: never more. */
static void test_truncated(void **state)
{
    (void)state;
    static const char *const files[] = {ROOT "small.bin", ROOT "small-legacy.bin"};
    for (int k = 0; k < 2; k++) {
        char *data;
        size_t len;
        struct err err;
        assert_int_equal(file_read(files[k], 1 << 20, &data, &len, &err), 0);
        for (size_t n = 0; n < len; n++) {
            char *part = xmalloc(n + !n); /* exactly so long: a sanitizer sees more */
            struct torch_file *f = NULL;
            memcpy(part, data, n);
            if (torch_file_parse("part", part, n, &f, &err) == 0)
                fail_msg("%s: %zu of %zu bytes pass", files[k], n, len);
            assert_null(f);
            free(part);
        }
        free(data);
    }
}

/* Each byte turned: an error or another file, never a crash. */
static void test_turned_bytes(void **state)
{
    (void)state;
    static const char *const files[] = {ROOT "small.bin", ROOT "small-legacy.bin"};
    for (int k = 0; k < 2; k++) {
        char *data;
        size_t len;
        struct err err;
        assert_int_equal(file_read(files[k], 1 << 20, &data, &len, &err), 0);
        for (size_t i = 0; i < len; i++)
            for (int bit = 0; bit < 8; bit += 3) {
                struct torch_file *f = NULL;
                data[i] = (char)(data[i] ^ 1 << bit);
                if (torch_file_parse("turned", data, len, &f, &err) == 0) {
                    const struct tensor_set *s = torch_file_tensors(f);
                    unsigned sum = 0;
                    for (size_t t = 0; t < s->n; t++)
                        for (size_t b = 0; b < s->tensors[t].bytes; b++)
                            sum += ((const unsigned char *)s->tensors[t].data)[b];
                    assert_true(sum < UINT32_MAX);
                    torch_file_close(f);
                }
                data[i] = (char)(data[i] ^ 1 << bit);
            }
        free(data);
    }
}

/* A file in the older layout, put together: its object, its keys, its storages. */
#define BEGIN "\x80\2\x8a\xa\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
#define VERSION "\x80\2M\xe9\3."
#define LITTLE "\x80\2}U\xdlittle_endian\x88s."
#define TENSOR "ctorch._utils\n_rebuild_tensor_v2\n"
#define STORAGE(key, n) "(U\7storagectorch\nFloatStorage\nU\1" key "U\3cpuK" n "NtQ"
/* "w", a tensor of the storage a: its offset, sizes and strides as pickles. */
#define W(n, offset, sizes, strides)                                                               \
    "}U\1w" TENSOR "(" STORAGE("a", n) offset sizes strides "\x89NtRs."
#define KEYS "]U\1aa."
#define SIX "\6\0\0\0\0\0\0\0"
#define DATA SIX "\0\0\0\0\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\0\0\x80\x40\0\0\xa0\x40" /* 0 … 5 */

static int parse(const char *text, size_t len, struct torch_file **f, struct err *err)
{
    char *own = xmalloc(len + !len); /* exactly so long: a sanitizer sees more */
    memcpy(own, text, len);
    int rc = torch_file_parse("t.bin", own, len, f, err);
    if (rc == 0) { /* tensors point into own */
        torch_file_close(*f);
        *f = NULL;
    }
    free(own);
    return rc;
}

static void refused(const char *text, size_t len, enum err_code code, const char *expected)
{
    struct err err;
    struct torch_file *f = NULL;
    char whole[1100];
    (void)snprintf(whole, sizeof whole, "t.bin: %s", expected);
    assert_int_equal(parse(text, len, &f, &err), -1);
    assert_null(f);
    assert_string_equal(err.msg, whole);
    assert_int_equal(err.code, code);
}

#define REFUSED(text, says) refused(text, sizeof(text) - 1, ERR_FORMAT, says)
#define CUT(text, says) refused(text, sizeof(text) - 1, ERR_TRUNCATED, says)
#define NEITHER                                                                                    \
    " bytes that begin neither as a zip archive nor as PyTorch's older layout: not what "          \
    "torch.save() writes"

static void test_layout(void **state)
{
    (void)state;
    REFUSED("", "0" NEITHER);
    REFUSED("PK\3", "3" NEITHER);
    REFUSED("\x80\4}.", "4" NEITHER);
    REFUSED("././@LongLink", "13" NEITHER);
    CUT("PK\3\4", "zip: no end record at the end of its 4 bytes: the file is cut short, or bytes "
                  "follow it");
    CUT(BEGIN, "pickle, byte 0: it ends after 0 bytes");
    REFUSED(BEGIN "K\1.", "a version of PyTorch's older layout that is not 1001");
    REFUSED(BEGIN "N.", "a version of PyTorch's older layout that is not 1001");
    REFUSED(BEGIN VERSION "}.", "its byte order is not little-endian");
    REFUSED(BEGIN VERSION "}U\xdlittle_endian\x89s.", "its byte order is not little-endian");
    REFUSED(BEGIN VERSION "N.", "its byte order is not little-endian");
    REFUSED(BEGIN VERSION LITTLE "}.N.", "no list of storages where one is expected");
#define FILE(object, rest) BEGIN VERSION LITTLE object rest
    struct err err;
    struct torch_file *f = NULL;
    static const char good[] = FILE(W("\6", "K\0", "K\2K\3\x86", "K\3K\1\x86"), KEYS DATA);
    if (parse(good, sizeof good - 1, &f, &err) != 0)
        fail_msg("%s", err.msg);
#define OBJECT W("\6", "K\0", "K\6\x85", "K\1\x85")
    REFUSED(FILE(OBJECT, "]K\1a." DATA), "its list of storages names one that no tensor uses");
    REFUSED(FILE(OBJECT, "]U\1ba." DATA), "its list of storages names one that no tensor uses");
    REFUSED(FILE(OBJECT, "](U\1aU\1ae." DATA DATA), "its list of storages names one twice");
    REFUSED(FILE(OBJECT, KEYS DATA "!!"), "2 bytes behind the last storage");
    CUT(FILE(OBJECT, KEYS "\6\0\0"), "it ends after 146 bytes, before storage \"a\"");
    CUT(FILE(OBJECT, KEYS SIX "1234"),
        "storage \"a\" at byte 151 has 6 elements of 4 bytes, but 4 bytes are left");
    CUT(FILE(OBJECT, KEYS "\xff\xff\xff\xff\xff\xff\xff\x7f"),
        "storage \"a\" at byte 151 has 9223372036854775807 elements of 4 bytes, but 0 bytes are "
        "left");
    CUT(FILE(OBJECT, KEYS "\xff\xff\xff\xff\xff\xff\xff\xff"),
        "storage \"a\" at byte 151 has -1 elements of 4 bytes, but 0 bytes are left");
    REFUSED(
        FILE("](" STORAGE("a", "\6") "(U\7storagectorch\nHalfStorage\nU\1aU\3cpuK\6NtQe.", KEYS),
        "storage \"a\" is used as of two types");
}

static void test_shapes(void **state)
{
    (void)state;
#define SHAPED(n, offset, sizes, strides) FILE(W(n, offset, sizes, strides), KEYS DATA)
    CUT(SHAPED("\7", "K\0", "K\6\x85", "K\1\x85"),
        "tensor \"w\": its storage \"a\" has 24 bytes, expected 7 elements of 4");
    REFUSED(SHAPED("\5", "K\0", "K\5\x85", "K\1\x85"),
            "tensor \"w\": its storage \"a\" has 24 bytes, expected 5 elements of 4");
    REFUSED(SHAPED("\6", "K\1", "K\6\x85", "K\1\x85"),
            "tensor \"w\": from element 1 on it reaches 5 further, its storage has 6");
    REFUSED(SHAPED("\6", "J\xff\xff\xff\xff", "K\2\x85", "K\1\x85"),
            "tensor \"w\": from element -1 on it reaches 1 further, its storage has 6");
    REFUSED(SHAPED("\6", "K\7", "K\1\x85", "K\1\x85"),
            "tensor \"w\": from element 7 on it reaches 0 further, its storage has 6");
    REFUSED(SHAPED("\6", "K\0", "K\2K\2\x86", "K\5K\1\x86"),
            "tensor \"w\": from element 0 on it reaches 6 further, its storage has 6");
    REFUSED(SHAPED("\6", "K\0", "K\4K\2\x86", "K\0K\1\x86"),
            "tensor \"w\": 8 elements expanded from a storage of 6; save a copy, "
            "tensor.contiguous()");
    REFUSED(SHAPED("\6", "K\0", "K\2K\3\x86", "K\3\x85"),
            "tensor \"w\": 2 sizes and 1 strides, expected as many of both, at most 8");
    REFUSED(SHAPED("\6", "K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t"),
            "tensor \"w\": 9 sizes and 9 strides, expected as many of both, at most 8");
    REFUSED(SHAPED("\6", "K\0", "K\2J\xff\xff\xff\xff\x86", "K\1K\1\x86"),
            "tensor \"w\": size or stride 1 is no number from 0 on");
    REFUSED(SHAPED("\6", "K\0", "K\2\x85", "J\xff\xff\xff\xff\x85"),
            "tensor \"w\": size or stride 0 is no number from 0 on");
    REFUSED(SHAPED("\6", "K\0", "N\x85", "K\1\x85"),
            "tensor \"w\": size or stride 0 is no number from 0 on");
#define HUGE_SIZE "\x8a\x8\0\0\0\0\0\0\0\x40"
    REFUSED(SHAPED("\6", "K\0", HUGE_SIZE HUGE_SIZE "\x86", "K\1K\1\x86"),
            "tensor \"w\": its shape overflows");
    REFUSED(SHAPED("\6", "K\0", "K\4\x85", HUGE_SIZE "\x85"), "tensor \"w\": its shape overflows");
    refused(FILE(OBJECT, "].") "", sizeof(FILE(OBJECT, "].")) - 1, ERR_MISSING,
            "tensor \"w\": its storage \"a\" is not in the file");
}

/* torch.arange(6.0)[::4][2:]: no element, from behind the end on. */
static void test_empty_slice(void **state)
{
    (void)state;
    static const char file[] = FILE(W("\6", "K\x8", "K\0\x85", "K\4\x85"), KEYS DATA);
    struct err err;
    struct torch_file *f = NULL;
    if (torch_file_parse("t.bin", file, sizeof file - 1, &f, &err) != 0)
        fail_msg("%s", err.msg);
    const struct tensor *w = get(torch_file_tensors(f), "w", DT_F32, 1);
    assert_int_equal(w->dims[0], 0);
    assert_int_equal(w->bytes, 0);
    torch_file_close(f);
    REFUSED(SHAPED("\6", "J\xff\xff\xff\xff", "K\0\x85", "K\4\x85"),
            "tensor \"w\": from element -1 on it reaches 0 further, its storage has 6");
}

static void test_dictionaries(void **state)
{
    (void)state;
#define NO_STATE                                                                                   \
    "no state dictionary in it: neither the outermost value nor its \"state_dict\", "              \
    "\"model_state_dict\", \"model\" or \"net\" is a dictionary of tensors"
#define T1 TENSOR "(" STORAGE("a", "\6") "K\0K\6\x85K\1\x85\x89NtR"
    REFUSED(FILE("}.", "]."), NO_STATE);
    REFUSED(FILE("N.", "]."), NO_STATE);
    REFUSED(FILE(T1 ".", KEYS DATA), NO_STATE);
    REFUSED(FILE("}U\5otherNs.", "]."), NO_STATE);
    REFUSED(FILE("}U\5model}s.", "]."), NO_STATE);
    REFUSED(FILE("}U\5model}U\5model}U\1w" T1 "sss.", KEYS DATA), NO_STATE);
    REFUSED(FILE("}K\1" T1 "s.", KEYS DATA), NO_STATE);
    REFUSED(FILE("}(U\1w" T1 "q\1U\1wh\1u.", KEYS DATA), "tensor \"w\" is there twice");
    REFUSED(FILE("}U\3w\0x" T1 "s.", KEYS DATA), "tensor \"w\": a NUL in its name");
    struct err err;
    struct torch_file *f;
    static const char *const names[] = {"state_dict", "model_state_dict", "model", "net"};
    for (int i = 0; i < 4; i++) {
        static const char tail[] = "}(U\1w" T1 "U\1nK\1K\1" T1 "us." KEYS DATA;
        char file[600];
        size_t n = sizeof BEGIN VERSION LITTLE - 1, m = strlen(names[i]);
        memcpy(file, BEGIN VERSION LITTLE, n);
        memcpy(file + n, "}U", 2);
        file[n + 2] = (char)m;
        memcpy(file + n + 3, names[i], m);
        memcpy(file + n + 3 + m, tail, sizeof tail - 1);
        if (torch_file_parse("t.bin", file, n + 3 + m + sizeof tail - 1, &f, &err) != 0)
            fail_msg("%s", err.msg);
        assert_int_equal(torch_file_tensors(f)->n, 1);
        assert_int_equal(torch_file_skipped(f), 2);
        check_floats(torch_file_tensors(f), "w", DT_F32, 1, 6, 1);
        torch_file_close(f);
    }
}

/* Remembered as 1 and 2: the function and the type. */
#define DICT_AND_TYPE "ctorch\nFloatStorage\nq\2}("

/* Names that share one transposed tensor: their copies are bounded by the file's length. */
static int parse_turned(int names, size_t *len, struct err *err)
{
    static const char first[] = FILE("}(", ""), tail[] = "u." KEYS "\x3c\0\0\0\0\0\0\0",
                      turned[] = TENSOR "(" STORAGE("a", "\x3c") "K\0K\3K\x14\x86K\1K\3\x86\x89NtR"
                                                                 "q\1",
                      floats[240];
    struct buf b;
    struct torch_file *f = NULL;
    buf_init(&b, 1 << 16);
    buf_put(&b, first, sizeof first - 1);
    for (int i = 0; i < names; i++) {
        buf_printf(&b, "U\3%03d", i);
        buf_put(&b, i ? "h\1" : turned, i ? 2 : sizeof turned - 1);
    }
    buf_put(&b, tail, sizeof tail - 1);
    buf_put(&b, floats, sizeof floats);
    int rc = parse(b.data, b.len, &f, err);
    *len = b.len;
    buf_done(&b);
    return rc;
}

static void test_copies(void **state)
{
    (void)state;
    struct err err;
    char expected[300];
    size_t len;
    int fit = 1;
    while (parse_turned(fit, &len, &err) == 0 && fit < 100)
        fit++;
    assert_true(TORCH_MAX_COPIES * len < (size_t)fit * 240);
    (void)snprintf(expected, sizeof expected,
                   "t.bin: tensor \"%03d\": copies of tensors that do not lie in order would take "
                   "over 4 times the file's %zu bytes",
                   fit - 1, len);
    assert_string_equal(err.msg, expected);
    assert_true(fit > 4);
}

/* Forty thousand tensors, each with a storage of its own: a tenth of a second, where searches from one
 * end to the other for each took 46. */
static void test_many(void **state)
{
    (void)state;
    enum { MANY = 40000 };
    struct buf b;
    struct err err;
    struct torch_file *f;
    buf_init(&b, 1 << 24);
    buf_put(&b, BEGIN VERSION LITTLE, sizeof BEGIN VERSION LITTLE - 1);
    buf_puts(&b, TENSOR "q");
    buf_put(&b, "\1" DICT_AND_TYPE, sizeof "\1" DICT_AND_TYPE - 1);
    for (int i = 0; i < MANY; i++) {
        buf_printf(&b, "U\5%05dh\1((U\7storageh\2U\5%05dU\3cpuK\1NtQ", i, i);
        buf_put(&b, "K\0K\1\x85K\1\x85\x89NtR", 12);
    }
    buf_puts(&b, "u.](");
    for (int i = 0; i < MANY; i++)
        buf_printf(&b, "U\5%05d", i);
    buf_puts(&b, "e.");
    for (int i = 0; i < MANY; i++) {
        float x = (float)i;
        buf_put(&b, "\1\0\0\0\0\0\0", 8);
        buf_put(&b, &x, sizeof x);
    }
    assert_false(b.full);
    clock_t begin = clock();
    if (torch_file_parse("t.bin", b.data, b.len, &f, &err) != 0)
        fail_msg("%s", err.msg);
    assert_int_equal(torch_file_tensors(f)->n, MANY);
    assert_true((double)(clock() - begin) / CLOCKS_PER_SEC < 10);
    for (int i = 0; i < MANY; i += 997) {
        char name[16];
        float x;
        (void)snprintf(name, sizeof name, "%05d", i);
        assert_int_equal(tensor_to_f32(get(torch_file_tensors(f), name, DT_F32, 1), &x, &err), 0);
        assert_true(x == (float)i);
    }
    torch_file_close(f);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small),        cmocka_unit_test(test_refused_goldens),
        cmocka_unit_test(test_truncated),    cmocka_unit_test(test_turned_bytes),
        cmocka_unit_test(test_layout),       cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_dictionaries), cmocka_unit_test(test_copies),
        cmocka_unit_test(test_many),         cmocka_unit_test(test_empty_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
