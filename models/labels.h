/* The names of a model directory's classes. */
#ifndef MODELS_LABELS_H
#define MODELS_LABELS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "data/dataset.h"

/* From labels.txt (at path), else from config.json's id2label, whose keys must be "0", "1", …; *out
 * stays empty where neither is there, but a needed labels.txt is an error.  classes_done() after
 * success. */
int labels_read(const char *path, const json_t *config, bool need_file, struct classes *out,
                struct err *err);
/* As labels_read(), from a directory. */
int labels_read_dir(const char *dir, struct classes *out, struct err *err);
/* names [n] copied; refused as classes_parse() refuses them, name standing in messages. */
int labels_copy(const char *name, const char *const *names, int32_t n, struct classes *out,
                struct err *err);
/* LABEL_0 … LABEL_n-1, as transformers calls outputs that nobody named. */
int labels_numbered(int32_t n, struct classes *out, struct err *err);

#endif
