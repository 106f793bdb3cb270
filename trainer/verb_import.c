#include "trainer/verb.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "data/tokenizer.h"
#include "models/arch.h"
#include "models/safetensors.h"
#include "trainer/import_onnx.h"
#include "trainer/outdir.h"

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "onnx", .type = OPT_STR, .help = "ONNX export of a BERT encoder"},
    {.name = "vocab", .type = OPT_STR, .help = "its vocab.txt, or tokenizer.json"},
    {.name = "do-lower-case",
     .type = OPT_BOOL,
     .def = "true",
     .help = "titles are lower-cased, as BertTokenizer does where nobody says otherwise"},
    {.name = "out", .type = OPT_STR, .help = "directory of the model; made when missing"},
    {.name = "overwrite", .type = OPT_BOOL, .def = "false", .help = "replace what --out holds"},
};

enum { MAX_VOCAB = 64 << 20, MAX_PIECES = 1 << 24 };

/* model.vocab of a tokenizer.json, in the order of its ids. */
static int pieces_of_json(const char *path, const json_t *root, struct buf *out, struct err *err)
{
    const json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    size_t n = json_object_size(vocab);
    const char *key, **pieces;
    json_t *value;
    int rc = 0;
    if (!json_is_object(vocab) || n == 0 || n > MAX_PIECES)
        return err_set(err, ERR_FORMAT, "%s: no \"vocab\" of pieces in \"model\"", path);
    pieces = xcalloc(n, sizeof *pieces);
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value)
    {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || (size_t)id >= n || pieces[id] || strchr(key, '\n')) {
            rc = err_set(err, ERR_FORMAT,
                         "%s: piece \"%.100s\": its id is no number of its own below %zu", path,
                         key, n);
            break;
        }
        pieces[id] = key;
    }
    for (size_t i = 0; i < n && rc == 0; i++)
        buf_printf(out, "%s\n", pieces[i]);
    free(pieces);
    return rc;
}

static int read_pieces(const char *path, struct buf *out, struct err *err)
{
    char *text;
    size_t len;
    if (file_read(path, MAX_VOCAB, &text, &len, err) != 0)
        return -1;
    int rc = 0;
    if (len && text[0] == '{') {
        json_t *root = json_parse(path, text, len, err);
        rc = root ? pieces_of_json(path, root, out, err) : -1;
        json_decref(root);
    } else {
        buf_put(out, text, len);
    }
    free(text);
    return rc;
}

static int write_tokenizer(const char *dir, const struct buf *pieces, bool lower, struct err *err)
{
    char *vocab = file_path("%s/vocab.txt", dir),
         *config = file_path("%s/tokenizer_config.json", dir),
         *text = file_path("{\"do_lower_case\": %s, \"tokenizer_class\": \"BertTokenizer\"}\n",
                           lower ? "true" : "false");
    int rc = file_replace(vocab, pieces->data, pieces->len, err);
    if (rc == 0)
        rc = file_replace(config, text, strlen(text), err);
    free(vocab);
    free(config);
    free(text);
    return rc;
}

static int check_vocabulary(const char *dir, const struct imported *m, struct err *err)
{
    struct tokenizer *t;
    long size = 0;
    if (tokenizer_open(dir, TOKENIZER_BERT, &t, err) != 0 ||
        json_get_int(m->config, "vocab_size", 1, INT32_MAX, &size, err) != 0)
        return -1;
    int rc = tokenizer_size(t) == size
                 ? 0
                 : err_set(err, ERR_CONFLICT, "the vocabulary has %d pieces, the model %ld",
                           (int)tokenizer_size(t), size);
    tokenizer_close(t);
    return rc;
}

static int write_all(const char *dir, const struct imported *m, const struct buf *pieces,
                     bool lower, struct err *err)
{
    static const char *const meta[] = {"format", "pt", NULL};
    char *weights = file_path("%s/model.safetensors", dir);
    int rc = file_mkdirs(dir, err);
    if (rc == 0)
        rc = write_tokenizer(dir, pieces, lower, err);
    if (rc == 0)
        rc = check_vocabulary(dir, m, err);
    if (rc == 0)
        rc = safetensors_write(weights, m->tensors, m->n, meta, err);
    if (rc == 0)
        rc = arch_write_config(dir, m->config, err);
    free(weights);
    return rc;
}

/* In full beside what --out holds, then in its place. */
static int put_in_place(const char *out, enum outdir_mode mode, const struct imported *m,
                        const struct buf *pieces, bool lower, struct err *err)
{
    struct outdir dir;
    if (outdir_open(&dir, out, mode, err) != 0)
        return -1;
    int rc = write_all(dir.staging, m, pieces, lower, err);
    if (rc == 0)
        rc = outdir_commit(&dir, err);
    if (rc == 0)
        rc = outdir_complete(&dir, err);
    outdir_close(&dir);
    return rc;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *onnx, *vocab, *out;
    enum outdir_mode mode = options_bool(o, "overwrite") ? OUTDIR_OVERWRITE : OUTDIR_NEW;
    struct onnx_graph *g;
    struct imported m;
    struct buf pieces;
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "onnx", &onnx, err) != 0 ||
        verb_need(o, "vocab", &vocab, err) != 0 || verb_need(o, "out", &out, err) != 0 ||
        outdir_check(out, mode, err) != 0 || onnx_open(onnx, &g, err) != 0)
        return -1;
    int rc = import_onnx(g, &m, err);
    onnx_close(g);
    if (rc != 0)
        return -1;
    buf_init(&pieces, MAX_VOCAB);
    rc = read_pieces(vocab, &pieces, err);
    if (rc == 0)
        rc = put_in_place(out, mode, &m, &pieces, options_bool(o, "do-lower-case"), err);
    if (rc == 0)
        (void)printf(
            "%zu tensors of a BERT encoder in %s: a checkpoint for fit --arch bert --from\n", m.n,
            out);
    buf_done(&pieces);
    imported_done(&m);
    return rc;
}

const struct verb verb_import = {.name = "import",
                                 .help = "make a checkpoint of an encoder's ONNX export",
                                 .words = "",
                                 .opts = opts,
                                 .n_opts = sizeof opts / sizeof *opts,
                                 .run = run};
