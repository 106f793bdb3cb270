#include "models/safetensors.h"

#include <math.h>

#include "base/buf.h"
#include "tests/base/scratch.h"

/* A file in memory: length, header, zeroed data. */
static size_t build(char *file, const char *header, size_t data_len)
{
    uint64_t n = strlen(header);
    memcpy(file, &n, 8);
    memcpy(file + 8, header, n);
    memset(file + 8 + n, 0, data_len);
    return 8 + n + data_len;
}

static void refused(const char *header, size_t data_len, const char *message)
{
    char file[8192], expected[1100];
    struct safetensors *st = NULL;
    struct err err;
    assert_int_equal(safetensors_parse("m", file, build(file, header, data_len), &st, &err), -1);
    assert_null(st);
    (void)snprintf(expected, sizeof expected, "m: %s", message);
    assert_string_equal(err.msg, expected);
    assert_int_equal(err.code, ERR_FORMAT);
}

static void test_length(void **state)
{
    (void)state;
    struct safetensors *st = NULL;
    struct err err;
    assert_int_equal(safetensors_parse("m", "1234567", 7, &st, &err), -1);
    assert_string_equal(err.msg, "m: 7 bytes are too few for a safetensors file");
    assert_int_equal(safetensors_parse("m", NULL, 0, &st, &err), -1);
    assert_string_equal(err.msg, "m: 0 bytes are too few for a safetensors file");
    assert_int_equal(safetensors_parse("m", "\3\0\0\0\0\0\0\0{}", 10, &st, &err), -1);
    assert_string_equal(err.msg, "m: header of 3 bytes, but only 2 follow its length");
    assert_int_equal(safetensors_parse("m", "\377\377\377\377\377\377\377\377{}", 10, &st, &err),
                     -1);
    assert_string_equal(err.msg, "m: header of 18446744073709551615 bytes, at most 100000000");
    assert_int_equal(safetensors_parse("m", "\1\341\365\5\0\0\0\0{}", 10, &st, &err), -1);
    assert_string_equal(err.msg, "m: header of 100000001 bytes, at most 100000000");
    assert_null(st);
}

static void test_header(void **state)
{
    (void)state;
    refused("", 0, "header does not begin with '{'");
    refused(" {}", 0, "header does not begin with '{'");
    refused("[]", 0, "header does not begin with '{'");
    refused("{\"a\"", 0, "header: line 1 column 4: ':' expected near end of file");
    refused("{}x", 0, "header: line 1 column 3: end of file expected near 'x'");
    refused("{\"\xff\":1}", 0, "header: line 1 column 2: unable to decode byte 0xff near '\"'");
    refused("{\"a\":{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[0,0]},"
            "\"a\":{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
            0, "header: line 1 column 56: duplicate object key near '\"a\"'");
    refused("{\"__metadata__\":[]}", 0, "__metadata__ is not an object");
    refused("{\"__metadata__\":{\"k\":1}}", 0, "__metadata__: \"k\" is not a string");
}

/* {},{},… makes the parser allocate far more than it reads. */
static void test_header_cost(void **state)
{
    (void)state;
    size_t n = 3 * 1500 * 1000;
    char *file = xmalloc(8 + n + 2);
    uint64_t len = n + 2;
    memcpy(file, &len, 8);
    memcpy(file + 8, "{\"", 2);
    for (size_t i = 0; i < n; i += 3)
        memcpy(file + 10 + i, "{},", 3);
    file[9] = ' ';
    struct safetensors *st = NULL;
    struct err err;
    assert_int_equal(safetensors_parse("m", file, 8 + len, &st, &err), -1);
    free(file);
    assert_string_equal(err.msg,
                        "m: reading the header could take 738002376 bytes, at most 536870912");
}

static void test_entry(void **state)
{
    (void)state;
    refused("{\"a\":1}", 0, "tensor \"a\": not an object");
    refused("{\"a\":{}}", 0, "tensor \"a\": dtype is not a string");
    refused("{\"a\":{\"dtype\":1}}", 0, "tensor \"a\": dtype is not a string");
    refused("{\"a\":{\"dtype\":\"F31\"}}", 0, "tensor \"a\": unknown dtype \"F31\"");
    refused("{\"a\":{\"dtype\":\"f32\"}}", 0, "tensor \"a\": unknown dtype \"f32\"");
    refused("{\"a\":{\"dtype\":\"F32\"}}", 0, "tensor \"a\": shape is not an array");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":4}}", 0, "tensor \"a\": shape is not an array");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,-1]}}", 0,
            "tensor \"a\": shape[1] is not a non-negative integer");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0]}}", 0,
            "tensor \"a\": shape[0] is not a non-negative integer");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[\"1\"]}}", 0,
            "tensor \"a\": shape[0] is not a non-negative integer");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1]}}", 0,
            "tensor \"a\": shape of 9 dimensions, at most 8");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904]}}", 0,
            "tensor \"a\": shape [4611686018427387904] overflows");
    refused("{\"a\":{\"dtype\":\"I8\",\"shape\":[4294967296,4294967296]}}", 0,
            "tensor \"a\": shape [4294967296, 4294967296] overflows");
    /* An empty tensor does not excuse an absurd one. */
    refused("{\"a\":{\"dtype\":\"I64\",\"shape\":[4611686018427387904,0]}}", 0,
            "tensor \"a\": shape [4611686018427387904, 0] overflows");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999]}}", 0,
            "header: line 1 column 49: too big integer near '99999999999999999999'");
}

static void test_offsets(void **state)
{
    (void)state;
    static const char *const bad[] = {"1",      "[]",     "[0]",     "[0,4,8]",
                                      "[-1,4]", "[0,-4]", "[0.0,4]", "{}"};
    char header[200];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(header, sizeof header,
                       "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":%s}}", bad[i]);
        refused(header, 4, "tensor \"a\": data_offsets is not a pair of non-negative integers");
    }
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4,
            "tensor \"a\": data_offsets is not a pair of non-negative integers");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4,
            "tensor \"a\": data_offsets [4, 0] run backwards");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3,
            "tensor \"a\": data_offsets [0, 4] pass the end of the data, 3");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,20]}}", 20,
            "tensor \"a\": 20 bytes of data, but F32 of shape [2, 3] takes 24");
    refused("{\"a\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[0,4]}}", 4,
            "tensor \"a\": 4 bytes of data, but F16 of shape [] takes 2");
    refused("{\"a\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]},"
            "\"b\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[5,9]}}",
            9, "tensor \"b\": data begins at 5, but the data before it ends at 4: a gap");
    refused("{\"b\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[3,7]},"
            "\"a\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
            7, "tensor \"b\": data begins at 3, but the data before it ends at 4: an overlap");
    refused("{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2,
            "tensor \"a\": data begins at 1, but the data before it ends at 0: a gap");
    refused("{\"a\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]},"
            "\"b\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
            4, "tensor \"b\": data begins at 0, but the data before it ends at 4: an overlap");
    refused("{\"a\":{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[2,2]},"
            "\"b\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
            4, "tensor \"a\": data begins at 2, but the data before it ends at 4: an overlap");
    refused("{\"a\":{\"dtype\":\"I8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 6,
            "2 bytes after the last tensor's data");
    refused("{}", 1, "1 bytes after the last tensor's data");
}

static void test_accepted(void **state)
{
    (void)state;
    char file[1000];
    struct safetensors *st;
    struct err err;
    assert_int_equal(safetensors_parse("m", file, build(file, "{}", 0), &st, &err), 0);
    assert_int_equal(safetensors_tensors(st)->n, 0);
    assert_null(safetensors_meta(st, "k"));
    assert_null(tensor_set_find(safetensors_tensors(st), "a"));
    safetensors_close(st);
    /* Out of order, odd offsets, empty tensors, a key from a later format, blanks behind. */
    size_t n = build(file,
                     "{\"z\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[1,5]},"
                     "\"__metadata__\":{\"k\":\"v\"},"
                     "\"e\":{\"dtype\":\"F64\",\"shape\":[3,0],\"data_offsets\":[1,1]},"
                     "\"\":{\"dtype\":\"BOOL\",\"shape\":[1,1],\"data_offsets\":[0,1],\"new\":[1]},"
                     "\"last\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[5,5]}}    ",
                     5);
    assert_int_equal(safetensors_parse("m", file, n, &st, &err), 0);
    static const char *const order[] = {"", "e", "z", "last"};
    assert_int_equal(safetensors_tensors(st)->n, 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(safetensors_tensors(st)->tensors[i].name, order[i]);
    assert_string_equal(safetensors_meta(st, "k"), "v");
    assert_null(safetensors_meta(st, "other"));
    assert_ptr_equal(tensor_set_find(safetensors_tensors(st), "z")->data, file + n - 4);
    assert_int_equal(tensor_set_find(safetensors_tensors(st), "z")->n_dims, 0);
    assert_null(tensor_set_find(safetensors_tensors(st), "__metadata__"));
    safetensors_close(st);
    safetensors_close(NULL);
}

static void test_open(void **state)
{
    (void)state;
    struct safetensors *st = NULL;
    struct err err;
    char *path = scratch_file("none.safetensors");
    assert_int_equal(safetensors_open(path, &st, &err), -1);
    assert_error(&err, ERR_MISSING, "none.safetensors: open: No such file or directory");
    free(path);
    path = scratch_write("short.safetensors", "abc", 3);
    assert_int_equal(safetensors_open(path, &st, &err), -1);
    assert_error(&err, ERR_FORMAT, "short.safetensors: 3 bytes are too few for a safetensors file");
    assert_null(st);
    free(path);
}

static void test_round_trip(void **state)
{
    (void)state;
    const float w[6] = {1, -2, 3.5f, 0, -0.0f, INFINITY};
    const int64_t i64[2] = {INT64_MIN, INT64_MAX};
    const uint16_t half[3] = {0x3C00, 0x0001, 0x7C00};
    const int8_t i8[1] = {-128};
    const struct tensor t[] = {
        {.name = "i64", .dtype = DT_I64, .n_dims = 1, .dims = {2}, .data = i64, .bytes = 16},
        {.name = "w \"quoted\" \xE6\xA0\x87",
         .dtype = DT_F32,
         .n_dims = 2,
         .dims = {2, 3},
         .data = w,
         .bytes = 24},
        {.name = "scalar", .dtype = DT_I8, .n_dims = 0, .data = i8, .bytes = 1},
        {.name = "half", .dtype = DT_F16, .n_dims = 1, .dims = {3}, .data = half, .bytes = 6},
        {.name = "bhalf", .dtype = DT_BF16, .n_dims = 1, .dims = {3}, .data = half, .bytes = 6},
        {.name = "empty", .dtype = DT_F32, .n_dims = 2, .dims = {0, 7}, .data = NULL, .bytes = 0},
    };
    const char *const meta[] = {"format", "pt", "settings", "a = 1\nb = \"2\"\n", NULL};
    struct err err;
    char *path = scratch_file("round.safetensors");
    assert_int_equal(safetensors_write(path, t, 6, meta, &err), 0);

    char *bytes;
    size_t len;
    uint64_t header;
    assert_int_equal(file_read(path, 1 << 20, &bytes, &len, &err), 0);
    memcpy(&header, bytes, 8);
    assert_int_equal(header % 8, 0);
    assert_int_equal(len, 8 + header + 16 + 24 + 1 + 6 + 6);
    static const char begin[] =
        "{\"__metadata__\":{\"format\":\"pt\",\"settings\":\"a = 1\\nb = \\\"2\\\"\\n\"},"
        "\"i64\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]},";
    assert_memory_equal(bytes + 8, begin, sizeof begin - 1);
    free(bytes);

    struct safetensors *st;
    assert_int_equal(safetensors_open(path, &st, &err), 0);
    assert_int_equal(safetensors_tensors(st)->n, 6);
    for (size_t i = 0; i < 6; i++) {
        const struct tensor *got = &safetensors_tensors(st)->tensors[i];
        assert_string_equal(got->name, t[i].name);
        assert_int_equal(got->dtype, t[i].dtype);
        assert_int_equal(got->n_dims, t[i].n_dims);
        assert_int_equal(got->bytes, t[i].bytes);
        for (int d = 0; d < got->n_dims; d++)
            assert_int_equal(got->dims[d], t[i].dims[d]);
        if (got->bytes)
            assert_memory_equal(got->data, t[i].data, got->bytes);
    }
    assert_int_equal((uintptr_t)safetensors_tensors(st)->tensors[0].data % 8, 0);
    assert_string_equal(safetensors_meta(st, "settings"), meta[3]);
    safetensors_close(st);

    assert_int_equal(safetensors_write(path, NULL, 0, NULL, &err), 0);
    assert_int_equal(safetensors_open(path, &st, &err), 0);
    assert_int_equal(safetensors_tensors(st)->n, 0);
    safetensors_close(st);
    free(path);
}

/* What the reader would refuse is not written, and the old file stays. */
static void test_write_refuses(void **state)
{
    (void)state;
    const float w[2] = {0};
    char *path = scratch_write("kept.safetensors", "old", 3);
    struct err err;
    const struct tensor good = {
        .name = "a", .dtype = DT_F32, .n_dims = 1, .dims = {2}, .data = w, .bytes = 8};
    struct tensor t[2] = {good, good};
    const char *const twice[] = {"k", "1", "k", "2", NULL}, *const latin[] = {"k", "\xe9", NULL};
#define REFUSED(n, meta, message)                                                                  \
    do {                                                                                           \
        assert_int_equal(safetensors_write(path, t, n, meta, &err), -1);                           \
        assert_error(&err, ERR_FORMAT, "kept.safetensors: " message);                              \
    } while (0)
    REFUSED(2, NULL, "tensor \"a\" stands twice");
    REFUSED(1, twice, "__metadata__: \"k\" stands twice");
    REFUSED(1, latin, "__metadata__: pair 0 is not UTF-8");
    t[1].name = "__metadata__";
    REFUSED(2, NULL, "no tensor can be named __metadata__");
    t[1].name = "\xff";
    REFUSED(2, NULL, "the name of tensor 1 is not UTF-8");
    t[1].name = "b";
    t[1].bytes = 9;
    REFUSED(2, NULL, "tensor \"b\": 9 bytes given, but F32 of its shape takes 8");
    t[1].dims[0] = -2;
    REFUSED(2, NULL, "tensor \"b\": dimension 0 is -2");
    t[1].n_dims = 9;
    REFUSED(2, NULL, "tensor \"b\": 9 dimensions, at most 8");
    t[1].dtype = DT_COUNT;
    REFUSED(2, NULL, "tensor \"b\": dtype 9 is unknown");
    char *bytes;
    size_t len;
    assert_int_equal(file_read(path, 100, &bytes, &len, &err), 0);
    assert_string_equal(bytes, "old");
    free(bytes);
    free(path);
    assert_int_equal(safetensors_write("/nowhere/x", t, 1, NULL, &err), -1);
    assert_non_null(strstr(err.msg, "/nowhere/x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_length),        cmocka_unit_test(test_header),
        cmocka_unit_test(test_header_cost),   cmocka_unit_test(test_entry),
        cmocka_unit_test(test_offsets),       cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_open),          cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_write_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
