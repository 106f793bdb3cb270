#include "trainer/new_encoder.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "models/arch.h"
#include "trainer/corpus.h"

enum { MAX_VOCAB = 64 << 20, LONGEST = 512 };

static const struct size {
    const char *name;
    int layers, hidden;
} sizes[] = {
    {"tiny", 2, 128}, {"mini", 4, 256}, {"small", 4, 512}, {"medium", 8, 512}, {"base", 12, 768}};

/* The characters, most frequent first, behind BERT's special tokens; letters and digits inside a word
 * once more. */
static int write_pieces(const char *dir, const struct dataset *train, long min_count, int *n,
                        struct err *err)
{
    static const char specials[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    char *path = file_path("%s/vocab.txt", dir), *text = NULL, *rest;
    struct vocab *v;
    if (corpus_vocab(train, min_count, &v, err) != 0) {
        free(path);
        return -1;
    }
    struct buf out;
    buf_init(&out, MAX_VOCAB);
    buf_puts(&out, specials);
    int rc = vocab_write(v, path, err);
    if (rc == 0)
        rc = file_read(path, MAX_VOCAB, &text, NULL, err);
    rest = text;
    *n = 5;
    for (int i = 0; rc == 0 && i < vocab_size(v); i++) {
        const char *line = strsep(&rest, "\n");
        if (i >= VOCAB_FIRST) {
            buf_printf(&out, "%s\n", line);
            ++*n;
        }
    }
    for (const char *c = "abcdefghijklmnopqrstuvwxyz0123456789"; rc == 0 && *c; c++, ++*n)
        buf_printf(&out, "##%c\n", *c);
    if (rc == 0)
        rc = file_replace(path, out.data, out.len, err);
    vocab_close(v);
    buf_done(&out);
    free(text);
    free(path);
    return rc;
}

static json_t *config_of(const char *arch, const struct size *s, int vocab)
{
    json_t *c = json_object();
    const struct {
        const char *key;
        int value;
    } all[] = {{"vocab_size", vocab},
               {"hidden_size", s->hidden},
               {"embedding_size", strcmp(arch, "albert") == 0 ? 128 : s->hidden},
               {"num_hidden_layers", s->layers},
               {"num_attention_heads", s->hidden / 64},
               {"intermediate_size", 4 * s->hidden},
               {"max_position_embeddings", LONGEST},
               {"type_vocab_size", 2},
               {"pad_token_id", 0}};
    (void)json_object_set_new(c, "model_type", json_string(arch));
    (void)json_object_set_new(c, "hidden_act", json_string("gelu"));
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i].key, "embedding_size") != 0 || strcmp(arch, "albert") == 0 ||
            strcmp(arch, "electra") == 0)
            (void)json_object_set_new(c, all[i].key, json_integer(all[i].value));
    if (strcmp(arch, "ernie") == 0)
        (void)json_object_set_new(c, "use_task_id", json_true());
    return c;
}

int new_encoder_write(const char *dir, const char *arch, const char *size,
                      const struct dataset *train, long min_count, struct err *err)
{
    static const char *const archs[] = {"bert", "ernie", "electra", "albert", "nezha", NULL};
    size_t i = 0, k = 0;
    int n = 0;
    while (archs[k] && strcmp(archs[k], arch) != 0)
        k++;
    if (!archs[k])
        return err_set(err, ERR_USAGE,
                       "--arch %s needs --from for its tokenizer, with --init random too", arch);
    while (i + 1 < sizeof sizes / sizeof *sizes && strcmp(sizes[i].name, size) != 0)
        i++;
    if (file_mkdirs(dir, err) != 0 || write_pieces(dir, train, min_count, &n, err) != 0)
        return -1;
    json_t *config = config_of(arch, &sizes[i], n);
    int rc = arch_write_config(dir, config, err);
    json_decref(config);
    return rc;
}
