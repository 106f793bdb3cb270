/* Titles on standard input, one a line; a line out each, in order, flushed when input pauses. A bad
 * title does not end the run: its line says what is wrong. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "data/title.h"
#include "worker/answer.h"
#include "worker/load.h"
#include "worker/verbs.h"

static const struct opt options[] = {
    LOAD_OPTIONS,
    {"top", OPT_INT, "1", 1, 1000, NULL, "how many best categories to print", false},
    {"json", OPT_BOOL, "false", 0, 0, NULL, "one JSON object a line", false},
};
#define N_OPTIONS (sizeof options / sizeof *options)

struct context {
    const struct model *model;
    const struct model_info *info;
    struct workspace *ws;
    int32_t *ids, *best;
    float *p;
    int32_t k;
    bool json;
    struct buf out;
};

static void classify_line(struct context *c, const char *title, size_t n)
{
    enum title_fault fault = title_check(title, n, TITLE_MAX_BYTES, NULL);
    if (fault != TITLE_OK) {
        if (c->json) /* bytes that are not UTF-8 cannot stand in JSON */
            answer_put_error(&c->out, fault == TITLE_INVALID_UTF8 ? NULL : title, n,
                             title_fault_name(fault)),
                buf_puts(&c->out, "\n");
        else
            buf_printf(&c->out, "error\t%s\t%.*s\n", title_fault_name(fault), (int)n, title);
        return;
    }
    bool cut;
    int32_t start[2] = {0, model_encode(c->model, title, n, c->ids, c->info->max_tokens, &cut)};
    struct batch b = {.ids = c->ids, .start = start, .n = 1};
    model_classify(c->model, c->ws, &b, c->p);
    int32_t k = model_top_k(c->p, c->info->n_labels, c->k, c->best);
    if (c->json) {
        answer_put(&c->out, c->info, title, n, cut, c->p, c->best, k);
        buf_puts(&c->out, "\n");
        return;
    }
    for (int32_t i = 0; i < k; i++)
        buf_printf(&c->out, "%s%s\t%.4f", i ? "\t" : "", c->info->labels[c->best[i]],
                   (double)c->p[c->best[i]]);
    buf_printf(&c->out, "\t%.*s\n", (int)n, title);
}

static int classify_stdin(struct context *c)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t got;
    while ((got = getline(&line, &cap, stdin)) > 0) {
        size_t n = (size_t)got;
        n -= n && line[n - 1] == '\n';
        n -= n && line[n - 1] == '\r';
        buf_reset(&c->out);
        classify_line(c, line, n);
        if (fwrite(c->out.data, 1, c->out.len, stdout) != c->out.len || fflush(stdout) != 0) {
            free(line);
            return 74;
        }
    }
    free(line);
    return 0;
}

int verb_classify(int argc, char **argv)
{
    struct options *o = options_open(options, N_OPTIONS, NULL);
    struct err err = {0};
    struct context c = {0};
    struct model *m = NULL;
    int n_rest = 0, status = 0;
    const char **rest = xcalloc((size_t)argc + 1, sizeof(char *));
    if (argc > 0 && strcmp(argv[0], "--help") == 0) {
        (void)printf("usage: rubric-worker classify --model DIR < titles\n"
                     "       rubric-worker classify --registry URL --name NAME < titles\n\n");
        options_help(options, N_OPTIONS, stdout);
        goto end;
    }
    if (load_read_args(o, argc, argv, rest, &n_rest, &err) != 0 ||
        (n_rest && err_set(&err, ERR_USAGE, "unexpected argument \"%s\"", rest[0]) != 0) ||
        load_model(o, false, NULL, &m, NULL, &err) != 0) {
        (void)fprintf(stderr, "rubric-worker classify: %s\n", err.msg);
        status = err_exit_status(&err);
        goto end;
    }
    c.model = m;
    c.info = model_info(m);
    c.ws = workspace_open(m, 1, c.info->max_tokens);
    c.ids = xcalloc((size_t)c.info->max_tokens, sizeof *c.ids);
    c.best = xcalloc((size_t)c.info->n_labels, sizeof *c.best);
    c.p = xcalloc((size_t)c.info->n_labels, sizeof *c.p);
    c.k = (int32_t)options_int(o, "top");
    c.json = options_bool(o, "json");
    buf_init(&c.out, 64 << 20);
    status = classify_stdin(&c);
    buf_done(&c.out);
    free(c.ids);
    free(c.best);
    free(c.p);
    workspace_close(c.ws);
end:
    model_close(m);
    options_close(o);
    free(rest);
    return status;
}
