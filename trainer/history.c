#include "trainer/history.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

#define MAX_COST ((size_t)1 << 30)

int history_write(const char *dir, const struct buf *log, struct err *err)
{
    struct buf out;
    buf_init(&out, HISTORY_MAX_BYTES);
    buf_puts(&out, "{\"format\":1,\"lines\":[\n");
    const char *line = log->len ? log->data : "", *end = line + log->len;
    for (size_t i = 0; line < end; i++) {
        const char *eol = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((eol ? eol : end) - line);
        buf_puts(&out, i ? ",\n" : "");
        buf_put(&out, line, n);
        line += n + 1;
    }
    buf_puts(&out, "\n]}\n");
    char *path = file_path("%s/" HISTORY_FILE, dir);
    int rc = out.full ? err_set(err, ERR_IO, "%s: more than %d bytes", path, HISTORY_MAX_BYTES)
                      : file_replace(path, out.data, out.len, err);
    free(path);
    buf_done(&out);
    return rc;
}

static int need_real(const json_t *line, const char *key, double max, double *out, struct err *err)
{
    *out = NAN;
    if (json_get_real(line, key, out, err) != 0)
        return -1;
    if (isnan(*out))
        return err_set(err, ERR_FORMAT, "\"%s\" is missing", key);
    if (*out < 0 || *out > max)
        return err_set(err, ERR_FORMAT, "\"%s\": %g is not between 0 and %g", key, *out, max);
    return 0;
}

static int read_point(const json_t *line, struct history *h, struct err *err)
{
    struct history_point p = {0};
    long last = h->n ? (long)h->points[h->n - 1].iteration : 0, iteration = 0;
    bool best = false;
    if (json_get_int(line, "iteration", last + 1, INT64_MAX / 2, &iteration, err) != 0 ||
        need_real(line, "train_loss", 1e300, &p.train_loss, err) != 0 ||
        need_real(line, "train_accuracy", 1, &p.train_accuracy, err) != 0 ||
        need_real(line, "dev_loss", 1e300, &p.dev_loss, err) != 0 ||
        need_real(line, "dev_accuracy", 1, &p.dev_accuracy, err) != 0 ||
        json_get_bool(line, "best", &best, err) != 0)
        return -1;
    if (!iteration)
        return err_set(err, ERR_FORMAT, "\"iteration\" is missing");
    p.iteration = iteration;
    if (best)
        h->best_iteration = iteration;
    h->points[h->n++] = p;
    return 0;
}

static int read_root(const json_t *root, struct history *h, struct err *err)
{
    long format = 0;
    const json_t *lines = json_object_get(root, "lines");
    if (!json_is_object(root) || json_get_int(root, "format", 1, 1, &format, err) != 0)
        return json_is_object(root) ? -1 : err_set(err, ERR_FORMAT, "not a JSON object");
    if (!format || !json_is_array(lines))
        return err_set(err, ERR_FORMAT, "\"%s\" is missing", format ? "lines" : "format");
    size_t n = json_array_size(lines);
    h->points = xcalloc(n, sizeof *h->points);
    for (size_t i = 0; i < n; i++) {
        const json_t *line = json_array_get(lines, i);
        if (!json_is_object(line))
            return err_set(err, ERR_FORMAT, "line %zu: not a JSON object", i + 1);
        /* Lines of other kinds say how the fit began, ended or was calibrated. */
        if (json_object_get(line, "train_loss") && read_point(line, h, err) != 0)
            return err_prefix(err, "line %zu", i + 1);
    }
    return 0;
}

/* Bytes from outside: the parser's memory is bounded before it begins. */
static json_t *parse(const char *path, struct err *err)
{
    char *data;
    size_t len;
    if (file_read(path, HISTORY_MAX_BYTES, &data, &len, err) != 0)
        return NULL;
    size_t cost = json_cost(data, len);
    json_t *root = NULL;
    if (cost > MAX_COST)
        (void)err_set(err, ERR_FORMAT, "%s: reading it would take %zu bytes of memory", path, cost);
    else
        root = json_parse(path, data, len, err);
    free(data);
    return root;
}

int history_read(const char *dir, struct history *h, struct err *err)
{
    char *path = file_path("%s/" HISTORY_FILE, dir);
    struct history got = {.found = file_exists(path)};
    json_t *root = got.found ? parse(path, err) : NULL;
    int rc = got.found && !root ? -1 : 0;
    if (root && (rc = read_root(root, &got, err)) != 0)
        (void)err_prefix(err, "%s", path);
    json_decref(root);
    free(path);
    if (rc == 0)
        *h = got;
    else
        history_done(&got);
    return rc;
}

void history_done(struct history *h)
{
    free(h->points);
    *h = (struct history){0};
}
