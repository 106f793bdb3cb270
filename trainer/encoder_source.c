#include "trainer/encoder_source.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "models/arch.h"
#include "models/labels.h"
#include "trainer/new_encoder.h"

enum { MAX_CONFIG = 16 << 20 };

static int open_config(const struct options *o, struct encoder_source *s, struct err *err)
{
    const char *arch = options_str(o, "arch"), *type = "bert";
    char *path = file_path("%s/config.json", s->dir);
    s->config = json_parse_file(path, MAX_CONFIG, err);
    int rc = s->config ? 0 : -1;
    if (rc == 0 && json_get_str(s->config, "model_type", &type, err) != 0)
        rc = err_prefix(err, "%s", path);
    if (rc == 0 && strcmp(type, arch) != 0)
        rc = err_set(err, ERR_CONFLICT, "%s: model_type is \"%.50s\", --arch says %s", path, type,
                     arch);
    free(path);
    return rc;
}

/* A head goes on where it says the same labels. */
static bool same_labels(const struct encoder_source *s, const struct classes *classes)
{
    struct classes c = {0};
    bool same = labels_read_dir(s->dir, &c, NULL) == 0 && c.n == classes->n;
    for (int32_t i = 0; same && i < c.n; i++)
        same = strcmp(c.names[i], classes->names[i]) == 0;
    classes_done(&c);
    return same;
}

/* Of new weights; T5's are drawn by shape. */
static int read_deviation(const struct encoder_source *s, double *out, struct err *err)
{
    *out = 0.02;
    if (json_get_real(s->config, "initializer_range", out, err) != 0)
        return err_prefix(err, "%s/config.json", s->dir);
    return *out >= 0 && *out <= 10
               ? 0
               : err_set(err, ERR_FORMAT,
                         "%s/config.json: \"initializer_range\" is %g, expected 0 to 10", s->dir,
                         *out);
}

static int read_weights(struct encoder_source *s, const struct options *o,
                        const struct head_choice *head, FILE *console, struct err *err)
{
    bool *fresh;
    double deviation;
    if (read_deviation(s, &deviation, err) != 0 ||
        trainable_read(s->dir, s->config, head, &s->t, &s->w, &fresh, err) != 0)
        return -1;
    trainable_init(s->t, (uint64_t)options_int(o, "seed"), deviation, fresh, s->w);
    (void)fprintf(console, "%-12s %s, %lld parameters", "model", s->dir,
                  (long long)s->t->parameters);
    for (size_t i = 0, k = 0; i < s->t->n; i++)
        if (fresh[i])
            (void)fprintf(console, "%s%s", k++ ? ", " : "; new: ", s->t->tensors[i].name);
    (void)fprintf(console, "\n");
    free(fresh);
    return 0;
}

static int new_weights(struct encoder_source *s, const struct options *o,
                       const struct head_choice *head, FILE *console, struct err *err)
{
    double deviation;
    if (read_deviation(s, &deviation, err) != 0 || trainable_make(s->config, head, &s->t, err) != 0)
        return -1;
    s->w = xcalloc(s->t->size, sizeof *s->w);
    trainable_init(s->t, (uint64_t)options_int(o, "seed"), deviation, NULL, s->w);
    (void)fprintf(console, "%-12s %s's configuration, %lld parameters, all new\n", "model", s->dir,
                  (long long)s->t->parameters);
    return 0;
}

static void describe(struct encoder_source *s)
{
    char *config = json_dumps(s->config, JSON_SORT_KEYS);
    struct sha256 *h = sha256_open();
    sha256_add(h, config, strlen(config));
    for (size_t i = 0; i < s->t->n; i++)
        sha256_add(h, s->w + s->t->tensors[i].offset, s->t->tensors[i].size * sizeof *s->w);
    sha256_close(h, s->digest);
    free(config);
}

int encoder_source_prepare(struct options *o, struct err *err)
{
    bool named = options_known(o, "size") && options_given(o, "size") && !options_given(o, "from");
    return named ? options_set_default(o, "init", "random", "--size without --from", err) : 0;
}

/* The directory that says what kind of model it is. */
static int find_dir(struct encoder_source *s, const struct options *o, const char *out,
                    const struct dataset *text, bool random, struct err *err)
{
    const char *name = options_str(o, "arch");
    s->dir = options_str(o, "from");
    if (s->dir)
        return 0;
    if (!random)
        return err_set(
            err, ERR_USAGE,
            "--arch %s needs --from, the directory of a checkpoint, or the --size of a new one",
            name);
    s->dir = s->made = file_path("%s/.new", out);
    return new_encoder_write(s->dir, name, options_str(o, "size"), text,
                             options_int(o, "min-count"), err);
}

int encoder_source_open(struct encoder_source *s, const struct options *o, const char *out,
                        const struct dataset *text, const struct classes *classes, FILE *console,
                        struct err *err)
{
    bool random = strcmp(options_str(o, "init"), "random") == 0;
    const struct arch *arch = arch_find(options_str(o, "arch"), err);
    int32_t max = (int32_t)options_int(o, "max-length");
    *s = (struct encoder_source){0};
    if (!arch || find_dir(s, o, out, text, random, err) != 0 || open_config(o, s, err) != 0 ||
        tokenizer_open(s->dir, arch->tokenizer, &s->tokenizer, err) != 0)
        return -1;
    struct head_choice head = {.masked = !classes, .labels = classes ? classes->n : 0};
    head.keep = classes && !random && same_labels(s, classes);
    if ((random ? new_weights : read_weights)(s, o, &head, console, err) != 0)
        return -1;
    const struct transformer_config *c = &s->t->cfg;
    if (tokenizer_size(s->tokenizer) > c->vocab_size)
        return err_set(err, ERR_CONFLICT, "%s: the vocabulary has %d entries, the model %d", s->dir,
                       (int)tokenizer_size(s->tokenizer), (int)c->vocab_size);
    if (c->positions && max > c->positions)
        return err_set(err, ERR_CONFLICT, "--max-length is %d, the model has %d positions",
                       (int)max, (int)c->positions);
    describe(s);
    return 0;
}

void encoder_source_close(struct encoder_source *s)
{
    json_decref(s->config);
    tokenizer_close(s->tokenizer);
    trainable_close(s->t);
    free(s->w);
    if (s->made)
        (void)file_remove_dir(s->made, NULL);
    free(s->made);
}
