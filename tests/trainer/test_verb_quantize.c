/* `quantize`: a smaller directory with a report of what it lost; what stays by name or because too much was lost; what
 * is refused. */
#include "models/safetensors.h"
#include "tests/trainer/run.h"

#define ROWS "tests/golden/transformers/"
#define TITLES TINY "/dev.txt"

static off_t size_of(const char *name)
{
    char *path = file_path("%s/%s", run_dir, name);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    free(path);
    return st.st_size;
}

static void textcnn(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, "--arch", "textcnn", "--data", TINY, "--out", "%/m",
                              "--epochs", "3", "--batch", "32"),
                     0);
    assert_int_equal(run_verb(verb_quantize, "--model", "%/m", "--out", "%/q", "--titles", TITLES,
                              "--data", TITLES),
                     0);
    run_expect_text("stdout", "4 of 4 in bytes: ");
    run_expect_text("stdout", "same answer");
    run_expect_text("stdout", "before, in fp32");
    run_expect_text("stdout", "after, in int16");
    run_expect_text("stdout", "entertainment");
    run_expect_text("q/config.json", "\"rubric_quantization\"");
    assert_true(size_of("q/model.safetensors") < size_of("m/model.safetensors") / 3);
    assert_false(run_exists("q/history.json"));
    /* A model like others: read, not overwritten by accident, not quantised twice. */
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/q", "--data", TITLES), 0);
    assert_int_not_equal(run_verb(verb_quantize, "--model", "%/m", "--out", "%/q"), 0);
    run_expect_text("stderr", "holds a model already: --overwrite replaces it");
    assert_int_equal(run_verb(verb_quantize, "--model", "%/m", "--out", "%/q", "--overwrite",
                              "--keep", "embedding,convs.1,embedding"),
                     0);
    run_expect_text("q/config.json", "\"embedding.weight\"");
    run_expect_text("q/config.json", "\"convs.1.weight\"");
    assert_int_not_equal(run_verb(verb_quantize, "--model", "%/q", "--out", "%/r"), 0);
    run_expect_text("stderr", "its weights are in bytes already");
    assert_false(run_exists("r/model.safetensors"));
    char *place = file_path("dir:%s/registry", run_dir);
    assert_int_equal(run_verb(verb_push, "--model", "%/q", "--registry", place, "--name", "n"), 0);
    free(place);
}

/* A matrix that bytes cannot hold stays as it is. */
static void stays(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, "--arch", "bert", "--from", ROWS "bert", "--data", TINY,
                              "--out", "%/m", "--epochs", "12", "--batch", "32", "--lr", "1e-3",
                              "--patience", "0", "--max-length", "32", "--precision", "fp32"),
                     0);
    /* One weight a thousand times the others of its row leaves them nothing in bytes. */
    char *path = file_path("%s/m/model.safetensors", run_dir), *data;
    struct err err;
    size_t len;
    struct safetensors *st;
    static const char *const meta[] = {"format", "pt", NULL};
    assert_int_equal(file_read(path, 1 << 26, &data, &len, &err), 0);
    assert_int_equal(safetensors_parse("m", data, len, &st, &err), 0);
    const struct tensor_set *set = safetensors_tensors(st);
    const struct tensor *t = tensor_set_find(set, "bert.encoder.layer.0.intermediate.dense.weight");
    assert_non_null(t);
    size_t rows = (size_t)t->dims[0], columns = (size_t)t->dims[1];
    float *w = (float *)(uintptr_t)t->data, large = 200;
    for (size_t i = 0; i < rows; i++) /* of an input that is always 0 */
        memcpy(w + i * columns, &large, sizeof large);
    static const char *const norm[] = {"bert.encoder.layer.0.attention.output.LayerNorm.weight",
                                       "bert.encoder.layer.0.attention.output.LayerNorm.bias"};
    for (int i = 0; i < 2; i++)
        memset((void *)(uintptr_t)tensor_set_find(set, norm[i])->data, 0, sizeof large);
    assert_int_equal(safetensors_write(path, set->tensors, set->n, meta, &err), 0);
    safetensors_close(st);
    free(data);
    free(path);
    assert_int_equal(run_verb(verb_quantize, "--model", "%/m", "--out", "%/q", "--titles", TITLES,
                              "--max-drop", "0"),
                     0);
    run_expect_text("stdout", "kept         bert.encoder.layer.0.intermediate.dense: ");
    run_expect_text("q/config.json", "\"bert.encoder.layer.0.intermediate.dense.weight\"");
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/q", "--data", TITLES), 0);
}

/* A .ftz beside what the model's directory has, or alone. */
static void fasttext(void **state)
{
    (void)state;
    assert_int_equal(run_verb(verb_fit, "--arch", "fasttext", "--data", TINY, "--out", "%/m",
                              "--bucket", "2000", "--epochs", "50", "--lr", "1"),
                     0);
    assert_int_equal(run_verb(verb_quantize, "--model", "%/m", "--out", "%/q", "--cutoff", "1500",
                              "--data", TITLES),
                     0);
    run_expect_text("stdout", "same answer");
    assert_true(run_exists("q/model.ftz") && run_exists("q/config.json"));
    assert_false(run_exists("q/model.bin"));
    assert_false(run_exists("q/lineage.json"));
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/q", "--data", TITLES), 0);
    assert_int_equal(run_verb(verb_quantize, "--model", "%/m/model.bin", "--out", "%/bare",
                              "--qnorm", "--data", TITLES),
                     0);
    assert_true(size_of("bare/model.ftz") < size_of("m/model.bin") / 2);
    assert_int_equal(run_verb(verb_evaluate, "--model", "%/bare/model.ftz", "--data", TITLES), 0);
    assert_int_not_equal(run_verb(verb_quantize, "--model", "%/q", "--out", "%/r"), 0);
    run_expect_text("stderr", "q/model.ftz: is quantised already");
    assert_int_not_equal(run_verb(verb_quantize, "--model", "%/m", "--out", "%/r", "--keep", "x"),
                         0);
    run_expect_text("stderr", "--titles and --keep are of transformers and TextCNN");
    assert_false(run_exists("r/model.ftz"));
}

/* Nothing is written where something is wrong; what a model's own configuration keeps, stays. */
static void before_anything(void **state)
{
    (void)state;
    char *model = file_path("%s/m", run_dir), *from = file_path("%s/m/config.json", run_dir);
    assert_int_equal(
        run_verb(verb_quantize, "--model", ROWS "bert", "--out", "%/q", "--data", "%/nowhere.txt"),
        66);
    assert_int_not_equal(
        run_verb(verb_quantize, "--model", ROWS "bert", "--out", "%/q", "--cutoff", "5"), 0);
    run_expect_text("stderr", "--cutoff and --qnorm are of fastText");
    assert_false(run_exists("q/model.safetensors"));
    assert_int_equal(run_verb(verb_fit, "--arch", "bert", "--from", ROWS "bert", "--data", TINY,
                              "--out", model, "--epochs", "1", "--max-length", "32"),
                     0);
    assert_int_not_equal(
        run_verb(verb_quantize, "--model", model, "--out", "%/m/../m", "--overwrite"), 0);
    run_expect_text("stderr", "--out is --model");
    assert_true(run_exists("m/lineage.json"));
    json_t *config = json_parse_file(from, 1 << 20, NULL);
    (void)json_object_set_new(config, "int8_keep", json_pack("[s]", "encoder.layer.1.output"));
    char *text = json_dumps(config, 0);
    run_write("m/config.json", text);
    assert_int_equal(run_verb(verb_quantize, "--model", model, "--out", "%/q"), 0);
    run_expect_text("q/config.json", "encoder.layer.1.output.dense.weight");
    free(text);
    json_decref(config);
    free(model);
    free(from);
}

static void refused(void **state)
{
    (void)state;
    assert_int_equal(
        run_verb(verb_fit, "--arch", "linear", "--data", TINY, "--out", "%/m", "--min-df", "1"), 0);
    assert_int_not_equal(run_verb(verb_quantize, "--model", "%/m", "--out", "%/q"), 0);
    run_expect_text("stderr", "linear has no matrices to quantise; transformers and textcnn have");
    assert_int_not_equal(run_verb(verb_quantize, "--model", ROWS "bert", "--out", "%/q", "--keep",
                                  "encoder.layer.7"),
                         0);
    run_expect_text("stderr", "--keep: no matrix of " ROWS "bert is called encoder.layer.7");
    assert_int_not_equal(
        run_verb(verb_quantize, "--model", ROWS "bert", "--out", "%/q", "--max-drop", "0.1"), 0);
    run_expect_text("stderr", "--max-drop is of --titles");
    assert_int_not_equal(
        run_verb(verb_quantize, "--model", ROWS "bert-bare", "--out", "%/q", "--titles", TITLES),
        0);
    run_expect_text("stderr", "classifies nothing");
    assert_false(run_exists("q/model.safetensors"));
    /* A full disk leaves what was there. */
    assert_int_equal(run_verb(verb_quantize, "--model", ROWS "bert", "--out", "%/q"), 0);
    off_t was = size_of("q/model.safetensors");
    run_file_max = 20000;
    assert_int_not_equal(
        run_verb(verb_quantize, "--model", ROWS "albert", "--out", "%/q", "--overwrite"), 0);
    run_file_max = 0;
    assert_int_equal(size_of("q/model.safetensors"), was);
    run_expect_text("q/config.json", "\"bert\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(textcnn, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(stays, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(fasttext, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(before_anything, run_setup, run_teardown),
        cmocka_unit_test_setup_teardown(refused, run_setup, run_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
