#include "worker/ask.h"

#include <stdlib.h>
#include <string.h>

#include "data/title.h"
#include "data/utf8.h"
#include "worker/answer.h"

enum { OK = 200, BAD_REQUEST = 400, UNPROCESSABLE = 422 };
enum { MAX_SCORES = 100000 }; /* in a reply */
enum { COST = 64 << 20 };     /* bytes that a body of ASK_MAX_BYTES may grow to as a document */

void ask_error(struct buf *out, const char *message)
{
    size_t n = strlen(message);
    buf_puts(out, "{\"error\":\"");
    while (n) { /* a message may quote what was sent, cut anywhere, and JSON is UTF-8 */
        size_t good = utf8_prefix(message, n);
        buf_put_json(out, message, good);
        if (good < n)
            buf_puts(out, "?");
        good += good < n;
        message += good;
        n -= good;
    }
    buf_puts(out, "\"}");
}

static int check_fields(const json_t *body, struct err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(size_t)body, key, value)
    {
        if (strcmp(key, "title") != 0 && strcmp(key, "titles") != 0 && strcmp(key, "top") != 0)
            return err_set(err, ERR_FORMAT, "unknown field \"%.100s\": expected title, titles, top",
                           key);
    }
    return 0;
}

static int check_titles(struct ask *a, struct err *err)
{
    if (!a->title == !a->titles)
        return err_set(err, ERR_FORMAT,
                       "expected {\"title\": \"…\"} or {\"titles\": [\"…\", …]}, one of the two");
    if (a->title) {
        a->n = 1;
        return json_is_string(a->title) ? 0 : err_set(err, ERR_FORMAT, "title: expected a string");
    }
    a->n = json_array_size(a->titles);
    if (!json_is_array(a->titles) || a->n < 1 || a->n > ASK_MAX_TITLES)
        return err_set(err, ERR_FORMAT, "titles: expected a list of 1 to %d strings",
                       ASK_MAX_TITLES);
    for (size_t i = 0; i < a->n; i++)
        if (!json_is_string(json_array_get(a->titles, i)))
            return err_set(err, ERR_FORMAT, "titles[%zu]: expected a string", i);
    return 0;
}

int ask_parse(struct ask *a, const char *body, size_t len, struct err *err)
{
    long top = 1;
    *a = (struct ask){0};
    if (len > ASK_MAX_BYTES || json_cost(body, len) > COST)
        return err_set(err, ERR_FORMAT, "the body is too large");
    a->body = json_parse("body", body, len, err);
    if (!a->body)
        return -1;
    if (!json_is_object(a->body)) {
        (void)err_set(err, ERR_FORMAT, "body: expected a JSON object");
        goto fail;
    }
    a->title = json_object_get(a->body, "title");
    a->titles = json_object_get(a->body, "titles");
    if (check_fields(a->body, err) != 0 || check_titles(a, err) != 0 ||
        json_get_int(a->body, "top", 1, 1000, &top, err) != 0)
        goto fail;
    a->top = (int32_t)top;
    return 0;
fail:
    ask_done(a);
    return -1;
}

void ask_done(struct ask *a)
{
    json_decref(a->body);
    *a = (struct ask){0};
}

static const json_t *title_of(const struct ask *a, size_t i)
{
    return a->title ? a->title : json_array_get(a->titles, i);
}

/* Good titles go through the model together; results keep the order of the question. */
static void put_results(const struct ask *a, const struct served *s, const enum title_fault *faults,
                        struct buf *out)
{
    const struct model_info *info = s->info;
    int32_t n = 0, max = info->max_tokens, *start = xcalloc(a->n + 1, sizeof *start);
    int32_t *ids = xcalloc(a->n * (size_t)max, sizeof *ids);
    int32_t *best = xcalloc((size_t)info->n_labels, sizeof *best);
    float *p = xcalloc(a->n * (size_t)info->n_labels, sizeof *p);
    bool *cut = xcalloc(a->n, sizeof *cut);
    struct workspace *ws = workspace_open(s->model, (int32_t)a->n, (int32_t)a->n * max);
    for (size_t i = 0; i < a->n; i++) {
        const json_t *t = title_of(a, i);
        if (faults[i] != TITLE_OK)
            continue;
        start[n + 1] = start[n] + model_encode(s->model, json_string_value(t),
                                               json_string_length(t), ids + start[n], max, &cut[i]);
        n++;
    }
    model_classify(s->model, ws, &(struct batch){.ids = ids, .start = start, .n = n}, p);
    n = 0;
    for (size_t i = 0; i < a->n; i++) {
        const json_t *t = title_of(a, i);
        const char *text = json_string_value(t);
        size_t len = json_string_length(t);
        buf_puts(out, i ? "," : "");
        if (faults[i] != TITLE_OK) {
            answer_put_error(out, text, len, title_fault_name(faults[i]));
            continue;
        }
        const float *row = p + (size_t)n++ * (size_t)info->n_labels;
        answer_put(out, info, text, len, cut[i], row, best,
                   model_top_k(row, info->n_labels, a->top, best));
    }
    workspace_close(ws);
    free(cut);
    free(start);
    free(ids);
    free(best);
    free(p);
}

unsigned ask_answer(const struct served *s, size_t max_title_bytes, const char *body, size_t len,
                    struct buf *out)
{
    struct ask a;
    struct err err;
    unsigned status = OK;
    if (ask_parse(&a, body, len, &err) != 0) {
        ask_error(out, err.msg);
        return BAD_REQUEST;
    }
    int32_t top = a.top < s->info->n_labels ? a.top : s->info->n_labels;
    if ((int64_t)a.n * top > MAX_SCORES) {
        (void)err_set(&err, ERR_FORMAT, "top: %d scores of %zu titles are more than %d", (int)top,
                      a.n, MAX_SCORES);
        ask_error(out, err.msg);
        ask_done(&a);
        return UNPROCESSABLE;
    }
    enum title_fault *faults = xcalloc(a.n, sizeof *faults);
    for (size_t i = 0; i < a.n; i++)
        faults[i] = title_check(json_string_value(title_of(&a, i)),
                                json_string_length(title_of(&a, i)), max_title_bytes, NULL);
    if (a.title && faults[0] != TITLE_OK) {
        (void)err_set(&err, ERR_FORMAT, "title: %s", title_fault_name(faults[0]));
        ask_error(out, err.msg);
        status = UNPROCESSABLE;
    } else {
        buf_puts(out, a.title ? "" : "{\"results\":[");
        put_results(&a, s, faults, out);
        buf_puts(out, a.title ? "" : "]}");
    }
    buf_puts(out, "\n");
    free(faults);
    ask_done(&a);
    return status;
}
