#include "trainer/lineage.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "trainer/teacher.h"

#define MAX_BYTES (1 << 16)

static void put_options(const struct fit *f, const char *arch, struct buf *out)
{
    const char *comma = "";
    for (size_t i = 0; i < fit_n_options; i++) {
        const struct fit_option *row = &fit_options[i];
        const char *value = options_str(f->o, row->name);
        if (!value || row->role == FIT_ASIDE || !fit_option_applies(row, arch))
            continue;
        buf_printf(out, "%s\n    \"%s\": \"", comma, row->name);
        buf_put_json(out, value, strlen(value));
        buf_puts(out, "\"");
        comma = ",";
    }
}

int lineage_write(const char *dir, const struct fit *f, double dev_accuracy, struct err *err)
{
    const char *arch = options_str(f->o, "arch");
    struct buf out;
    buf_init(&out, 1 << 16);
    buf_printf(&out,
               "{\n  \"format\": 1,\n  \"trainer\": \"rubric-trainer " RUBRIC_VERSION
               "\",\n  \"arch\": \"%s\",\n"
               "  \"data\": {\"sha256\": \"%s\", \"train\": %zu, \"dev\": %zu},\n"
               "  \"dev_accuracy\": %.9g,\n",
               arch, f->corpus.digest, f->corpus.train.n, f->corpus.dev.n, dev_accuracy);
    if (f->from[0])
        buf_printf(&out, "  \"from\": {\"sha256\": \"%s\"},\n", f->from);
    if (f->teacher)
        buf_printf(&out, "  \"teacher\": {\"sha256\": \"%s\"},\n", f->teacher->digest);
    buf_puts(&out, "  \"options\": {");
    put_options(f, arch, &out);
    buf_puts(&out, "\n  }\n}\n");
    char *path = file_path("%s/" LINEAGE_FILE, dir);
    int rc = out.full ? err_set(err, ERR_CONFIG, "%s: too long an option", path)
                      : file_replace(path, out.data, out.len, err);
    free(path);
    buf_done(&out);
    return rc;
}

int lineage_read(const char *dir, double *dev_accuracy, struct err *err)
{
    char *path = file_path("%s/" LINEAGE_FILE, dir);
    double read = -1;
    int rc = 0;
    if (file_exists(path)) {
        json_t *root = json_parse_file(path, MAX_BYTES, err);
        long format = 0;
        rc = root ? 0 : -1;
        if (root && !json_is_object(root))
            rc = err_set(err, ERR_FORMAT, "%s: not a JSON object", path);
        else if (root && (json_get_int(root, "format", 1, 1, &format, err) != 0 ||
                          json_get_real(root, "dev_accuracy", &read, err) != 0))
            rc = err_prefix(err, "%s", path);
        else if (root &&
                 (!format || read > 1 || (read < 0 && json_object_get(root, "dev_accuracy"))))
            rc =
                err_set(err, ERR_FORMAT, "%s: \"%s\": %s", path, format ? "dev_accuracy" : "format",
                        format ? "expected 0 to 1" : "missing");
        json_decref(root);
    }
    if (rc == 0)
        *dev_accuracy = read;
    free(path);
    return rc;
}
