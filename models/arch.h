/* The table of architectures: one row per family, found by config.json's "model_type".
 * models/model.c does what is the same for all of them (labels, vocabulary, files, versions) and
 * calls the row for the rest. */
#ifndef MODELS_ARCH_H
#define MODELS_ARCH_H

#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "data/batch.h"
#include "data/dataset.h"
#include "data/tokenizer.h"
#include "data/vocab.h"
#include "models/model.h"
#include "models/profile.h"
#include "models/tensors.h"
#include "models/trace.h"
#include "models/transformer_config.h"

/* What a family's open is given; all borrowed, and gone when it returns. */
struct arch_source {
    const char *config_path; /* for messages */
    const json_t *config;    /* an object */
    const struct tensor_set *weights;
    int32_t vocab_size;       /* of the tokenizer */
    int32_t n_labels;         /* of labels.txt or id2label; 0: neither is there */
    enum precision precision; /* as asked for */
    enum model_head head;     /* for a plain linear head */
};

/* What a family that reads files of its own is given. */
struct arch_place {
    const char *path;              /* the model's directory, or a file where the family takes one */
    const json_t *config;          /* NULL: a file */
    const struct classes *classes; /* of labels.txt or id2label; n 0: neither is there */
    enum precision precision;
};

/* What it tells of the opened model. */
struct arch_facts {
    char sha256[SHA256_HEX]; /* open_path's: of what it read */
    struct classes classes;  /* open_path's, where it was given none: the caller's from here on */
    int64_t parameters, weights_bytes;
    int32_t max_tokens;
    int32_t n_labels;         /* 0: it has no head */
    bool each_for_itself;     /* probabilities do not sum to 1: one-vs-all */
    bool spaced_words;        /* titles come with blanks between their words */
    enum precision precision; /* what runs */
    const char *kernels;      /* the matrix product's name, or NULL; the model's */
};

struct arch {
    const char *model_type;
    enum tokenizer_kind tokenizer;
    int (*open)(const struct arch_source *src, void **impl, struct arch_facts *facts,
                struct err *err);
    /* In the place of open and the tokenizer: a family that reads files of its own. */
    int (*open_path)(const struct arch_place *place, void **impl, struct arch_facts *facts,
                     struct err *err);
    int32_t (*encode)(const void *impl, const char *title, size_t n, int32_t *ids, int32_t max,
                      bool *cut);
    void (*close)(void *impl);
    void *(*workspace_open)(const void *impl, int32_t max_titles, int32_t max_ids);
    void (*workspace_close)(void *ws);
    /* probabilities[n][n_labels]; no allocation. */
    void (*classify)(const void *impl, void *ws, const struct batch *b, float *probabilities);
    /* NULL: it keeps no times. */
    void (*profile)(void *ws, struct profile *p);
    /* NULL: nothing to hand out. */
    void (*trace)(const void *impl, void *ws, const struct batch *b, const struct trace *t,
                  float *probabilities);
};

/* The row, or NULL with the known names in err. */
const struct arch *arch_find(const char *model_type, struct err *err);

/* config.json must give this integer within [min, max]; unlike json_get_int, a missing key is an
 * error. */
int arch_need_int(const json_t *config, const char *key, long min, long max, int32_t *out,
                  struct err *err);

/* Memory for a large table that is read at random places: aligned for, and asking for, huge pages,
 * so that it takes some twenty address translations instead of ten thousand.  Not cleared; freed
 * with free(). */
void *arch_table_alloc(size_t bytes);

/* Writes a model directory: model.safetensors, vocab.txt, labels.txt and, last, config.json, to
 * which model_type, model_name, vocab_size, num_labels, id2label and label2id are added.  config
 * stays the caller's. */
int arch_save(const char *dir, const char *model_type, const char *name, json_t *config,
              const struct tensor *tensors, size_t n_tensors, const struct vocab *v,
              const struct classes *classes, struct err *err);

/* The parts of it: what every config.json says (into config; classes NULL: no labels), labels.txt and config.json themselves. */
void arch_describe(json_t *config, const char *model_type, const char *name, int32_t vocab,
                   const struct classes *classes);
int arch_write_labels(const char *dir, const struct classes *classes, struct err *err);
int arch_write_config(const char *dir, json_t *config, struct err *err);

#endif
