#include "trainer/embedding_source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/tokenizer.h"
#include "data/utf8.h"
#include "models/arch.h"
#include "models/checkpoint.h"
#include "models/params.h"

enum { MAX_CONFIG = 16 << 20, LAST_CODE_POINT = 0x10ffff, MAX_SIZE = 8192 };

/* The encoder's id of one character; -1: it has none of its own. */
static int32_t id_of(const struct tokenizer *t, uint32_t code_point)
{
    char text[4];
    int32_t ids[4];
    bool cut;
    size_t n = utf8_encode(code_point, text);
    return tokenizer_encode(t, text, n, ids, 4, &cut) == 3 && !cut ? ids[1] : -1;
}

static void take_rows(struct embedding_source *e, const struct tokenizer *t, const float *table,
                      int32_t words, const struct vocab *v)
{
    /* What no tokenizer has: its id is that of everything unknown. */
    int32_t unknown = id_of(t, LAST_CODE_POINT - 2);
    for (uint32_t c = 1; c <= LAST_CODE_POINT; c++) {
        int32_t id = c < 0xd800 || c > 0xdfff ? vocab_id(v, c) : VOCAB_UNK, from;
        if (id < VOCAB_FIRST || e->known[id] || (from = id_of(t, c)) < 0 || from == unknown ||
            from >= words)
            continue;
        memcpy(e->rows + (size_t)id * (size_t)e->size, table + (size_t)from * (size_t)e->size,
               (size_t)e->size * sizeof *e->rows);
        e->known[id] = true;
        e->found++;
    }
}

/* What is not known stays 0. */
static void normalise(struct embedding_source *e, int32_t n)
{
    size_t size = (size_t)e->size;
    double sum = 0, squares = 0, count = (double)e->found * (double)size;
    for (size_t i = 0; i < (size_t)n * size; i++) {
        sum += (double)e->rows[i];
        squares += (double)e->rows[i] * (double)e->rows[i];
    }
    double mean = sum / count, deviation = sqrt(fmax(squares / count - mean * mean, 1e-30));
    for (int32_t i = 0; i < n; i++)
        for (size_t k = 0; k < size && e->known[i]; k++) {
            float *x = &e->rows[(size_t)i * size + k];
            *x = (float)(((double)*x - mean) / deviation);
        }
}

static int read_table(struct embedding_source *e, const char *dir, const json_t *config,
                      const struct tensor_set *set, const struct vocab *v, struct err *err)
{
    struct transformer_config cfg;
    struct params p = {0};
    struct tokenizer *t;
    if (transformer_config_read(config, set, &cfg, err) != 0)
        return err_prefix(err, "%s/config.json", dir);
    if (cfg.family == FAMILY_T5 || cfg.family == FAMILY_XLNET)
        return err_set(err, ERR_USAGE, "%s: %s reads pieces of words, not characters", dir,
                       family_name(cfg.family));
    if (tokenizer_open(dir, TOKENIZER_BERT, &t, err) != 0)
        return -1;
    int rc = params_find(set, &cfg, HEAD_NONE, &p, err);
    if (rc == 0) {
        const struct tensor *words = params_of(&p, STACK_ENCODER, P_WORD, 0);
        if (words->dims[1] > MAX_SIZE)
            rc = err_set(err, ERR_FORMAT, "%s: a word table of %lld columns, at most %d", dir,
                         (long long)words->dims[1], MAX_SIZE);
    }
    if (rc == 0) {
        const struct tensor *words = params_of(&p, STACK_ENCODER, P_WORD, 0);
        float *table = xmalloc((size_t)words->dims[0] * (size_t)words->dims[1] * sizeof *table);
        (void)tensor_to_f32(words, table, NULL); /* checked when it was found */
        e->size = (int32_t)words->dims[1];
        e->rows = xcalloc((size_t)vocab_size(v) * (size_t)e->size, sizeof *e->rows);
        e->known = xcalloc((size_t)vocab_size(v), sizeof *e->known);
        take_rows(e, t, table, (int32_t)words->dims[0], v);
        free(table);
        if (e->found == 0)
            rc = err_set(err, ERR_CONFLICT, "%s knows none of the %d characters of the titles", dir,
                         (int)vocab_size(v) - VOCAB_FIRST);
        else
            normalise(e, vocab_size(v));
    }
    params_done(&p);
    tokenizer_close(t);
    return rc;
}

int embedding_source_read(struct embedding_source *e, const char *dir, const struct vocab *v,
                          struct err *err)
{
    char *path = file_path("%s/config.json", dir);
    struct checkpoint *ck = NULL;
    const char *type = "bert";
    *e = (struct embedding_source){0};
    json_t *config = json_parse_file(path, MAX_CONFIG, err);
    int rc = config ? 0 : -1;
    if (rc == 0 && json_get_str(config, "model_type", &type, err) != 0)
        rc = err_prefix(err, "%s", path);
    const struct arch *arch = rc == 0 ? arch_find(type, err) : NULL;
    if (rc == 0 && (!arch || arch->open_path || arch->tokenizer == TOKENIZER_CHARACTERS))
        rc = arch ? err_set(err, ERR_USAGE, "%s: model_type is %.50s, expected a transformer's",
                            path, type)
                  : err_prefix(err, "%s", path);
    if (rc == 0)
        rc = checkpoint_open(dir, &ck, err);
    if (rc == 0)
        rc = read_table(e, dir, config, checkpoint_tensors(ck), v, err);
    if (rc == 0)
        memcpy(e->sha256, checkpoint_sha256(ck), sizeof e->sha256);
    else
        embedding_source_done(e);
    checkpoint_close(ck);
    json_decref(config);
    free(path);
    return rc;
}

void embedding_source_done(struct embedding_source *e)
{
    free(e->rows);
    free(e->known);
    *e = (struct embedding_source){0};
}
