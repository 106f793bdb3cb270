/* rubric-worker: headlines from Kafka become categories. */
#include <stdio.h>
#include <string.h>

#include "worker/verbs.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} verbs[] = {
    {"run", verb_run, "consume, classify, publish, until SIGTERM"},
    {"classify", verb_classify, "classify titles on standard input, one line each"},
    {"bench", verb_bench, "measure a model in this process"},
    {"inspect", verb_inspect, "the weights of a model directory, and how it would run"},
    {"demo", verb_demo, "the whole path on an embedded stand-in for a broker"},
    {"check-config", verb_check_config, "check options as `run` would, then exit"},
};
#define N_VERBS (sizeof verbs / sizeof *verbs)

static int usage(FILE *out)
{
    (void)fprintf(out, "usage: rubric-worker VERB [--option value …]\n\n");
    for (size_t i = 0; i < N_VERBS; i++)
        (void)fprintf(out, "  %-14s%s\n", verbs[i].name, verbs[i].help);
    (void)fprintf(
        out,
        "\nrubric-worker VERB --help lists its options; --print-config prints those of run.\n");
    return out == stderr ? 64 : 0;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return usage(stderr);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)
        return usage(stdout);
    if (strcmp(argv[1], "--version") == 0)
        return printf("rubric-worker %s\n", RUBRIC_VERSION) < 0;
    for (size_t i = 0; i < N_VERBS; i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 2, argv + 2);
    if (strncmp(argv[1], "--", 2) ==
        0) /* options alone: --print-config and the like are about run */
        return verb_run(argc - 1, argv + 1);
    (void)fprintf(stderr, "rubric-worker: no verb \"%s\"\n", argv[1]);
    return usage(stderr);
}
