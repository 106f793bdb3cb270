/* rubric-trainer: makes models from labelled headlines, measures them and hands them to a registry.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "trainer/processes.h"
#include "trainer/verb.h"

static const struct verb *const verbs[] = {
    &verb_fit,     &verb_evaluate, &verb_data,    &verb_push,      &verb_models,
    &verb_retrain, &verb_pretrain, &verb_prepare, &verb_calibrate, &verb_ensemble,
    &verb_distill, &verb_quantize, &verb_cascade, &verb_tune,      &verb_import};
enum { N_VERBS = sizeof verbs / sizeof *verbs };

static void usage(FILE *out)
{
    (void)fputs("usage: rubric-trainer VERB [options]\n\nverbs:\n", out);
    for (int i = 0; i < N_VERBS; i++)
        (void)fprintf(out, "  %-10s %s\n", verbs[i]->name, verbs[i]->help);
    (void)fputs(
        "\nrubric-trainer VERB --help lists a verb's options; --version prints the version.\n",
        out);
}

/* For the documentation: a table of options for each verb. */
static void print_docs(void)
{
    for (int i = 0; i < N_VERBS; i++) {
        (void)printf("%s## %s%s%s\n\n%s.\n\n", i ? "\n" : "", verbs[i]->name,
                     *verbs[i]->words ? " " : "", verbs[i]->words, verbs[i]->help);
        if (verbs[i]->details)
            (void)printf("```\n%s```\n\n", verbs[i]->details);
        options_markdown(verbs[i]->opts, verbs[i]->n_opts, stdout);
    }
}

static int run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0)
        return printf("rubric-trainer %s%s\n", RUBRIC_VERSION, processes_built() ? " (MPI)" : "") <
               0;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(name, "--print-docs") == 0) {
        print_docs();
        return 0;
    }
    for (int i = 0; i < N_VERBS; i++)
        if (strcmp(name, verbs[i]->name) == 0 && (verbs[i] == &verb_fit || processes_count() == 1))
            return verb_main(verbs[i], argc - 2, argv + 2);
    if (*name && processes_count() > 1)
        (void)fprintf(stderr,
                      "rubric-trainer: of its verbs fit alone runs in several processes\n\n");
    else if (*name)
        (void)fprintf(stderr, "rubric-trainer: unknown verb \"%s\"\n\n", name);
    usage(stderr);
    return 64;
}

int main(int argc, char **argv)
{
    (void)signal(SIGPIPE, SIG_IGN);         /* a registry that hangs up is an error, not the end */
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a log file shows how far a long run is */
    processes_open(&argc, &argv);
    /* One of them speaks. */
    if (processes_rank() > 0 && !freopen("/dev/null", "w", stdout))
        return 74;
    int status = run(argc, argv);
    processes_close(status);
    return status;
}
