/* A model as the programs see it: a directory in Hugging Face layout is opened, titles become ids,
 * packed ids become probabilities. config.json's "model_type" picks the row of the architecture
 * table (models/arch.h); everything below is the same for all rows.
 *
 * A struct model is const after model_open and shared by threads; each inference thread has a
 * workspace of its own, made once (model_classify does not allocate). */
#ifndef MODELS_MODEL_H
#define MODELS_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"
#include "data/batch.h"

/* What a family lacks runs in FP32, and model_info says so.
 * TextCNN: the folded table's cells; INT16 and INT8 in fixed point (ops/convpool_fixed.h); AUTO is INT16, which
 * changes no category that FP32 would give but by a hair (docs/FIGURES.md).
 * Transformers: BF16 and INT8 are the layers' products (ops/projection.h); AUTO is BF16 where the
 * processor has it, else FP32. */
enum precision {
    PRECISION_AUTO,
    PRECISION_FP32,
    PRECISION_BF16,
    PRECISION_INT16,
    PRECISION_INT8,
    PRECISION_COUNT
};
int precision_parse(const char *name, enum precision *p,
                    struct err *err); /* "auto", "fp32", "bf16", "int16", "int8" */
const char *precision_name(enum precision p);

struct model_info {
    const char *family; /* "textcnn", "linear" */
    const char
        *name; /* the registry's name for it, else config.json "model_name", else the family */
    const char *version; /* from manifest.json when the directory is a registry version, else the
                            first 12 digits of sha256 */
    char sha256[SHA256_HEX];   /* of model.safetensors */
    int32_t n_labels;          /* 0: a bare encoder, which classifies nothing */
    const char *const *labels; /* [n_labels], from labels.txt, else config.json's id2label */
    int64_t parameters;
    int64_t weights_bytes; /* as held in memory for inference */
    int32_t max_tokens;    /* longer titles are cut here */
    bool each_for_itself;  /* probabilities do not sum to 1: fastText's one-vs-all */
    bool spaced_words; /* titles come with blanks between their words: fastText's words = spaces */
    enum precision precision; /* what runs, never AUTO */
    const char *kernels;      /* the matrix product's name for logs, or NULL */
};

/* From the texts of options; an unknown one is an error that names what is known. */
struct model_options;
int model_options_parse(const char *precision, const char *head, struct model_options *out,
                        struct err *err);

struct model;
struct workspace;

/* dir as transformers saves it, or as this project does: config.json, weights, the tokenizer's files,
 * labels; or one of fastText's files (.bin, .ftz). */
int model_open(const char *dir, enum precision precision, struct model **out, struct err *err);
/* How a plain linear head on a transformer's rows is read: on the pooled first row, on the first row
 * (XLNet, T5: the last) as it is, or as the family and file suggest (pooled where there is a
 * pooler). */
enum model_head { MODEL_HEAD_AUTO, MODEL_HEAD_POOLED, MODEL_HEAD_ROW };
struct model_options {
    enum precision precision;
    enum model_head head;
};
int model_open_with(const char *dir, const struct model_options *opt, struct model **out,
                    struct err *err);
void model_close(struct model *m); /* NULL allowed */
const struct model_info *model_info(const struct model *m);

/* Ids of a title that passed title_check: at most max (<= info->max_tokens is enough; >= 2) are
 * written, their number returned (>= 1).  *cut (NULL allowed): the title is longer, its end is left
 * out. */
int32_t model_encode(const struct model *m, const char *title, size_t n, int32_t *ids, int32_t max,
                     bool *cut);

/* For batches of up to max_titles titles and max_ids ids in all. */
/* Times by kind of work are added to *p from now on (NULL: no more); false: the family keeps none. */
struct profile;
bool workspace_profile(struct workspace *ws, struct profile *p);
struct workspace *workspace_open(const struct model *m, int32_t max_titles, int32_t max_ids);
void workspace_close(struct workspace *ws); /* NULL allowed */

/* probabilities[n][n_labels], rows sum to 1 (fastText's one-vs-all: each for itself). An empty batch is a no-op. Ids outside the vocabulary
 * are a programming error. */
void model_classify(const struct model *m, struct workspace *ws, const struct batch *b,
                    float *probabilities);

/* Of a cascade: how many titles each stage has answered since it was opened, and its name (the model's); the number
 * of stages, 0 for other models.  Any thread may ask. */
enum { MODEL_MAX_STAGES = 8 };
int model_stages(const struct model *m, const char *names[MODEL_MAX_STAGES],
                 int64_t answered[MODEL_MAX_STAGES]);

/* The k (<= n) best of p[0..n) by falling probability, ties by lower index: best[0..k) are indexes.
 * Returns k clamped. */
int32_t model_top_k(const float *p, int32_t n, int32_t k, int32_t *best);

#endif
