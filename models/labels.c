#include "models/labels.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/file.h"

enum { MAX_TEXT = 16 << 20 };

static int from_id2label(const json_t *id2label, struct classes *out, struct err *err)
{
    size_t n = json_object_size(id2label);
    struct buf text;
    buf_init(&text, MAX_TEXT);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "%zu", i);
        const char *name = json_string_value(json_object_get(id2label, key));
        if (!name)
            rc = err_set(err, ERR_FORMAT, "\"id2label\" has %zu entries, but no name for \"%s\"", n,
                         key);
        else
            buf_printf(&text, "%s\n", name);
    }
    if (rc == 0 && n > 0)
        rc = classes_parse("id2label", text.data, text.len, out, err);
    if (rc == 0 && (size_t)out->n != n)
        rc = err_set(err, ERR_FORMAT, "\"id2label\" has %zu entries, %d names are usable", n,
                     (int)out->n);
    buf_done(&text);
    return rc;
}

int labels_read(const char *path, const json_t *config, bool need_file, struct classes *out,
                struct err *err)
{
    const json_t *id2label = json_object_get(config, "id2label");
    if (need_file || file_exists(path))
        return classes_read(path, out, err);
    return id2label ? from_id2label(id2label, out, err) : 0;
}

int labels_read_dir(const char *dir, struct classes *out, struct err *err)
{
    char *path = file_path("%s/labels.txt", dir), *config_path = file_path("%s/config.json", dir);
    json_t *config = json_parse_file(config_path, MAX_TEXT, err);
    int rc = config ? labels_read(path, config, false, out, err) : -1;
    json_decref(config);
    free(config_path);
    free(path);
    return rc;
}

int labels_numbered(int32_t n, struct classes *out, struct err *err)
{
    struct buf text;
    buf_init(&text, MAX_TEXT);
    for (int32_t i = 0; i < n; i++)
        buf_printf(&text, "LABEL_%d\n", (int)i);
    int rc = classes_parse("labels", text.data, text.len, out, err);
    buf_done(&text);
    return rc;
}

int labels_copy(const char *name, const char *const *names, int32_t n, struct classes *out,
                struct err *err)
{
    struct buf text;
    buf_init(&text, (size_t)n * (DATASET_MAX_CLASS_NAME + 1));
    for (int32_t i = 0; i < n; i++)
        buf_printf(&text, "%s\n", names[i]);
    int rc = text.full ? err_set(err, ERR_FORMAT, "%s: one is over %d bytes", name,
                                 DATASET_MAX_CLASS_NAME)
                       : classes_parse(name, text.data, text.len, out, err);
    buf_done(&text);
    if (rc == 0 && out->n != n) { /* a line break within a name */
        classes_done(out);
        rc = err_set(err, ERR_FORMAT, "%s: one has a line break in it", name);
    }
    return rc;
}
