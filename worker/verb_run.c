#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "worker/config.h"
#include "worker/kafka.h"
#include "worker/run.h"
#include "worker/verbs.h"

static int fail(const struct err *err)
{
    (void)fprintf(stderr, "rubric-worker: %s\n", err->msg);
    return err_exit_status(err);
}

/* Options of `run` from every source; NULL after an error or after --help and --print-config have
 * answered (then *status is 0). */
static struct options *load(int argc, char **argv, int *status)
{
    struct options *o = NULL;
    struct err err;
    int n_rest;
    const char **rest = xcalloc((size_t)argc + 1, sizeof(char *));
    bool help = argc > 0 && strcmp(argv[0], "--help") == 0;
    *status = 0;
    if (help) {
        (void)printf("usage: rubric-worker run [--option value …]\n\nkafka.KEY is passed to the "
                     "Kafka client as KEY.\n\n");
        options_help(config_options, config_n_options, stdout);
    } else if (argc > 0 && strcmp(argv[0], "--print-docs") == 0) {
        options_markdown(config_options, config_n_options, stdout);
    } else if (config_load(argc, argv, &o, rest, &n_rest, &err) != 0) {
        *status = fail(&err);
    } else if (n_rest) {
        (void)err_set(&err, ERR_USAGE, "unexpected argument \"%s\"", rest[0]);
        *status = fail(&err);
        options_close(o);
        o = NULL;
    } else if (options_bool(o, "print-config")) {
        options_print(o, stdout);
        options_close(o);
        o = NULL;
    }
    free(rest);
    return o;
}

static void setup_log(const struct options *o)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    static const char *const formats[] = {"auto", "text", "json"};
    int level = LOG_INFO, format = LOG_AUTO;
    for (int i = 0; i < 4; i++)
        if (strcmp(options_str(o, "log-level"), levels[i]) == 0)
            level = i;
    for (int i = 0; i < 3; i++)
        if (strcmp(options_str(o, "log-format"), formats[i]) == 0)
            format = i;
    log_setup((enum log_format)format, (enum log_level)level);
}

int verb_run(int argc, char **argv)
{
    int status;
    struct options *o = load(argc, argv, &status);
    if (!o)
        return status;
    struct config cfg;
    struct err err;
    setup_log(o);
    run_handle_signals();
    if (config_check(o, &cfg, &err) != 0 || kafka_check(&cfg, &err) != 0)
        status = fail(&err);
    else if (run_service(&cfg, &err) != 0) {
        log_error("failed", "%s", err.msg);
        status = err_exit_status(&err);
    }
    options_close(o);
    return status;
}

int verb_check_config(int argc, char **argv)
{
    int status;
    struct options *o = load(argc, argv, &status);
    if (!o)
        return status;
    struct config cfg;
    struct err err;
    if (config_check(o, &cfg, &err) != 0 || kafka_check(&cfg, &err) != 0)
        status = fail(&err);
    else
        (void)printf("the configuration is good\n");
    options_close(o);
    return status;
}
