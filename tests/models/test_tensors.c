#include "models/tensors.h"

#include <math.h>

#include "tests/base/scratch.h"

static const float zeros[6];

static struct tensor made(const char *name)
{
    return (struct tensor){.name = name,
                           .dtype = DT_F32,
                           .n_dims = 2,
                           .dims = {2, 3},
                           .data = zeros,
                           .bytes = sizeof zeros};
}

static void test_need(void **state)
{
    (void)state;
    struct err err;
    struct tensor_set set;
    const struct tensor list[] = {made("w")}, *t = NULL;
    assert_int_equal(tensor_set_init(&set, "dir/m", list, 1, &err), 0);
    const int64_t right[] = {2, 3}, wrong[] = {3, 2}, more[] = {2, 3, 1};
    assert_int_equal(tensor_set_need(&set, "v", 2, right, &t, &err), -1);
    assert_string_equal(err.msg, "dir/m: tensor \"v\" is not among its 1 tensors");
    assert_int_equal(err.code, ERR_MISSING);
    assert_int_equal(tensor_set_need(&set, "w", 2, wrong, &t, &err), -1);
    assert_string_equal(err.msg, "dir/m: tensor \"w\": expected shape [3, 2], found [2, 3]");
    assert_int_equal(err.code, ERR_FORMAT);
    assert_int_equal(tensor_set_need(&set, "w", 3, more, &t, &err), -1);
    assert_string_equal(err.msg, "dir/m: tensor \"w\": expected shape [2, 3, 1], found [2, 3]");
    assert_int_equal(tensor_set_need(&set, "w", 0, NULL, &t, &err), -1);
    assert_string_equal(err.msg, "dir/m: tensor \"w\": expected shape [], found [2, 3]");
    assert_null(t);
    assert_int_equal(tensor_set_need(&set, "w", 2, right, &t, &err), 0);
    assert_ptr_equal(t, list);
    tensor_set_done(&set);
}

/* Sets of 0 to 40 tensors in a mixed order: each name leads to its own tensor, others to none. */
static void test_find(void **state)
{
    (void)state;
    struct err err;
    char names[40][8];
    struct tensor list[40];
    for (size_t i = 0; i < 40; i++) {
        (void)snprintf(names[i], sizeof names[i], "t%zu", i * 17 % 40);
        list[i] = made(names[i]);
    }
    for (size_t n = 0; n <= 40; n++) {
        struct tensor_set set;
        assert_int_equal(tensor_set_init(&set, "m", list, n, &err), 0);
        assert_int_equal(set.n, n);
        for (size_t i = 0; i < 40; i++)
            assert_ptr_equal(tensor_set_find(&set, names[i]), i < n ? &list[i] : NULL);
        assert_null(tensor_set_find(&set, ""));
        assert_null(tensor_set_find(&set, "t"));
        assert_null(tensor_set_find(&set, "t400"));
        assert_null(tensor_set_find(&set, "u"));
        tensor_set_done(&set);
    }
}

static void test_twice(void **state)
{
    (void)state;
    struct err err;
    struct tensor_set set = {.name = "untouched"};
    const struct tensor list[] = {made("b"), made("a"), made("c"), made("a")};
    assert_int_equal(tensor_set_init(&set, "m", list, 4, &err), -1);
    assert_string_equal(err.msg, "m: tensor \"a\" is there twice");
    assert_int_equal(err.code, ERR_FORMAT);
    assert_string_equal(set.name, "untouched");
    set = (struct tensor_set){0};
    tensor_set_done(&set);
}

static void test_shape_text(void **state)
{
    (void)state;
    char text[TENSOR_SHAPE_TEXT];
    int64_t dims[TENSOR_MAX_DIMS];
    assert_string_equal(tensor_shape_text(0, NULL, text), "[]");
    for (int i = 0; i < TENSOR_MAX_DIMS; i++)
        dims[i] = INT64_MIN;
    assert_int_equal(strlen(tensor_shape_text(TENSOR_MAX_DIMS, dims, text)), TENSOR_MAX_DIMS * 22);
}

static void test_to_f32(void **state)
{
    (void)state;
    struct err err;
    float out[4];
    char raw[40];
    const float singles[] = {1.5f, -0.0f, INFINITY, 1e-45f};
    memcpy(raw + 1, singles, sizeof singles); /* unaligned on purpose */
    struct tensor t = {
        .name = "w", .dtype = DT_F32, .n_dims = 1, .dims = {4}, .data = raw + 1, .bytes = 16};
    assert_int_equal(tensor_to_f32(&t, out, &err), 0);
    assert_memory_equal(out, singles, sizeof singles);
    const double doubles[] = {0.1, 1e300, -2.0, 1.0 + 1e-9};
    memcpy(raw + 1, doubles, sizeof doubles);
    t.dtype = DT_F64;
    t.bytes = 32;
    assert_int_equal(tensor_to_f32(&t, out, &err), 0);
    assert_true(out[0] == 0.1f && isinf(out[1]) && out[2] == -2.0f && out[3] == 1.0f);
    const uint16_t halves[] = {0x3E00, 0xC000, 0x7C00, 0x0001};
    memcpy(raw + 1, halves, sizeof halves);
    t.dtype = DT_F16;
    t.bytes = 8;
    assert_int_equal(tensor_to_f32(&t, out, &err), 0);
    assert_true(out[0] == 1.5f && out[1] == -2.0f && isinf(out[2]) && out[3] == 0x1p-24f);
    t.dtype = DT_BF16;
    assert_int_equal(tensor_to_f32(&t, out, &err), 0);
    assert_true(out[1] == -2.0f && out[3] == 0x1p-133f);
    static const enum dtype whole[] = {DT_I8, DT_U8, DT_I32, DT_I64, DT_BOOL};
    for (int i = 0; i < 5; i++) {
        char expected[100];
        t.dtype = whole[i];
        (void)snprintf(expected, sizeof expected,
                       "tensor \"w\": expected a floating type, found %s%s", dtype_name(whole[i]),
                       whole[i] == DT_I8 ? " without its scale" : "");
        assert_int_equal(tensor_to_f32(&t, out, &err), -1);
        assert_string_equal(err.msg, expected);
    }
}

/* One bad element at the end of each floating type. */
static void test_check_weights(void **state)
{
    (void)state;
    struct err err;
    float f[] = {1, -2, 0, 0, 3, INFINITY}, g[] = {NAN, 1, 1, 1, 1, 1}, tiny[] = {1e-45f, 3e38f};
    double d[] = {1, 2, 3, 4, 5, 1e300}, e[] = {1, 2, 3, 4, 5, 1e38};
    uint16_t half[] = {0x7BFF, 0xFBFF, 0x7C00}, brain[] = {0x7F7F, 0xFF7F, 0xFFC0};
    const struct {
        enum dtype dtype;
        const void *data;
        size_t n, bad; /* bad = n: none */
    } cases[] = {{DT_F32, f, 6, 5},      {DT_F32, f, 5, 5},    {DT_F32, g, 6, 0},
                 {DT_F32, tiny, 2, 2},   {DT_F64, d, 6, 5},    {DT_F64, e, 6, 6},
                 {DT_F16, half, 3, 2},   {DT_F16, half, 2, 2}, {DT_BF16, brain, 3, 2},
                 {DT_BF16, brain, 2, 2}, {DT_F32, NULL, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char expected[100];
        struct tensor t = made("w");
        t.dtype = cases[i].dtype;
        t.data = cases[i].data;
        t.bytes = cases[i].n * dtype_size(t.dtype);
        bool good = cases[i].bad == cases[i].n;
        assert_int_equal(tensor_check_weights(&t, &err), good ? 0 : -1);
        (void)snprintf(expected, sizeof expected,
                       "tensor \"w\": element %zu of %zu is infinite or not a number", cases[i].bad,
                       cases[i].n);
        if (!good)
            assert_string_equal(err.msg, expected);
    }
    static const enum dtype whole[] = {DT_I8, DT_U8, DT_I32, DT_I64, DT_BOOL};
    for (int i = 0; i < 5; i++) {
        struct tensor t = made("w");
        t.dtype = whole[i];
        assert_int_equal(tensor_check_weights(&t, &err), -1);
        assert_non_null(strstr(err.msg, "expected a floating type, found"));
    }
}

/* The value of a binary16 by its definition, in double. */
static double f16_value(unsigned h)
{
    double sign = h & 0x8000u ? -1 : 1;
    int exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 31)
        return mantissa ? (double)NAN : sign * (double)INFINITY;
    return sign * (exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24));
}

static void test_f16(void **state)
{
    (void)state;
    for (unsigned h = 0; h <= 0xFFFF; h++) {
        float x = f16_to_f32((uint16_t)h);
        double value = f16_value(h);
        if (isnan(value)) {
            uint16_t back = f16_from_f32(x);
            assert_true(isnan(x) && !!signbit(x) == (h >> 15));
            assert_true((back & 0x7C00) == 0x7C00 && (back & 0x3FF) != 0 && back >> 15 == h >> 15);
            if (h & 0x200) /* quiet ones keep their payload */
                assert_int_equal(back, h);
            continue;
        }
        assert_true((double)x == value && !!signbit(x) == (h >> 15));
        assert_int_equal(f16_from_f32(x), h);
        /* Half way to the next one goes to the even one; a hair to either side goes to the nearer.
         */
        if ((h & 0x7FFF) >= 0x7BFF)
            continue;
        float middle = (float)((value + f16_value(h + 1)) / 2);
        float zero = signbit(x) ? -0.0f : 0.0f, far = signbit(x) ? -INFINITY : INFINITY;
        assert_int_equal(f16_from_f32(middle), h & 1 ? h + 1 : h);
        assert_int_equal(f16_from_f32(nextafterf(middle, zero)), h);
        assert_int_equal(f16_from_f32(nextafterf(middle, far)), h + 1);
    }
    assert_int_equal(f16_from_f32(65504.0f), 0x7BFF);
    assert_int_equal(f16_from_f32(65519.996f), 0x7BFF);
    assert_int_equal(f16_from_f32(65520.0f), 0x7C00);
    assert_int_equal(f16_from_f32(-3e38f), 0xFC00);
    assert_int_equal(f16_from_f32(1e-45f), 0);
    assert_int_equal(f16_from_f32(-1e-45f), 0x8000);
}

static void test_bf16(void **state)
{
    (void)state;
    for (unsigned h = 0; h <= 0xFFFF; h++) {
        uint32_t bits = (uint32_t)h << 16, got;
        float x = bf16_to_f32((uint16_t)h);
        memcpy(&got, &x, 4);
        if (isnan(x)) {
            assert_int_equal(bf16_from_f32(x), h | 0x40);
            continue;
        }
        assert_int_equal(got, bits);
        assert_int_equal(bf16_from_f32(x), h);
        if ((h & 0x7FFF) >= 0x7F80)
            continue;
        float y;
        static const uint32_t low[] = {0x7FFF, 0x8000, 0x8001};
        const unsigned expected[] = {h, h & 1 ? h + 1 : h, h + 1};
        for (int i = 0; i < 3; i++) {
            uint32_t between = bits | low[i];
            memcpy(&y, &between, 4);
            assert_int_equal(bf16_from_f32(y), expected[i]);
        }
    }
    uint32_t bits = 0x7F800001; /* a NaN whose upper half alone would be infinity */
    float x;
    memcpy(&x, &bits, 4);
    assert_int_equal(bf16_from_f32(x), 0x7FC0);
}

/* Bytes and their steps in one file. */
static void test_pairs(void **state)
{
    (void)state;
    struct err err;
    static const int8_t q[6] = {127, -127, 1, 0, 2, -3};
    static const float two[2] = {0.5f, 2}, three[3] = {1, 10, 100}, bad[2] = {1, NAN},
                       large[2] = {1, 1e38f};
    struct tensor list[] = {
        {.name = "w", .dtype = DT_I8, .n_dims = 2, .dims = {2, 3}, .data = q, .bytes = 6},
        {.name = "w_scale", .dtype = DT_F32, .n_dims = 1, .dims = {2}, .data = two, .bytes = 8},
        {.name = "x", .dtype = DT_F32, .n_dims = 1, .dims = {2}, .data = two, .bytes = 8},
        {.name = "x_scale", .dtype = DT_F32, .n_dims = 1, .dims = {2}, .data = two, .bytes = 8},
        {.name = "y", .dtype = DT_I8, .n_dims = 3, .dims = {2, 3, 1}, .data = q, .bytes = 6},
        {.name = "y_scale",
         .dtype = DT_F32,
         .n_dims = 2,
         .dims = {3, 1},
         .data = three,
         .bytes = 12},
        {.name = "z", .dtype = DT_I8, .n_dims = 2, .dims = {2, 3}, .data = q, .bytes = 6},
        {.name = "z_scale", .dtype = DT_F32, .n_dims = 1, .dims = {3}, .data = three, .bytes = 12},
        {.name = "n", .dtype = DT_I8, .n_dims = 2, .dims = {0, 3}, .data = q, .bytes = 0},
        {.name = "n_scale", .dtype = DT_F32, .n_dims = 1, .dims = {0}, .data = two, .bytes = 0},
        {.name = "s", .dtype = DT_I8, .n_dims = 0, .data = q, .bytes = 1},
        {.name = "s_scale", .dtype = DT_F32, .n_dims = 0, .data = two, .bytes = 4},
    };
    size_t n = tensors_pair(list, sizeof list / sizeof *list);
    assert_int_equal(n, 9); /* without w's, y's and n's */
    const float w[] = {63.5f, -63.5f, 0.5f, 0, 4, -6}, y[] = {127, -1270, 100, 0, 20, -300};
    float out[6];
    for (size_t i = 0; i < n; i++) {
        const struct tensor *t = &list[i];
        bool paired = strchr("wyn", t->name[0]), bytes = t->dtype == DT_I8;
        assert_int_equal(t->scale != NULL, paired);
        if (bytes && !paired) {
            assert_int_equal(tensor_to_f32(t, out, &err), -1);
            assert_non_null(
                strstr(err.msg, "expected a floating type, found I8 without its scale"));
            assert_int_equal(tensor_check_weights(t, &err), -1);
        }
    }
    assert_int_equal(tensor_to_f32(&list[0], out, &err), 0);
    assert_memory_equal(out, w, sizeof w);
    assert_string_equal(list[3].name, "y");
    assert_int_equal(tensor_to_f32(&list[3], out, &err), 0);
    assert_memory_equal(out, y, sizeof y);
    assert_int_equal(tensor_check_weights(&list[3], &err), 0);
    list[0].scale = bad;
    assert_int_equal(tensor_check_weights(&list[0], &err), -1);
    assert_string_equal(err.msg, "tensor \"w_scale\": element 1 of 2 is nan");
    list[0].scale = large; /* 127 times it would be infinite */
    assert_int_equal(tensor_check_weights(&list[0], &err), -1);
    assert_int_equal(err.code, ERR_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_need),          cmocka_unit_test(test_find),
        cmocka_unit_test(test_pairs),         cmocka_unit_test(test_twice),
        cmocka_unit_test(test_shape_text),    cmocka_unit_test(test_to_f32),
        cmocka_unit_test(test_f16),           cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_check_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
