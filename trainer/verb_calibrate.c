#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "trainer/compose.h"
#include "trainer/golden_section.h"
#include "trainer/report.h"
#include "trainer/verb.h"

enum { MAX_CONFIG = 16 << 20 };

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    {.name = "model", .type = OPT_STR, .help = "directory of the model; its config.json changes"},
    {.name = "titles",
     .type = OPT_STR,
     .help = "labelled titles that it was not trained on (data hold-out)"},
    VERB_THREADS_OPTION,
};

static double loss_at(void *arg, double log_sharpness)
{
    double w = exp(log_sharpness);
    return compose_loss(arg, &w);
}

static double calibration_error(const struct compose *c, double sharpness)
{
    int32_t labels = compose_labels(c);
    float *row = xmalloc((size_t)labels * sizeof *row);
    struct report r;
    report_init(&r, labels);
    for (size_t t = 0; t < c->titles.n; t++) {
        const float *p = c->p[0] + t * (size_t)labels;
        double sum = 0;
        for (int32_t k = 0; k < labels; k++)
            sum += (double)(row[k] = (float)pow((double)p[k], sharpness));
        for (int32_t k = 0; k < labels; k++)
            row[k] = (float)((double)row[k] / sum);
        report_add(&r, c->titles.labels[t], row);
    }
    double error = report_calibration(&r);
    report_done(&r);
    free(row);
    return error;
}

/* config.json as it is, with another temperature. */
static int write_temperature(const char *dir, double sharpness, double *temperature,
                             struct err *err)
{
    char *path = file_path("%s/config.json", dir);
    json_t *config = json_parse_file(path, MAX_CONFIG, err);
    double before = 1;
    int rc = config ? json_get_real(config, "rubric_temperature", &before, err) : -1;
    *temperature = before / sharpness;
    if (rc == 0) {
        (void)json_object_set_new(config, "rubric_temperature", json_real(*temperature));
        rc = arch_write_config(dir, config, err);
    }
    json_decref(config);
    free(path);
    return rc;
}

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    const char *model, *titles;
    struct compose c;
    double one = 1, temperature = 1;
    if (verb_no_words(words, n, err) != 0 || verb_need(o, "model", &model, err) != 0 ||
        verb_need(o, "titles", &titles, err) != 0 ||
        compose_open(&c, model, (int)options_int(o, "threads"), err) != 0)
        return -1;
    int rc = c.n == 1 ? compose_read(&c, titles, stdout, err)
                      : err_set(err, ERR_USAGE, "--model: one model is calibrated at a time");
    if (rc == 0 && model_info(c.models[0])->each_for_itself)
        rc = err_set(err, ERR_USAGE, "%s: its probabilities are each for itself", model);
    if (rc == 0) {
        double sharpness = exp(golden_section(loss_at, &c, -3, 3));
        rc = write_temperature(model, sharpness, &temperature, err);
        if (rc == 0)
            (void)printf(
                "temperature %.4f\nloss %.4f, was %.4f\ncalibration error %.4f, was %.4f\n",
                temperature, compose_loss(&c, &sharpness), compose_loss(&c, &one),
                calibration_error(&c, sharpness), calibration_error(&c, 1));
    }
    compose_close(&c);
    return rc;
}

const struct verb verb_calibrate = {
    .name = "calibrate",
    .help = "make a model's probabilities mean what they say: a temperature into its config.json",
    .words = "",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .run = run};
