/* Ensembles and cascades: what they answer is what their parts do, put together; what is refused; temperatures. */
#include "models/composite.h"

#include "tests/models/golden.h"

#include <sys/stat.h>
#include <unistd.h>

#define GOLDEN "tests/golden/fasttext/"
enum { LABELS = 10, MAX = 9000, TITLES = 60 };

static char *titles[TITLES];

static int read_titles(void **state)
{
    char *text, *rest, *line;
    struct err err;
    (void)state;
    assert_int_equal(file_read("tests/data/tiny/dev.txt", 1 << 20, &text, NULL, &err), 0);
    rest = text;
    for (int i = 0; i < TITLES && (line = strsep(&rest, "\n")) != NULL; i++)
        titles[i] = xstrdup(strsep(&line, "\t"));
    free(text);
    return 0;
}

static void put(const char *name, const char *text)
{
    char *path = scratch_file(name);
    assert_int_equal(file_replace(path, text, strlen(text), NULL), 0);
    free(path);
}

/* A part of a golden file, labels in the order that labels.txt has in all of them. */
static void part(const char *dir, const char *file, const char *labels)
{
    char *path = scratch_file(dir), *from = file_path(GOLDEN "%s", file),
         *to = file_path("%s/model.bin", path);
    assert_int_equal(file_mkdirs(path, NULL), 0);
    assert_int_equal(file_copy(from, to, NULL), 0);
    char *name = file_path("%s/config.json", dir);
    put(name, "{\"model_type\": \"fasttext\", \"words\": \"characters\"}");
    free(name);
    name = file_path("%s/labels.txt", dir);
    put(name, labels);
    free(name);
    free(path);
    free(from);
    free(to);
}

static const char order[] =
    "finance\nrealty\nstocks\neducation\nscience\nsociety\npolitics\nsports\n"
    "game\nentertainment\n";

static struct model *open_model(const char *dir)
{
    struct model *m;
    struct err err;
    if (model_open(dir, PRECISION_AUTO, &m, &err) != 0)
        fail_msg("%s", err.msg);
    return m;
}

static void classify(const struct model *m, float *p)
{
    int32_t *ids = xmalloc(MAX * TITLES * sizeof *ids), start[TITLES + 1] = {0};
    for (int i = 0; i < TITLES; i++)
        start[i + 1] =
            start[i] + model_encode(m, titles[i], strlen(titles[i]), ids + start[i], MAX, NULL);
    struct workspace *ws = workspace_open(m, TITLES, MAX * TITLES);
    model_classify(m, ws, &(struct batch){.ids = ids, .start = start, .n = TITLES}, p);
    workspace_close(ws);
    free(ids);
}

static struct model *open_part(const char *dir)
{
    char *path = scratch_file(dir);
    struct model *m = open_model(path);
    free(path);
    return m;
}

static float greatest(const float *p)
{
    float most = p[0];
    for (int k = 1; k < LABELS; k++)
        most = fmaxf(most, p[k]);
    return most;
}

static void test_cascade(void **state)
{
    (void)state;
    float a[TITLES * LABELS], b[TITLES * LABELS], got[TITLES * LABELS];
    part("one", "softmax.bin", order);
    part("two", "hs.bin", order);
    struct model *one = open_part("one"), *two = open_part("two");
    classify(one, a);
    classify(two, b);
    for (int k = 0; k < 3; k++) {
        static const float thresholds[] = {0, 0.7f, 2};
        char config[300];
        (void)snprintf(
            config, sizeof config,
            "{\"model_type\": \"cascade\", \"stages\": [{\"dir\": \"one\", \"threshold\": %g}, "
            "{\"dir\": \"two\"}]}",
            (double)thresholds[k]);
        put("config.json", config);
        struct model *m = open_model(scratch_dir());
        classify(m, got);
        int64_t by_one = 0;
        for (int t = 0; t < TITLES; t++) {
            bool sure = greatest(a + t * LABELS) >= thresholds[k];
            by_one += sure;
            assert_memory_equal(got + t * LABELS, (sure ? a : b) + t * LABELS,
                                LABELS * sizeof *got);
        }
        const char *names[MODEL_MAX_STAGES];
        int64_t answered[MODEL_MAX_STAGES];
        assert_int_equal(model_stages(m, names, answered), 2);
        assert_string_equal(names[0], "one");
        assert_int_equal(answered[0], by_one);
        assert_int_equal(answered[1], TITLES - by_one);
        assert_true(k != 1 || (by_one > 5 && by_one < TITLES - 5));
        assert_string_equal(model_info(m)->family, "cascade");
        assert_int_equal(model_info(m)->parameters,
                         model_info(one)->parameters + model_info(two)->parameters);
        model_close(m);
    }
    model_close(one);
    model_close(two);
}

static void test_ensemble(void **state)
{
    (void)state;
    float a[TITLES * LABELS], b[TITLES * LABELS], got[TITLES * LABELS];
    part("one", "softmax.bin", order);
    part("two", "hs.bin", order);
    struct model *one = open_part("one"), *two = open_part("two");
    classify(one, a);
    classify(two, b);
    put("config.json",
        "{\"model_type\": \"ensemble\", \"members\": [{\"dir\": \"one\", \"weight\": 0.75}, "
        "{\"dir\": \"two\", \"weight\": 0.5}]}");
    struct model *m = open_model(scratch_dir());
    classify(m, got);
    for (int t = 0; t < TITLES; t++) {
        double x[LABELS], sum = 0;
        for (int k = 0; k < LABELS; k++)
            sum += x[k] =
                pow((double)a[t * LABELS + k], 0.75) * pow((double)b[t * LABELS + k], 0.5);
        for (int k = 0; k < LABELS; k++)
            assert_true(fabs(x[k] / sum - (double)got[t * LABELS + k]) < 1e-5);
    }
    const char *names[MODEL_MAX_STAGES];
    int64_t answered[MODEL_MAX_STAGES];
    assert_int_equal(model_stages(m, names, answered), 0);
    model_close(m);
    model_close(one);
    model_close(two);
}

/* Probabilities that are not sure enough, or too sure, of any family. */
static void test_temperature(void **state)
{
    (void)state;
    float a[TITLES * LABELS], got[TITLES * LABELS];
    part("one", "softmax.bin", order);
    struct model *one = open_part("one");
    classify(one, a);
    model_close(one);
    put("one/config.json",
        "{\"model_type\": \"fasttext\", \"words\": \"characters\", \"rubric_temperature\": 2.5}");
    one = open_part("one");
    classify(one, got);
    model_close(one);
    for (int t = 0; t < TITLES; t++) {
        double x[LABELS], sum = 0;
        for (int k = 0; k < LABELS; k++)
            sum += x[k] = pow((double)a[t * LABELS + k], 1 / 2.5);
        for (int k = 0; k < LABELS; k++)
            assert_true(fabs(x[k] / sum - (double)got[t * LABELS + k]) < 1e-5);
    }
    struct err err;
    part("three", "ova.bin", order);
    put("three/config.json", "{\"model_type\": \"fasttext\", \"rubric_temperature\": 2}");
    char *ova = scratch_file("three");
    assert_int_equal(model_open(ova, PRECISION_AUTO, &one, &err), -1);
    assert_non_null(strstr(err.msg, "these are each for itself"));
    free(ova);
    put("one/config.json", "{\"model_type\": \"fasttext\", \"rubric_temperature\": 0}");
    char *path = scratch_file("one");
    assert_int_equal(model_open(path, PRECISION_AUTO, &one, &err), -1);
    assert_non_null(strstr(err.msg, "\"rubric_temperature\" is 0, expected 0.01 to 100"));
    free(path);
}

static void refused(const char *config, const char *message)
{
    struct model *m;
    struct err err;
    put("config.json", config);
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), -1);
    if (!strstr(err.msg, message))
        fail_msg("\"%s\" lacks \"%s\"", err.msg, message);
}

static void test_refusals(void **state)
{
    (void)state;
    part("one", "softmax.bin", order);
    part("two", "hs.bin",
         "realty\nfinance\nstocks\neducation\nscience\nsociety\npolitics\nsports\ngame\n"
         "entertainment\n");
    refused("{\"model_type\": \"cascade\"}", "\"stages\" must be a list of 1 to 8 parts");
    refused("{\"model_type\": \"ensemble\", \"members\": []}",
            "\"members\" must be a list of 1 to 8 parts");
    refused("{\"model_type\": \"cascade\", \"stages\": [{\"dir\": \"one\"}, {\"dir\": \"two\"}]}",
            "part \"one\": \"threshold\" must be there");
    refused("{\"model_type\": \"cascade\", \"stages\": [{}, {\"dir\": \"two\"}]}",
            "part 1 has no \"dir\"");
    refused("{\"model_type\": \"ensemble\", \"members\": [{\"dir\": \"../one\"}]}",
            "\"dir\" of part 1 is \"../one\"");
    refused("{\"model_type\": \"ensemble\", \"members\": [{\"dir\": \"four\"}]}",
            "four/config.json");
    refused("{\"model_type\": \"ensemble\", \"members\": [{\"dir\": \"one\", \"weight\": 1e9}]}",
            "part \"one\": \"weight\" is 1e+09");
    refused("{\"model_type\": \"ensemble\", \"members\": [{\"dir\": \"one\"}, {\"dir\": \"two\"}]}",
            "label 0 of part \"two\" is \"realty\", that of one is \"finance\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cascade),
        cmocka_unit_test(test_ensemble),
        cmocka_unit_test(test_temperature),
        cmocka_unit_test(test_refusals),
    };
    int failed = cmocka_run_group_tests(tests, read_titles, NULL);
    char *command = file_path("rm -r '%s'", scratch_dir());
    failed += system(command) != 0;
    free(command);
    for (int i = 0; i < TITLES; i++)
        free(titles[i]);
    return failed;
}
