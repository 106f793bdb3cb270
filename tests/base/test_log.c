#include "tests/base/scratch.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"

static int saved = -1;

/* stderr goes to a file until uncapture(), which returns its text (malloc'd). */
static void capture(void)
{
    char *path = scratch_write("stderr", "", 0);
    int fd = open(path, O_WRONLY | O_APPEND);
    saved = dup(STDERR_FILENO);
    assert_true(fd >= 0 && saved >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    (void)close(fd);
    free(path);
}

static char *uncapture(void)
{
    char *path = scratch_file("stderr"), *text;
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    (void)close(saved);
    assert_int_equal(file_read(path, 1 << 24, &text, NULL, NULL), 0);
    free(path);
    return text;
}

static void json_lines(void **state)
{
    (void)state;
    log_setup(LOG_JSON, LOG_INFO);
    capture();
    log_debug("hidden", "not shown");
    log_info("started", "%d threads, \"quoted\"", 3);
    log_error("failed", "two\nlines and \x1b[31m and \xff and \xe4\xb8\xad");
    char *text = uncapture();
    char *second = strchr(text, '\n') + 1;
    struct err e;
    json_t *v = json_parse("line", text, (size_t)(second - text), &e);
    assert_non_null(v);
    assert_string_equal(json_string_value(json_object_get(v, "level")), "info");
    assert_string_equal(json_string_value(json_object_get(v, "event")), "started");
    assert_string_equal(json_string_value(json_object_get(v, "msg")), "3 threads, \"quoted\"");
    const char *ts = json_string_value(json_object_get(v, "ts"));
    assert_int_equal(strlen(ts), strlen("2024-01-01T00:00:00.000Z"));
    assert_int_equal(ts[10], 'T');
    json_decref(v);
    v = json_parse("line", second, strlen(second), &e);
    assert_non_null(v);
    assert_string_equal(json_string_value(json_object_get(v, "msg")),
                        "two lines and ?[31m and ? and \xe4\xb8\xad");
    json_decref(v);
    assert_int_equal(strchr(second, '\n')[1], '\0');
    free(text);
}

static void text_lines(void **state)
{
    (void)state;
    log_setup(LOG_TEXT, LOG_WARN);
    capture();
    log_info("hidden", "not shown");
    log_warn("lag", "forged\r\n12:00:00.000 error x: y");
    char *text = uncapture();
    assert_int_equal(text[2], ':');
    assert_string_equal(text + 12, " warn  lag: forged  12:00:00.000 error x: y\n");
    free(text);
}

static void cut_in_mid_character_stays_utf8(void **state)
{
    (void)state;
    char big[4000];
    for (size_t i = 0; i + 3 < sizeof big; i += 3)
        memcpy(big + i, "\xe4\xb8\xad", 4);
    log_setup(LOG_JSON, LOG_INFO);
    for (int shift = 0; shift < 3; shift++) {
        capture();
        log_info("long", "%.*s%s", shift, "xx", big);
        char *text = uncapture();
        struct err e;
        json_t *v = json_parse("line", text, strlen(text), &e);
        assert_non_null(v);
        json_decref(v);
        free(text);
    }
}

static void broken_utf8_of_every_kind(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "\x80",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xe4\xb8",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xf0\x90\x80",
        "\xc2\x85",
        "\x7f",
        "\x01",
        "\xe4\xb8\xad\xb8",
    };
    log_setup(LOG_JSON, LOG_INFO);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        capture();
        log_info("x", "%s", broken[i]);
        char *text = uncapture();
        struct err e;
        json_t *v = json_parse("line", text, strlen(text), &e);
        assert_non_null(v);
        assert_non_null(strchr(json_string_value(json_object_get(v, "msg")), '?'));
        json_decref(v);
        free(text);
    }
}

static void *chatter(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_info("chatter", "thread %d line %d", *(int *)arg, i);
    return NULL;
}

static void lines_of_threads_stay_whole(void **state)
{
    (void)state;
    log_setup(LOG_JSON, LOG_INFO);
    capture();
    pthread_t threads[4];
    int ids[4];
    for (int i = 0; i < 4; i++) {
        ids[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, &ids[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    char *text = uncapture(), *next;
    int lines = 0;
    for (char *p = text; *p; p = next) {
        next = strchr(p, '\n') + 1;
        struct err e;
        json_t *v = json_parse("line", p, (size_t)(next - p), &e);
        assert_non_null(v);
        json_decref(v);
        lines++;
    }
    assert_int_equal(lines, 800);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines),
        cmocka_unit_test(text_lines),
        cmocka_unit_test(cut_in_mid_character_stays_utf8),
        cmocka_unit_test(broken_utf8_of_every_kind),
        cmocka_unit_test(lines_of_threads_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
