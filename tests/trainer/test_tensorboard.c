/* Event files, read back byte by byte by the formats' own rules. */
#include "trainer/tensorboard.h"

#include <dirent.h>

#include "tests/trainer/run.h"

static void known_checksums(void **state)
{
    (void)state;
    unsigned char zeros[32] = {0}, ones[32];
    memset(ones, 0xFF, sizeof ones);
    /* RFC 3720, B.4, and the usual check string. */
    assert_int_equal(crc32c("123456789", 9), 0xE3069283u);
    assert_int_equal(crc32c(zeros, 32), 0x8A9136AAu);
    assert_int_equal(crc32c(ones, 32), 0x62A8AB43u);
    assert_int_equal(crc32c("", 0), 0);
}

static uint64_t fixed(const unsigned char *p, int n)
{
    uint64_t x = 0;
    for (int i = 0; i < n; i++)
        x |= (uint64_t)p[i] << (8 * i);
    return x;
}

static uint32_t masked(const void *data, size_t n)
{
    uint32_t crc = crc32c(data, n);
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

/* The one file of the test's directory. */
static unsigned char *read_events(size_t *len)
{
    struct dirent *entry;
    DIR *d = opendir(run_dir);
    char *data = NULL;
    while ((entry = readdir(d)) != NULL)
        if (strncmp(entry->d_name, "events.out.tfevents.", 20) == 0) {
            assert_null(data);
            data = run_read(entry->d_name, len);
        }
    (void)closedir(d);
    assert_non_null(data);
    return (unsigned char *)data;
}

static void records(void **state)
{
    (void)state;
    struct err err;
    struct tensorboard *t;
    size_t len;
    assert_int_equal(tensorboard_open(run_dir, &t, &err), 0);
    assert_int_equal(tensorboard_scalar(t, "loss/dev", 300, 0.25, &err), 0);
    assert_int_equal(tensorboard_scalar(t, "accuracy/dev", (int64_t)1 << 40, -1.5, &err), 0);
    tensorboard_close(t);
    unsigned char *data = read_events(&len), *p = data;
    static const struct {
        const char *bytes;
        size_t n;
    } tails[] = {
        {"\x10\x00\x1a\x0d"
         "brain.Event:2",
         17},
        {"\x10\xac\x02\x2a\x11\x0a\x0f\x0a\x08"
         "loss/dev"
         "\x15\x00\x00\x80\x3e",
         22},
        {"\x10\x80\x80\x80\x80\x80\x20\x2a\x15\x0a\x13\x0a\x0c"
         "accuracy/dev"
         "\x15\x00\x00\xc0\xbf",
         30},
    };
    for (int i = 0; i < 3; i++) {
        size_t n = (size_t)fixed(p, 8);
        assert_true(p + 16 + n <= data + len);
        assert_int_equal(fixed(p + 8, 4), masked(p, 8));
        assert_int_equal(fixed(p + 12 + n, 4), masked(p + 12, n));
        assert_int_equal(p[12], 1 << 3 | 1); /* wall_time, a double */
        assert_int_equal(n, 9 + tails[i].n);
        assert_memory_equal(p + 21, tails[i].bytes, tails[i].n);
        p += 16 + n;
    }
    assert_ptr_equal(p, data + len);
    free(data);
}

static void of_a_fit(void **state)
{
    (void)state;
    size_t len;
    assert_int_equal(run_verb(verb_fit, "--arch", "textcnn", "--data", TINY, "--batch", "32",
                              "--epochs", "1", "--eval-every", "4", "--out", "%/m", "--tensorboard",
                              "%"),
                     0);
    unsigned char *data = read_events(&len);
    static const char *const tags[] = {"loss/train", "loss/dev", "accuracy/train", "accuracy/dev",
                                       "learning_rate"};
    for (size_t i = 0; i < 5; i++)
        assert_non_null(memmem(data, len, tags[i], strlen(tags[i])));
    free(data);
    assert_int_equal(run_verb(verb_fit, "--arch", "textcnn", "--data", TINY, "--out", "%/n",
                              "--tensorboard", "/proc/nowhere"),
                     66);
    run_expect_text("stderr", "/proc/nowhere");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_checksums),
        cmocka_unit_test_setup_teardown(records, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(of_a_fit, run_setup, run_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
