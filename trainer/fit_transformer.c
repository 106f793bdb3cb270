/* `fit --arch bert` and its like: a checkpoint's weights go on (or new ones begin) in steps
 * (transformer_step.h) in the loop that all share (fit_loop.h). */
#include "trainer/fit_loop.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "data/tokenizer.h"
#include "models/arch.h"
#include "models/labels.h"
#include "models/transformer_save.h"
#include "trainer/new_encoder.h"
#include "trainer/transformer_step.h"

enum { DEV_CHUNK = 64 /* titles evaluated at a time */, MAX_CONFIG = 16 << 20 };

struct source {
    const char *dir;
    char *made; /* a directory of our own, or NULL */
    json_t *config;
    struct tokenizer *tokenizer;
    struct trainable *t;
    float *w;
    char *settings;
};

struct run {
    struct transformer_step s;
    const struct source *from;
};

static int open_config(const struct fit *f, struct source *src, struct err *err)
{
    const char *arch = options_str(f->o, "arch"), *type = "bert";
    char *path = file_path("%s/config.json", src->dir);
    src->config = json_parse_file(path, MAX_CONFIG, err);
    int rc = src->config ? 0 : -1;
    if (rc == 0 && json_get_str(src->config, "model_type", &type, err) != 0)
        rc = err_prefix(err, "%s", path);
    if (rc == 0 && strcmp(type, arch) != 0)
        rc = err_set(err, ERR_CONFLICT, "%s: model_type is \"%.50s\", --arch says %s", path, type,
                     arch);
    free(path);
    return rc;
}

/* A head goes on where it says the same labels. */
static bool same_labels(const struct fit *f, const struct source *src)
{
    struct classes c = {0};
    bool same = labels_read_dir(src->dir, &c, NULL) == 0 && c.n == f->corpus.classes.n;
    for (int32_t i = 0; same && i < c.n; i++)
        same = strcmp(c.names[i], f->corpus.classes.names[i]) == 0;
    classes_done(&c);
    return same;
}

/* Of new weights; T5's are drawn by shape. */
static int read_deviation(const struct source *src, double *out, struct err *err)
{
    *out = 0.02;
    if (json_get_real(src->config, "initializer_range", out, err) != 0)
        return err_prefix(err, "%s/config.json", src->dir);
    return *out >= 0 && *out <= 10
               ? 0
               : err_set(err, ERR_FORMAT,
                         "%s/config.json: \"initializer_range\" is %g, expected 0 to 10", src->dir,
                         *out);
}

static int read_weights(const struct fit *f, struct source *src, struct err *err)
{
    bool *fresh;
    double deviation;
    int32_t labels = f->corpus.classes.n;
    if (read_deviation(src, &deviation, err) != 0 ||
        trainable_read(src->dir, src->config, labels, same_labels(f, src), &src->t, &src->w, &fresh,
                       err) != 0)
        return -1;
    trainable_init(src->t, (uint64_t)options_int(f->o, "seed"), deviation, fresh, src->w);
    (void)fprintf(f->console, "%-12s %s, %lld parameters", "model", src->dir,
                  (long long)src->t->parameters);
    for (size_t i = 0, k = 0; i < src->t->n; i++)
        if (fresh[i])
            (void)fprintf(f->console, "%s%s", k++ ? ", " : "; new: ", src->t->tensors[i].name);
    (void)fprintf(f->console, "\n");
    free(fresh);
    return 0;
}

static int new_weights(const struct fit *f, struct source *src, struct err *err)
{
    double deviation;
    if (read_deviation(src, &deviation, err) != 0 ||
        trainable_make(src->config, f->corpus.classes.n, &src->t, err) != 0)
        return -1;
    src->w = xcalloc(src->t->size, sizeof *src->w);
    trainable_init(src->t, (uint64_t)options_int(f->o, "seed"), deviation, NULL, src->w);
    (void)fprintf(f->console, "%-12s %s's configuration, %lld parameters, all new\n", "model",
                  src->dir, (long long)src->t->parameters);
    return 0;
}

/* Weights that another run began with cannot be gone on from. */
static void describe(struct source *src, char hex[SHA256_HEX])
{
    char *config = json_dumps(src->config, JSON_SORT_KEYS);
    struct sha256 *h = sha256_open();
    sha256_add(h, config, strlen(config));
    for (size_t i = 0; i < src->t->n; i++)
        sha256_add(h, src->w + src->t->tensors[i].offset, src->t->tensors[i].size * sizeof *src->w);
    sha256_close(h, hex);
    free(config);
    src->settings = file_path("from = %s\n", hex);
}

static int open_source(struct fit *f, struct source *src, struct err *err)
{
    bool random = strcmp(options_str(f->o, "init"), "random") == 0;
    const char *name = options_str(f->o, "arch");
    const struct arch *arch = arch_find(name, err);
    int32_t max = (int32_t)options_int(f->o, "max-length");
    src->dir = options_str(f->o, "from");
    if (!src->dir && !random)
        return err_set(err, ERR_USAGE,
                       "--arch %s needs --from, the directory of a checkpoint, or --init random",
                       name);
    if (!src->dir) {
        src->dir = src->made = file_path("%s/.new", f->out.path);
        if (new_encoder_write(src->dir, name, options_str(f->o, "size"), &f->corpus.train,
                              options_int(f->o, "min-count"), err) != 0)
            return -1;
    }
    if (!arch || open_config(f, src, err) != 0 ||
        tokenizer_open(src->dir, arch->tokenizer, &src->tokenizer, err) != 0)
        return -1;
    if ((random ? new_weights : read_weights)(f, src, err) != 0)
        return -1;
    const struct transformer_config *c = &src->t->cfg;
    if (tokenizer_size(src->tokenizer) > c->vocab_size)
        return err_set(err, ERR_CONFLICT, "%s: the vocabulary has %d entries, the model %d",
                       src->dir, (int)tokenizer_size(src->tokenizer), (int)c->vocab_size);
    if (c->positions && max > c->positions)
        return err_set(err, ERR_CONFLICT, "--max-length is %d, the model has %d positions",
                       (int)max, (int)c->positions);
    describe(src, f->from);
    if (packed_make(&f->train, &f->corpus.train, packed_by_tokenizer, src->tokenizer, max, max,
                    err) != 0)
        return -1;
    return packed_make(&f->dev, &f->corpus.dev, packed_by_tokenizer, src->tokenizer, max, max, err);
}

static void close_source(struct source *src)
{
    json_decref(src->config);
    tokenizer_close(src->tokenizer);
    trainable_close(src->t);
    free(src->w);
    free(src->settings);
    if (src->made)
        (void)file_remove_dir(src->made, NULL);
    free(src->made);
}

static int step(void *self, struct err *err)
{
    return transformer_step(&((struct run *)self)->s, err);
}

static int check(const void *self, struct err *err)
{
    return transformer_step_check(&((const struct run *)self)->s, err);
}

static const float *weights(const void *self)
{
    return transformer_step_weights(&((const struct run *)self)->s);
}

static double rate(const void *self)
{
    return (double)transformer_step_rate(&((const struct run *)self)->s);
}

static void logits(void *self, const struct batch *b, float *out)
{
    transformer_step_logits(&((struct run *)self)->s, b, out);
}

static enum dtype dtype_of(const struct options *o)
{
    const char *name = options_str(o, "dtype");
    return strcmp(name, "f16") == 0 ? DT_F16 : strcmp(name, "bf16") == 0 ? DT_BF16 : DT_F32;
}

static int save(const void *self, const char *dir, const float *w, struct err *err)
{
    const struct run *r = self;
    const struct fit *f = r->s.f;
    return transformer_save(dir, r->from->dir, r->from->config, fit_model_name(f), r->from->t, w,
                            &f->corpus.classes, dtype_of(f->o), err);
}

/* config.json's rates, unless options say others. */
static int read_dropout(const struct fit *f, const struct source *src, struct dropout_rates *out,
                        struct err *err)
{
    if (dropout_rates_read(src->config, &src->t->cfg, out, err) != 0)
        return -1;
    if (options_str(f->o, "hidden-dropout"))
        out->hidden = out->head = out->head_in = (float)options_real(f->o, "hidden-dropout");
    if (options_str(f->o, "attention-dropout"))
        out->attention = (float)options_real(f->o, "attention-dropout");
    return 0;
}

static int train(struct fit *f, struct source *src, struct err *err)
{
    struct dropout_rates drop;
    struct run r = {.from = src};
    int32_t max = (int32_t)options_int(f->o, "max-length");
    if (read_dropout(f, src, &drop, err) != 0)
        return -1;
    transformer_step_open(&r.s, f, src->t, src->w, &drop, max, DEV_CHUNK);
    src->w = NULL; /* the step's now */
    (void)fprintf(f->console, "%-12s %s, %.1f ids a title, %d classes, %d threads\n", "training",
                  product_has(PRODUCT_BF16) && strcmp(options_str(f->o, "precision"), "fp32") != 0
                      ? "bf16"
                      : "fp32",
                  (double)f->train.start[f->train.batch.n] / f->train.batch.n,
                  (int)f->corpus.classes.n, pool_threads(f->pool));
    struct trainee t = {.self = &r,
                        .c = &r.s.c,
                        .steps = r.s.steps,
                        .total = r.s.total,
                        .dev_chunk = DEV_CHUNK,
                        .settings = src->settings,
                        .step = step,
                        .check = check,
                        .logits = logits,
                        .weights = weights,
                        .rate = rate,
                        .save = save};
    int rc = fit_loop(f, &t, err);
    transformer_step_close(&r.s);
    return rc;
}

int fit_transformer(struct fit *f, struct err *err)
{
    struct source src = {0};
    int rc = open_source(f, &src, err);
    if (rc == 0)
        rc = train(f, &src, err);
    close_source(&src);
    return rc;
}
