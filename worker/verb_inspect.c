/* What is in a model directory, and how it would run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/options.h"
#include "models/inspect.h"
#include "worker/verbs.h"

static const struct opt options[] = {
    {"precision", OPT_CHOICE, "auto", 0, 0, "auto|fp32|bf16|int16|int8", "arithmetic to tell about",
     false},
};
#define N_OPTIONS (sizeof options / sizeof *options)

enum { MAX_TEXT = 64 << 20 };

int verb_inspect(int argc, char **argv)
{
    struct options *o = options_open(options, N_OPTIONS, NULL);
    struct err err = {0};
    struct buf out;
    enum precision precision;
    int n_rest = 0, status = 0;
    const char **rest = xcalloc((size_t)argc + 1, sizeof(char *));
    buf_init(&out, MAX_TEXT);
    if (argc > 0 && strcmp(argv[0], "--help") == 0) {
        (void)printf("usage: rubric-worker inspect DIR\n\n");
        options_help(options, N_OPTIONS, stdout);
    } else if (options_read_args(o, argc, argv, rest, &n_rest, &err) != 0 ||
               (n_rest != 1 &&
                err_set(&err, ERR_USAGE, "one model directory is wanted, %d are given", n_rest)) ||
               precision_parse(options_str(o, "precision"), &precision, &err) != 0 ||
               model_inspect(rest[0], precision, &out, &err) != 0) {
        (void)fprintf(stderr, "rubric-worker inspect: %s\n", err.msg);
        status = err_exit_status(&err);
    } else if (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0) {
        status = 74;
    }
    buf_done(&out);
    options_close(o);
    free(rest);
    return status;
}
