#include "base/json.h"

#include <stdlib.h>

#include "base/file.h"

static json_t *parse(const char *name, const char *data, size_t len, size_t flags, struct err *err)
{
    json_error_t je;
    json_t *v =
        json_loadb(data ? data : "", len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | flags, &je);
    if (!v)
        (void)err_set(err, ERR_FORMAT, "%s: line %d column %d: %s", name, je.line, je.column,
                      je.text);
    return v;
}

json_t *json_parse(const char *name, const char *data, size_t len, struct err *err)
{
    return parse(name, data, len, 0, err);
}

static json_t *parse_file(const char *path, size_t max, size_t flags, struct err *err)
{
    char *data;
    size_t len;
    if (file_read(path, max, &data, &len, err) != 0)
        return NULL;
    json_t *v = parse(path, data, len, flags, err);
    free(data);
    return v;
}

json_t *json_parse_file(const char *path, size_t max, struct err *err)
{
    return parse_file(path, max, 0, err);
}

json_t *json_parse_file_as_reals(const char *path, size_t max, struct err *err)
{
    return parse_file(path, max, JSON_DECODE_INT_AS_REAL, err);
}

int json_get_int(const json_t *obj, const char *key, long min, long max, long *out, struct err *err)
{
    const json_t *v = json_object_get(obj, key);
    if (!v)
        return 0;
    if (!json_is_integer(v))
        return err_set(err, ERR_FORMAT, "\"%s\": expected an integer", key);
    json_int_t i = json_integer_value(v);
    if (i < min || i > max)
        return err_set(err, ERR_FORMAT, "\"%s\": %lld is not between %ld and %ld", key,
                       (long long)i, min, max);
    *out = (long)i;
    return 0;
}

int json_get_real(const json_t *obj, const char *key, double *out, struct err *err)
{
    const json_t *v = json_object_get(obj, key);
    if (!v)
        return 0;
    if (!json_is_number(v))
        return err_set(err, ERR_FORMAT, "\"%s\": expected a number", key);
    *out = json_number_value(v);
    return 0;
}

int json_get_str(const json_t *obj, const char *key, const char **out, struct err *err)
{
    const json_t *v = json_object_get(obj, key);
    if (!v)
        return 0;
    if (!json_is_string(v))
        return err_set(err, ERR_FORMAT, "\"%s\": expected a string", key);
    *out = json_string_value(v);
    return 0;
}

int json_get_bool(const json_t *obj, const char *key, bool *out, struct err *err)
{
    const json_t *v = json_object_get(obj, key);
    if (!v)
        return 0;
    if (!json_is_boolean(v))
        return err_set(err, ERR_FORMAT, "\"%s\": expected true or false", key);
    *out = json_is_true(v);
    return 0;
}
