/* checkpoint.h: every bit comes back; what does not fit is refused by name. */
#include "trainer/checkpoint.h"

#include "models/safetensors.h"
#include "tests/trainer/run.h"

#include <math.h>

#define SIZE 5

static struct checkpoint make(float blocks[5][SIZE])
{
    struct checkpoint c = {.size = SIZE,
                           .w = blocks[0],
                           .m = blocks[1],
                           .v = blocks[2],
                           .best = blocks[3],
                           .ema = blocks[4]};
    buf_init(&c.log, 1 << 20);
    return c;
}

static void round_trip(void **state)
{
    (void)state;
    float in[5][SIZE], out[5][SIZE] = {{0}};
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < SIZE; j++)
            in[i][j] = 1.0f / (float)(3 + i * SIZE + j);
    struct checkpoint a = make(in), b = make(out);
    a.iteration = 123456789012;
    a.best_iteration = 7;
    a.improved = 8;
    a.best_loss = INFINITY;
    a.best_accuracy = 1.0 / 3;
    a.loss_sum = 0.1;
    a.seen = 9;
    a.labelled = 8;
    a.correct = 4;
    a.seconds = 1e-9 / 7;
    a.publish = true;
    buf_puts(&a.log, "{\"line\":1}\n{\"line\":2}\n");
    char *path = file_path("%s/c", run_dir);
    struct err err;
    assert_int_equal(checkpoint_write(path, &a, "x = 1\ny = 2\n", &err), 0);
    if (checkpoint_read(path, &b, "x = 1\ny = 2\n", &err) != 0)
        fail_msg("%s", err.msg);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(b.iteration, a.iteration);
    assert_int_equal(b.best_iteration, 7);
    assert_int_equal(b.improved, 8);
    assert_int_equal(b.seen, 9);
    assert_int_equal(b.labelled, 8);
    assert_int_equal(b.correct, 4);
    assert_true(b.publish && isinf(b.best_loss));
    assert_memory_equal(&b.best_accuracy, &a.best_accuracy, sizeof(double));
    assert_memory_equal(&b.loss_sum, &a.loss_sum, sizeof(double));
    assert_memory_equal(&b.seconds, &a.seconds, sizeof(double));
    assert_string_equal(b.log.data, a.log.data);

    assert_int_equal(checkpoint_read(path, &b, "x = 1\ny = 3\n", &err), -1);
    assert_non_null(strstr(err.msg, "made with \"y = 2\", this run has \"y = 3\""));
    assert_int_equal(checkpoint_read(path, &b, "x = 1\n", &err), -1);
    b.size = SIZE - 1;
    assert_int_equal(checkpoint_read(path, &b, "x = 1\ny = 2\n", &err), -1);
    assert_non_null(strstr(err.msg, "weights"));
    buf_done(&a.log);
    buf_done(&b.log);
    free(path);
}

static void refuses_other_files(void **state)
{
    (void)state;
    float blocks[5][SIZE] = {{0}};
    struct checkpoint c = make(blocks);
    struct err err;
    char *path = file_path("%s/c", run_dir);
    assert_int_equal(checkpoint_read(path, &c, "", &err), -1);
    assert_int_equal(err.code, ERR_MISSING);
    run_write("c", "{}");
    assert_int_equal(checkpoint_read(path, &c, "", &err), -1);
    assert_int_equal(err.code, ERR_FORMAT);
    free(path);
    /* A model's weights are no checkpoint. */
    assert_int_equal(run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", "%/m"), 0);
    path = file_path("%s/m/model.safetensors", run_dir);
    assert_int_equal(checkpoint_read(path, &c, "", &err), -1);
    assert_non_null(strstr(err.msg, "not a training checkpoint"));
    free(path);
    buf_done(&c.log);
}

static void refuses_other_formats(void **state)
{
    (void)state;
    static const char *const meta[] = {"settings", "x = 1\n", "format", "1", NULL};
    float blocks[5][SIZE] = {{0}};
    struct checkpoint c = make(blocks);
    const struct tensor log = {
        .name = "log", .dtype = DT_U8, .n_dims = 1, .dims = {1}, .data = "\n", .bytes = 1};
    char *path = file_path("%s/c", run_dir);
    struct err err;
    assert_int_equal(safetensors_write(path, &log, 1, meta, &err), 0);
    assert_int_equal(checkpoint_read(path, &c, "x = 1\n", &err), -1);
    assert_int_equal(err.code, ERR_FORMAT);
    assert_non_null(strstr(err.msg, "/c: a training checkpoint of format \"1\", expected 2"));
    free(path);
    buf_done(&c.log);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, run_setup, run_teardown)
    const struct CMUnitTest tests[] = {T(round_trip), T(refuses_other_files),
                                       T(refuses_other_formats)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
