#include "trainer/comparison.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "models/checkpoint.h"
#include "trainer/corpus.h"
#include "trainer/evaluate.h"

enum { WARM = 512 /* titles before the clock runs */ };

void said_done(struct said *s)
{
    if (s->p)
        report_done(&s->r);
    free(s->p);
    *s = (struct said){0};
}

int said_by(const char *model, enum precision precision, const struct dataset *d, struct pool *pool,
            struct said *out, struct err *err)
{
    struct model *m;
    if (model_open(model, precision, &m, err) != 0)
        return -1;
    const struct model_info *info = model_info(m);
    *out = (struct said){.bytes = info->weights_bytes, .precision = info->precision};
    report_init(&out->r, info->n_labels);
    struct dataset some = *d;
    some.n = d->n < WARM ? d->n : WARM;
    free(evaluate_probabilities(m, &some, pool, NULL));
    int64_t start = clock_ns();
    out->p = evaluate_probabilities(m, d, pool, NULL);
    out->seconds = (double)(clock_ns() - start) * 1e-9;
    for (size_t i = 0; i < d->n; i++)
        report_add(&out->r, d->labels[i], out->p + i * (size_t)info->n_labels);
    model_close(m);
    return 0;
}

int comparison_read(const char *model, const char *path, struct dataset *d, struct err *err)
{
    struct model *m;
    if (model_open(model, PRECISION_AUTO, &m, err) != 0)
        return -1;
    const struct model_info *info = model_info(m);
    struct classes classes = {.names = (char **)(size_t)info->labels, .n = info->n_labels};
    int rc = info->n_labels ? corpus_same_classes(path, &classes, err)
                            : err_set(err, ERR_USAGE,
                                      "%s classifies nothing: no --titles or --data for it", model);
    if (rc == 0)
        rc = corpus_read_file(path, &classes, (struct corpus_rules){0, info->spaced_words}, stdout,
                              d, err);
    if (rc == 0 && d->n == 0) {
        dataset_done(d);
        rc = err_set(err, ERR_FORMAT, "%s: no titles", path);
    }
    model_close(m);
    return rc;
}

double said_divergence(const struct said *a, const struct said *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n * (size_t)a->r.classes; i++)
        if (a->p[i] > 0)
            sum += (double)a->p[i] * log((double)a->p[i] / fmax((double)b->p[i], 1e-30));
    return sum / (double)n;
}

double said_agreement(const struct said *a, const struct said *b, size_t n)
{
    int32_t labels = a->r.classes, x, y;
    size_t same = 0;
    for (size_t i = 0; i < n; i++) {
        (void)model_top_k(a->p + i * (size_t)labels, labels, 1, &x);
        (void)model_top_k(b->p + i * (size_t)labels, labels, 1, &y);
        same += x == y;
    }
    return (double)same / (double)n;
}

static double one_file_mb(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (double)st.st_size / 1e6 : 0;
}

double comparison_mb(const char *model)
{
    struct file_list list;
    double sum = one_file_mb(model);
    if (sum > 0 || file_list(model, &list, NULL) != 0)
        return sum;
    for (size_t i = 0; i < list.n; i++) {
        char *path = file_path("%s/%s", model, list.names[i]);
        if (checkpoint_is_weights(list.names[i]))
            sum += one_file_mb(path);
        free(path);
    }
    file_list_free(&list);
    return sum;
}

static void print_line(const char *what, double mb, const struct said *s, const struct said *before,
                       size_t n)
{
    (void)printf("%-22s %8.1f %8.1f %8.2f %% %8.4f %9.2f %% %10.0f\n", what, mb,
                 (double)s->bytes / 1e6, 100 * report_accuracy(&s->r), report_loss(&s->r),
                 100 * said_agreement(before, s, n), (double)n / s->seconds);
}

static void print_classes(const struct said *a, const struct said *b, const char *const *labels)
{
    (void)printf("\n%-22s %8s %8s %8s\n", "F1", "before", "after", "change");
    for (int32_t k = 0; k < a->r.classes; k++) {
        double x = 100 * report_class(&a->r, k).f1, y = 100 * report_class(&b->r, k).f1;
        (void)printf("%-22s %8.2f %8.2f %+8.2f\n", labels[k], x, y, y - x);
    }
}

int comparison_print(const char *before, const char *after, const char *path,
                     const struct dataset *d, struct pool *pool, struct err *err)
{
    struct said was = {0}, usual = {0}, is = {0};
    struct model *m = NULL;
    int rc = model_open(after, PRECISION_AUTO, &m, err); /* for its labels' names */
    if (rc == 0)
        rc = said_by(before, PRECISION_FP32, d, pool, &was, err);
    if (rc == 0)
        rc = said_by(before, PRECISION_AUTO, d, pool, &usual, err);
    if (rc == 0)
        rc = said_by(after, PRECISION_AUTO, d, pool, &is, err);
    if (rc == 0) {
        double mb = comparison_mb(before);
        (void)printf("\n%-22s %8s %8s %10s %8s %11s %10s\n", path, "file MB", "held MB", "accuracy",
                     "loss", "same answer", "titles/s");
        print_line("before, in fp32", mb, &was, &was, d->n);
        if (usual.precision != was.precision) {
            char *name = file_path("before, in %s", precision_name(usual.precision));
            print_line(name, mb, &usual, &was, d->n);
            free(name);
        }
        char *name = file_path("after, in %s", precision_name(is.precision));
        print_line(name, comparison_mb(after), &is, &was, d->n);
        free(name);
        print_classes(&was, &is, model_info(m)->labels);
    }
    said_done(&was);
    said_done(&usual);
    said_done(&is);
    model_close(m);
    return rc;
}
