#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/compose.h"
#include "trainer/golden_section.h"
#include "trainer/verb.h"

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "members", .type = OPT_STR, .help = "directories of models, with commas between"},
    {.name = "titles",
     .type = OPT_STR,
     .help =
         "labelled titles that no member was trained on (data hold-out): the weights are fitted "
         "on them"},
    {.name = "weights",
     .type = OPT_STR,
     .help =
         "in the place of --titles: each member's share of the mean, with commas between (1,1,2 is "
         "0.25,0.25,0.5)"},
    {.name = "out", .type = OPT_STR, .help = "directory of the ensemble"},
    {.name = "overwrite", .type = OPT_BOOL, .def = "false", .help = "replace an ensemble in --out"},
    {.name = "model-name", .type = OPT_STR, .def = "ensemble", .help = "name in config.json"},
    VERB_THREADS_OPTION,
};
enum { ROUNDS = 12 };

struct along {
    const struct compose *c;
    double *weights;
    int which;
};

static double loss_along(void *arg, double x)
{
    const struct along *a = arg;
    double was = a->weights[a->which];
    a->weights[a->which] = x;
    double loss = compose_loss(a->c, a->weights);
    a->weights[a->which] = was;
    return loss;
}

/* The loss is convex in the weights: one after the other, again and again. */
static double fit_weights(const struct compose *c, double *weights)
{
    double loss = INFINITY;
    for (int i = 0; i < c->n; i++)
        weights[i] = 1.0 / c->n;
    for (int round = 0; round < ROUNDS; round++) {
        double before = loss;
        for (int i = 0; i < c->n; i++) {
            struct along a = {c, weights, i};
            weights[i] = golden_section(loss_along, &a, 0, 4);
        }
        loss = compose_loss(c, weights);
        if (before - loss < 1e-6)
            break;
    }
    return loss;
}

static double accuracy(const struct compose *c, const double *weights)
{
    int32_t labels = compose_labels(c);
    size_t right = 0;
    for (size_t t = 0; t < c->titles.n; t++) {
        int32_t best = 0;
        double most = -INFINITY;
        for (int32_t k = 0; k < labels; k++) {
            double x = 0;
            for (int i = 0; i < c->n; i++)
                x += weights[i] * log(fmax((double)c->p[i][t * (size_t)labels + (size_t)k], 1e-30));
            if (x > most) {
                most = x;
                best = k;
            }
        }
        right += best == c->titles.labels[t];
    }
    return (double)right / (double)c->titles.n;
}

/* Shares of a mean: of calibrated members it claims about what they do (rather less), where a plain sum
 * would claim far too much. */
static void to_shares(double *weights, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += weights[i];
    for (int i = 0; i < n; i++)
        weights[i] /= sum;
}

/* What each member and all together make of the titles. */
static void print_members(const struct compose *c, const double *weights)
{
    double alone[COMPOSITE_MAX];
    (void)printf("%-24s %8s %10s %10s\n", "member", "weight", "accuracy", "loss");
    for (int i = 0; i < c->n; i++) {
        char *name = compose_part_name(c, i);
        for (int k = 0; k < c->n; k++)
            alone[k] = k == i;
        (void)printf("%-24s %8.4f %8.2f %% %10.4f\n", name, weights[i], 100 * accuracy(c, alone),
                     compose_loss(c, alone));
        free(name);
    }
    (void)printf("%-24s %8s %8.2f %% %10.4f\n", "together", "", 100 * accuracy(c, weights),
                 compose_loss(c, weights));
}

static int read_weights(const char *list, int n, double *weights, struct err *err)
{
    char *text = xstrdup(list), *rest = text, *one, *end;
    int got = 0, rc = 0;
    while (rc == 0 && (one = strsep(&rest, ",")) != NULL) {
        double x = strtod(one, &end);
        if (end == one || *end || !(x > 0 && x <= 1000))
            rc = err_set(err, ERR_USAGE, "--weights: \"%.50s\" is no weight above 0", one);
        else if (got < n)
            weights[got] = x;
        got++;
    }
    free(text);
    return rc == 0 && got != n
               ? err_set(err, ERR_USAGE, "--weights names %d for %d members", got, n)
               : rc;
}

static int make(const struct compose *c, const struct options *o, const char *out, struct err *err)
{
    double weights[COMPOSITE_MAX];
    if (options_str(o, "weights")) {
        if (read_weights(options_str(o, "weights"), c->n, weights, err) != 0)
            return -1;
        to_shares(weights, c->n);
    } else {
        (void)fit_weights(c, weights);
    }
    if (c->p[0])
        print_members(c, weights);
    json_t *config = json_object(), *members = json_array();
    for (int i = 0; i < c->n; i++) {
        char *name = compose_part_name(c, i);
        (void)json_array_append_new(members,
                                    json_pack("{s:s, s:f}", "dir", name, "weight", weights[i]));
        free(name);
    }
    (void)json_object_set_new(config, "model_type", json_string(ensemble_arch.model_type));
    (void)json_object_set_new(config, "members", members);
    int rc = compose_write(c, out, options_bool(o, "overwrite"), options_str(o, "model-name"),
                           config, err);
    json_decref(config);
    if (rc == 0)
        (void)printf("\nensemble in %s\n", out);
    return rc;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *members, *titles, *out;
    struct compose c;
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "members", &members, err) != 0 ||
        verb_need(o, "out", &out, err) != 0 ||
        (!options_str(o, "weights") && verb_need(o, "titles", &titles, err) != 0) ||
        compose_open(&c, members, (int)options_int(o, "threads"), err) != 0)
        return -1;
    titles = options_str(o, "titles");
    int rc = titles ? compose_read(&c, titles, stdout, err) : 0;
    if (rc == 0)
        rc = make(&c, o, out, err);
    compose_close(&c);
    return rc;
}

const struct verb verb_ensemble = {.name = "ensemble",
                                   .help = "make one model of several: weighted means of them",
                                   .words = "",
                                   .opts = opts,
                                   .n_opts = sizeof opts / sizeof *opts,
                                   .run = run};
