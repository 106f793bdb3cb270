#include "models/arch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/buf.h"
#include "base/file.h"
#include "models/composite.h"
#include "models/fasttext_arch.h"
#include "models/forest_arch.h"
#include "models/linear_arch.h"
#include "models/safetensors.h"
#include "models/textcnn_arch.h"
#include "models/transformer.h"

static const struct arch *const table[] = {
    &textcnn_arch, &linear_arch, &forest_arch, &fasttext_arch, &ensemble_arch,
    &cascade_arch, &bert_arch,   &ernie_arch,  &electra_arch,  &albert_arch,
    &nezha_arch,   &xlnet_arch,  &t5_arch,     &mt5_arch};

#define HUGE_PAGE ((size_t)2 << 20)

enum { ROWS = sizeof table / sizeof *table, MAX_LABELS_TXT = 1 << 20 };

const struct arch *arch_find(const char *model_type, struct err *err)
{
    struct buf known;
    buf_init(&known, 400);
    for (size_t i = 0; i < ROWS; i++) {
        if (strcmp(table[i]->model_type, model_type) == 0) {
            buf_done(&known);
            return table[i];
        }
        buf_printf(&known, "%s%s", i ? ", " : "", table[i]->model_type);
    }
    (void)err_set(err, ERR_FORMAT, "model_type \"%.100s\" is unknown (known: %s)", model_type,
                  known.data);
    buf_done(&known);
    return NULL;
}

int arch_need_int(const json_t *config, const char *key, long min, long max, int32_t *out,
                  struct err *err)
{
    long value = 0;
    if (!json_object_get(config, key))
        return err_set(err, ERR_FORMAT, "\"%s\" is missing", key);
    if (json_get_int(config, key, min, max, &value, err) != 0)
        return -1;
    *out = (int32_t)value;
    return 0;
}

void *arch_table_alloc(size_t bytes)
{
    size_t size = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *p = aligned_alloc(HUGE_PAGE, size);
    if (!p)
        return xmalloc(size);              /* which reports and ends the program */
    (void)madvise(p, size, MADV_HUGEPAGE); /* a hint; refused where the kernel has none */
    return p;
}

int arch_write_labels(const char *dir, const struct classes *classes, struct err *err)
{
    struct buf b;
    buf_init(&b, MAX_LABELS_TXT);
    for (int32_t i = 0; i < classes->n; i++)
        buf_printf(&b, "%s\n", classes->names[i]);
    char *path = file_path("%s/labels.txt", dir);
    int rc =
        b.full ? err_set(err, ERR_FORMAT, "%s: the labels take over %d bytes", path, MAX_LABELS_TXT)
               : file_replace(path, b.data, b.len, err);
    free(path);
    buf_done(&b);
    return rc;
}

int arch_write_config(const char *dir, json_t *config, struct err *err)
{
    char *text = json_dumps(config, JSON_INDENT(2));
    if (!text)
        return err_set(err, ERR_FORMAT, "config.json: a name is not UTF-8");
    size_t n = strlen(text);
    text = xrealloc(text, n + 2);
    text[n] = '\n';
    char *path = file_path("%s/config.json", dir);
    int rc = file_replace(path, text, n + 1, err);
    free(path);
    free(text);
    return rc;
}

static void describe_labels(json_t *config, const struct classes *classes)
{
    json_t *id2label = json_object(), *label2id = json_object();
    for (int32_t i = 0; i < classes->n; i++) {
        char *id = file_path("%d", (int)i); /* printf into a malloc'd string */
        (void)json_object_set_new(id2label, id, json_string(classes->names[i]));
        (void)json_object_set_new(label2id, classes->names[i], json_integer(i));
        free(id);
    }
    (void)json_object_set_new(config, "num_labels", json_integer(classes->n));
    (void)json_object_set_new(config, "id2label", id2label);
    (void)json_object_set_new(config, "label2id", label2id);
}

void arch_describe(json_t *config, const char *model_type, const char *name, int32_t vocab,
                   const struct classes *classes)
{
    static const char *const of_labels[] = {"num_labels", "id2label", "label2id"};
    (void)json_object_set_new(config, "model_type", json_string(model_type));
    (void)json_object_set_new(config, "model_name", json_string(name));
    (void)json_object_set_new(config, "vocab_size", json_integer(vocab));
    for (size_t i = 0; i < sizeof of_labels / sizeof *of_labels; i++)
        (void)json_object_del(config, of_labels[i]);
    if (classes)
        describe_labels(config, classes);
}

int arch_save(const char *dir, const char *model_type, const char *name, json_t *config,
              const struct tensor *tensors, size_t n_tensors, const struct vocab *v,
              const struct classes *classes, struct err *err)
{
    static const char *const meta[] = {"format", "pt",
                                       NULL}; /* what Hugging Face readers look for */
    arch_describe(config, model_type, name, vocab_size(v), classes);
    if (file_mkdirs(dir, err) != 0)
        return -1;
    char *weights = file_path("%s/model.safetensors", dir), *vocab = file_path("%s/vocab.txt", dir);
    int rc = safetensors_write(weights, tensors, n_tensors, meta, err);
    if (rc == 0)
        rc = vocab_write(v, vocab, err);
    if (rc == 0)
        rc = arch_write_labels(dir, classes, err);
    if (rc == 0)
        rc = arch_write_config(dir, config, err);
    free(weights);
    free(vocab);
    return rc;
}
