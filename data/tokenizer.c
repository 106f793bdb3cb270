#include "data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "data/pieces.h"
#include "data/vocab.h"
#include "data/wordpiece.h"

enum { MAX_CONFIG = 16 << 20, EXTRA_IDS = 100, MOST_EXTRA_IDS = 10000 };

/* Exactly one of the three is there. */
struct tokenizer {
    struct vocab *vocab;
    struct wordpiece *wordpiece;
    struct pieces *pieces;
};

static int read_config(const char *dir, json_t **out, struct err *err)
{
    char *path = file_path("%s/tokenizer_config.json", dir);
    int rc = 0;
    *out = NULL;
    if (file_exists(path)) {
        /* transformers writes a "model_max_length" of 10^30 where there is no limit. */
        *out = json_parse_file_as_reals(path, MAX_CONFIG, err);
        rc = *out ? 0 : -1;
        if (*out && !json_is_object(*out))
            rc = err_set(err, ERR_FORMAT, "%s: expected an object", path);
    }
    free(path);
    return rc;
}

/* A switch; null counts as not given. */
static int flag(const json_t *config, const char *key, bool *value, struct err *err)
{
    const json_t *given = config ? json_object_get(config, key) : NULL;
    if (!given || json_is_null(given))
        return 0;
    return json_get_bool(config, key, value, err) != 0 ? err_prefix(err, "tokenizer_config.json")
                                                       : 0;
}

static int open_wordpiece(struct tokenizer *t, const char *path, const json_t *config,
                          struct err *err)
{
    struct wordpiece_options opt = {true, true, true};
    if (flag(config, "do_lower_case", &opt.lower_case, err) != 0)
        return -1;
    opt.strip_accents = opt.lower_case;
    if (flag(config, "strip_accents", &opt.strip_accents, err) != 0 ||
        flag(config, "tokenize_chinese_chars", &opt.split_ideographs, err) != 0)
        return -1;
    return wordpiece_open(path, &opt, &t->wordpiece, err);
}

static int read_extra_ids(const json_t *config, int32_t *n, struct err *err)
{
    const json_t *given = config ? json_object_get(config, "extra_ids") : NULL;
    double value = json_number_value(given), most = (double)MOST_EXTRA_IDS;
    if (given && (!json_is_number(given) || !(value >= 0 && value <= most)))
        return err_set(err, ERR_FORMAT,
                       "tokenizer_config.json: \"extra_ids\" is no number from 0 to %d",
                       MOST_EXTRA_IDS);
    *n = given ? (int32_t)value : EXTRA_IDS;
    return 0;
}

static int open_pieces(struct tokenizer *t, enum tokenizer_kind kind, const char *path,
                       const json_t *config, struct err *err)
{
    struct pieces_options opt = {.kind = kind == TOKENIZER_T5      ? PIECES_T5
                                         : kind == TOKENIZER_XLNET ? PIECES_XLNET
                                                                   : PIECES_ALBERT,
                                 .lower_case = kind == TOKENIZER_BERT,
                                 .remove_space = true};
    if (flag(config, "do_lower_case", &opt.lower_case, err) != 0 ||
        flag(config, "keep_accents", &opt.keep_accents, err) != 0 ||
        flag(config, "remove_space", &opt.remove_space, err) != 0 ||
        (kind == TOKENIZER_T5 && read_extra_ids(config, &opt.extra_ids, err) != 0))
        return -1;
    return pieces_open(path, &opt, &t->pieces, err);
}

static int open_files(struct tokenizer *t, const char *dir, enum tokenizer_kind kind,
                      const json_t *config, struct err *err)
{
    char *words = file_path("%s/vocab.txt", dir), *pieces = file_path("%s/spiece.model", dir);
    int rc;
    if (kind == TOKENIZER_CHARACTERS)
        rc = vocab_read(words, &t->vocab, err);
    else if (kind == TOKENIZER_BERT && (file_exists(words) || !file_exists(pieces)))
        rc = open_wordpiece(t, words, config, err);
    else
        rc = open_pieces(t, kind, pieces, config, err);
    free(words);
    free(pieces);
    return rc;
}

int tokenizer_open(const char *dir, enum tokenizer_kind kind, struct tokenizer **out,
                   struct err *err)
{
    struct tokenizer *t = xcalloc(1, sizeof *t);
    json_t *config = NULL;
    int rc = kind == TOKENIZER_CHARACTERS ? 0 : read_config(dir, &config, err);
    if (rc == 0)
        rc = open_files(t, dir, kind, config, err);
    json_decref(config);
    if (rc != 0) {
        tokenizer_close(t);
        return -1;
    }
    *out = t;
    return 0;
}

void tokenizer_close(struct tokenizer *t)
{
    if (!t)
        return;
    vocab_close(t->vocab);
    wordpiece_close(t->wordpiece);
    pieces_close(t->pieces);
    free(t);
}

int32_t tokenizer_size(const struct tokenizer *t)
{
    if (t->vocab)
        return vocab_size(t->vocab);
    if (t->wordpiece)
        return wordpiece_size(t->wordpiece);
    return pieces_size(t->pieces);
}

const struct wordpiece *tokenizer_wordpiece(const struct tokenizer *t)
{
    return t->wordpiece;
}

/* Are there more than max characters?  Asked of long titles only. */
static bool goes_on(const struct vocab *v, const char *title, size_t n, int32_t max)
{
    int32_t *more = xmalloc(((size_t)max + 1) * sizeof *more);
    bool on = vocab_encode(v, title, n, more, max + 1) > max;
    free(more);
    return on;
}

int32_t tokenizer_encode(const struct tokenizer *t, const char *title, size_t n, int32_t *ids,
                         int32_t max, bool *cut)
{
    if (t->vocab) {
        int32_t got = vocab_encode(t->vocab, title, n, ids, max);
        if (cut)
            *cut = got == max && goes_on(t->vocab, title, n, max);
        return got;
    }
    if (t->wordpiece)
        return wordpiece_encode(t->wordpiece, title, n, ids, max, cut);
    return pieces_encode(t->pieces, title, n, ids, max, cut);
}
