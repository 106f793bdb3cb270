/* fastText's files: what the fasttext program predicts from each kind (tests/golden/fasttext/make), in a directory and
 * bare, and what is refused. */
#include "models/fasttext_file.h"
#include "models/fasttext_quantize.h"

#include "models/fasttext.h"
#include "models/fasttext_arch.h"
#include "models/model.h"
#include "tests/models/golden.h"

#define GOLDEN "tests/golden/fasttext/"
enum { LABELS = 10, MAX = 4096 };
static const char *const files[] = {"softmax.bin", "hs.bin",     "ova.bin",
                                    "pairs.bin",   "pruned.ftz", "split.ftz"};
enum { FILES = sizeof files / sizeof *files };

static struct model *open_model(const char *path)
{
    struct model *m;
    struct err err;
    if (model_open(path, PRECISION_AUTO, &m, &err) != 0)
        fail_msg("%s", err.msg);
    return m;
}

static void classify(const struct model *m, const char *title, size_t n, float *p)
{
    int32_t ids[MAX], start[2] = {0};
    start[1] = model_encode(m, title, n, ids, MAX, NULL);
    struct workspace *ws = workspace_open(m, 1, MAX);
    model_classify(m, ws, &(struct batch){.ids = ids, .start = start, .n = 1}, p);
    workspace_close(ws);
}

static int32_t label_of(const struct model *m, const char *name, size_t n)
{
    for (int32_t i = 0; i < model_info(m)->n_labels; i++)
        if (strlen(model_info(m)->labels[i]) == n && memcmp(model_info(m)->labels[i], name, n) == 0)
            return i;
    fail_msg("no label %.*s", (int)n, name);
    return -1;
}

/* "__label__a 0.9 __label__b 0.1 …"; the program adds 1e-5 to each, with hs to each decision, and prints six
 * digits. */
static void compare(const struct model *m, const char *file, const char *title, size_t n,
                    char *expected)
{
    float p[LABELS];
    int32_t best[LABELS];
    char *rest = expected, *word;
    float before = 2;
    classify(m, title, n, p);
    (void)model_top_k(p, LABELS, LABELS, best);
    for (int k = 0; (word = strsep(&rest, " ")) != NULL && *word; k++) {
        int32_t label = label_of(m, word + 9, strlen(word) - 9);
        float theirs = strtof(strsep(&rest, " "), NULL), ours = p[label] + 1e-5f;
        if (!(fabsf(theirs - ours) < (strcmp(file, "hs.bin") == 0 ? 5e-5f : 3e-6f)))
            fail_msg("%s: \"%.*s\": %s has %g, expected %g", file, (int)n, title, word,
                     (double)ours, (double)theirs);
        /* The best is the best, but where rounding may decide. */
        if (k == 0 && best[0] != label)
            assert_true(p[best[0]] - p[label] < 3e-6f);
        assert_true(theirs <= before);
        before = theirs;
    }
}

static void compare_file(const struct model *m, const char *file)
{
    char *titles, *expected, *path = file_path(GOLDEN "%s.expected", file);
    const char *which = strcmp(file, "pairs.bin") == 0 ? "pairs" : "characters";
    char *titles_path = file_path(GOLDEN "%s.titles", which);
    struct err err;
    assert_int_equal(file_read(titles_path, 1 << 20, &titles, NULL, &err), 0);
    assert_int_equal(file_read(path, 1 << 20, &expected, NULL, &err), 0);
    char *a = titles, *b = expected, *title;
    int n = 0;
    for (; (title = strsep(&a, "\n")) != NULL && *title; n++)
        compare(m, file, title, strlen(title), strsep(&b, "\n"));
    assert_int_equal(n, 68);
    free(titles);
    free(expected);
    free(titles_path);
    free(path);
}

static void put(const char *name, const char *text)
{
    free(scratch_write(name, text, strlen(text)));
}

static void copy_to(const char *file, const char *name)
{
    struct err err;
    char *from = file_path(GOLDEN "%s", file), *to = scratch_file(name);
    assert_int_equal(file_copy(from, to, &err), 0);
    free(from);
    free(to);
}

static void test_predictions(void **state)
{
    (void)state;
    for (int i = 0; i < FILES; i++) {
        bool spaced = strcmp(files[i], "pairs.bin") == 0;
        char *path = file_path(GOLDEN "%s", files[i]);
        if (spaced) {
            put("config.json", "{\"model_type\": \"fasttext\", \"words\": \"spaces\"}");
            copy_to(files[i], FASTTEXT_BIN);
        }
        struct model *m = open_model(spaced ? scratch_dir() : path);
        assert_string_equal(model_info(m)->family, "fasttext");
        assert_string_equal(model_info(m)->name, spaced ? "fasttext" : files[i]);
        assert_int_equal(model_info(m)->n_labels, LABELS);
        assert_int_equal(model_info(m)->each_for_itself, strcmp(files[i], "ova.bin") == 0);
        compare_file(m, files[i]);
        model_close(m);
        free(path);
    }
}

/* Titles as people write them: spaces are for the reader of the file alone. */
static void test_titles_as_they_are(void **state)
{
    (void)state;
    struct model *m = open_model(GOLDEN "softmax.bin");
    float a[LABELS], b[LABELS];
    classify(m, "股市大涨", strlen("股市大涨"), a);
    classify(m, "股 市 大 涨", strlen("股 市 大 涨"), b);
    assert_memory_equal(a, b, sizeof a);
    classify(m, "股市　大 涨\t", strlen("股市　大 涨\t"), b); /* an ideographic space too */
    assert_memory_equal(a, b, sizeof a);
    model_close(m);
}

static void test_directory(void **state)
{
    (void)state;
    struct model *m;
    struct err err;
    static const char labels[] = "finance\nrealty\nstocks\neducation\nscience\nsociety\npolitics\n"
                                 "sports\ngame\nentertainment\n";
    put("config.json", "{\"model_type\": \"fasttext\", \"model_name\": \"words\", \"words\": "
                       "\"characters\"}");
    put("labels.txt", labels);
    copy_to("softmax.bin", FASTTEXT_BIN);
    m = open_model(scratch_dir());
    assert_string_equal(model_info(m)->labels[0], "finance");
    assert_string_equal(model_info(m)->name, "words");
    compare_file(m, "softmax.bin");
    model_close(m);
    put("labels.txt", "finance\nrealty\n");
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), -1);
    assert_error(&err, ERR_CONFLICT, "model.bin has 10 labels, labels.txt has 2");
    put("labels.txt", "finance\nrealty\nstocks\neducation\nscience\nsociety\npolitics\nsports\n"
                      "game\nweather\n");
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), -1);
    assert_error(&err, ERR_CONFLICT, "model.bin: its label \"entertainment\" is not in labels.txt");
    put("labels.txt", labels);
    put("config.json", "{\"model_type\": \"fasttext\", \"words\": \"syllables\"}");
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), -1);
    assert_error(
        &err, ERR_FORMAT,
        "config.json: \"words\": \"syllables\" is no kind of words: characters, spaces or jieba");
    put("config.json", "{\"model_type\": \"fasttext\"}");
    char *bin = scratch_file(FASTTEXT_BIN);
    assert_int_equal(remove(bin), 0);
    assert_int_equal(model_open(scratch_dir(), PRECISION_AUTO, &m, &err), -1);
    assert_non_null(strstr(err.msg, "neither model.bin nor model.ftz"));
    free(bin);
}

/* The file's bytes, to be spoilt. */
struct bytes {
    char *p;
    size_t n;
};

static struct bytes read_bytes(const char *file)
{
    struct bytes b;
    struct err err;
    char *path = file_path(GOLDEN "%s", file);
    assert_int_equal(file_read(path, 1 << 24, &b.p, &b.n, &err), 0);
    free(path);
    return b;
}

static void refused(const struct bytes *b, size_t n, enum err_code code, const char *part)
{
    char *path = scratch_write("spoilt.bin", b->p, n);
    struct model *m;
    struct err err;
    assert_int_equal(model_open(path, PRECISION_AUTO, &m, &err), -1);
    if (err.code != code || !strstr(err.msg, part) || !strstr(err.msg, "spoilt.bin"))
        fail_msg("%zu bytes: \"%s\", expected \"%s\"", n, err.msg, part);
    free(path);
}

static void set(struct bytes *b, size_t at, int32_t value)
{
    memcpy(b->p + at, &value, sizeof value);
}

static int32_t get(const struct bytes *b, size_t at)
{
    int32_t value;
    memcpy(&value, b->p + at, sizeof value);
    return value;
}

/* Offsets: magic 0, version 4, dim 8, …, loss 32, model 36, bucket 40; entries 64, words 68, labels 72. */
static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        int32_t value;
        const char *part;
    } all[] = {{0, 1, "neither a model's directory nor a file of fastText's"},
               {4, 13, "version 13 of fastText's format; 11 and 12 are read"},
               {8, 0, "dim is 0, expected 1 to 65536"},
               {8, 7, "its input matrix is "},
               {32, 2, "loss 2; those of classifiers are hs (1), softmax (3) and ova (4)"},
               {32, 77, "loss 77"},
               {36, 1, "holds word vectors (model 1), no classifier (supervised, 3)"},
               {40, -1, "bucket is -1"},
               {40, 299, "dictionary and arguments make it"},
               {28, -5, "wordNgrams is -5"},
               {68, 1 << 30, "its dictionary has"},
               {72, 0, "its dictionary has"}};
    struct bytes b = read_bytes("softmax.bin");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int32_t was = get(&b, all[i].at);
        set(&b, all[i].at, all[i].value);
        refused(&b, b.n, ERR_FORMAT, all[i].part);
        set(&b, all[i].at, was);
    }
    b.p = xrealloc(b.p, b.n + 1);
    refused(&b, b.n + 1, ERR_FORMAT, "goes on for 1 bytes behind its end");
    memset(b.p + b.n - 4, 0xff, 4); /* NaN in the last weight */
    refused(&b, b.n, ERR_NUMERIC, "expected -1e14 to 1e14");
    free(b.p);
}

static void test_truncated(void **state)
{
    (void)state;
    for (int i = 0; i < FILES; i++) {
        struct bytes b = read_bytes(files[i]);
        /* Every length of the front, where things are small, then some. */
        for (size_t n = 4; n < b.n; n += n < 2000 ? 1 : 997)
            refused(&b, n, ERR_TRUNCATED, "ends within");
        refused(&b, b.n - 1, ERR_TRUNCATED, "ends within");
        free(b.p);
    }
}

/* What is written is what was read, quantised or not. */
static void test_writes(void **state)
{
    (void)state;
    static const char *const names[] = {"hs.bin", "softmax.bin", "split.ftz"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct fasttext_file f;
        struct err err;
        char *path = scratch_file("copy"), *from = file_path(GOLDEN "%s", names[i]);
        assert_int_equal(fasttext_file_open(from, &f, &err), 0);
        assert_int_equal(fasttext_file_write(path, &f.dict, &f.input, &f.output, &err), 0);
        struct bytes a = read_bytes(names[i]);
        char *copy;
        size_t n;
        assert_int_equal(file_read(path, 1 << 24, &copy, &n, &err), 0);
        assert_int_equal(n, a.n);
        assert_memory_equal(copy, a.p, n);
        free(copy);
        free(a.p);
        free(path);
        free(from);
        fasttext_file_close(&f);
    }
}

static double distance(const float *a, const float *b, size_t n)
{
    double sum = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        all += (double)b[i] * b[i];
    }
    return sqrt(sum / (all > 0 ? all : 1));
}

/* Coded rows are near what they were; rows that are left out are those of least norm. */
static void test_quantizes(void **state)
{
    (void)state;
    struct fasttext_file was, is;
    struct err err;
    char *path = scratch_file("q.ftz"), *again = scratch_file("again.ftz");
    struct pool *pool = pool_open(2), *one = pool_open(1);
    assert_int_equal(fasttext_file_open(GOLDEN "softmax.bin", &was, &err), 0);
    int32_t dim = was.dict.args.dim, half = (int32_t)was.input.rows / 2;
    float *a = xmalloc((size_t)dim * sizeof *a), *b = xmalloc((size_t)dim * sizeof *b);
    for (int norms = 0; norms < 2; norms++) {
        struct fasttext_shrink how = {.norms = norms, .seed = 1};
        double worst = 0, sum = 0;
        assert_int_equal(fasttext_quantize(GOLDEN "softmax.bin", path, &how, pool, &err), 0);
        assert_int_equal(fasttext_file_open(path, &is, &err), 0);
        assert_int_equal(is.input.rows, was.input.rows);
        assert_int_equal(is.input.norm_codes != NULL, norms);
        for (int64_t i = 0; i < is.input.rows; i++) {
            fasttext_matrix_row(&was.input, i, a);
            fasttext_matrix_row(&is.input, i, b);
            double d = distance(b, a, (size_t)dim);
            worst = d > worst ? d : worst;
            sum += d;
        }
        assert_true(sum / (double)is.input.rows < 0.15 && worst > 0);
        fasttext_file_close(&is);
    }
    /* The same bytes on one thread; half of the rows. */
    struct fasttext_shrink how = {.cutoff = half, .seed = 1};
    char *x, *y;
    size_t n, m;
    assert_int_equal(fasttext_quantize(GOLDEN "softmax.bin", path, &how, pool, &err), 0);
    assert_int_equal(fasttext_quantize(GOLDEN "softmax.bin", again, &how, one, &err), 0);
    assert_int_equal(file_read(path, 1 << 24, &x, &n, &err), 0);
    assert_int_equal(file_read(again, 1 << 24, &y, &m, &err), 0);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    assert_int_equal(fasttext_file_open(path, &is, &err), 0);
    assert_int_equal(is.input.rows, half);
    assert_int_equal(is.dict.n_labels, was.dict.n_labels);
    assert_true(is.dict.n_words + is.dict.n_pruned == half);
    assert_true(fasttext_dict_find(&is.dict, FASTTEXT_END, 4, fasttext_hash(FASTTEXT_END, 4)) >= 0);
    fasttext_file_close(&is);
    assert_int_equal(fasttext_quantize(path, again, &how, pool, &err), -1);
    assert_non_null(strstr(err.msg, "is quantised already"));
    free(x);
    free(y);
    free(a);
    free(b);
    free(path);
    free(again);
    pool_close(pool);
    pool_close(one);
    fasttext_file_close(&was);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_predictions), cmocka_unit_test(test_titles_as_they_are),
        cmocka_unit_test(test_directory),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_truncated),   cmocka_unit_test(test_writes),
        cmocka_unit_test(test_quantizes),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_done);
}
