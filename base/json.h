/* JSON documents, by jansson. This header is the only door to it: base/json.h is included where a
 * document is read. jansson refuses invalid UTF-8 and nests at most 2048 deep; \u0000 in a string
 * is refused too. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>

#include "base/err.h"

/* Parses len bytes; the value is owned by the caller (json_decref). Duplicate keys are refused.
 * name goes into messages. */
json_t *json_parse(const char *name, const char *data, size_t len, struct err *err);
json_t *json_parse_file(const char *path, size_t max, struct err *err);
/* The same with every integer as a real, for files that may hold integers beyond 64 bits. */
json_t *json_parse_file_as_reals(const char *path, size_t max, struct err *err);

/* An upper bound of the bytes that parsing data[0..len) allocates, valid JSON or not; one pass, no
 * allocation. The parser itself knows no bound, and [[],[],… takes fifty times its length: ask
 * before parsing what a stranger sent. */
size_t json_cost(const char *data, size_t len);

/* Members of an object, checked. A missing key leaves *out as it is and returns 0; a wrong type or
 * range is an error naming the key. get_str gives a pointer borrowed from the object. */
int json_get_int(const json_t *obj, const char *key, long min, long max, long *out,
                 struct err *err);
int json_get_real(const json_t *obj, const char *key, double *out, struct err *err);
int json_get_str(const json_t *obj, const char *key, const char **out, struct err *err);
int json_get_bool(const json_t *obj, const char *key, bool *out, struct err *err);

#endif
