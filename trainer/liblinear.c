#include "trainer/liblinear.h"

#include <linear.h>
#include <pthread.h>
#include <stdlib.h>

struct job {
    struct problem problem; /* y apart */
    const struct liblinear_options *opt;
    const int32_t *labels;
    int64_t columns;
    float *weight, *bias;
    pthread_mutex_t lock;
};

static void silent(const char *text)
{
    (void)text;
}

/* The primal solver (trust region Newton) keeps no global state and draws no random numbers, which
 * is what makes classes independent of each other and of the thread they run on. The dual one calls
 * rand(). */
static void fit_class(void *arg, int label, int thread)
{
    (void)thread;
    struct job *job = arg;
    struct problem p = job->problem;
    struct parameter param = {
        .solver_type = L2R_L2LOSS_SVC, .eps = job->opt->eps, .C = job->opt->c, .p = 0.1};
    p.y = xmalloc((size_t)p.l * sizeof *p.y);
    for (int i = 0; i < p.l; i++)
        p.y[i] = job->labels[i] == label ? 1 : -1;
    struct model *m = train(&p, &param);
    /* LIBLINEAR's weights speak for the label it met first. */
    double sign = m->label[0] == 1 ? 1 : -1;
    float *w = job->weight + (int64_t)label * job->columns;
    for (int64_t j = 0; j < job->columns; j++)
        w[j] = (float)(sign * m->w[j]);
    job->bias[label] = (float)(sign * m->w[job->columns]);
    free_and_destroy_model(&m);
    free(p.y);
    (void)pthread_mutex_lock(&job->lock);
    if (job->opt->done)
        job->opt->done(job->opt->arg, label);
    (void)pthread_mutex_unlock(&job->lock);
}

static int check(const struct sparse *x, const int32_t *labels, int32_t n_labels, struct err *err)
{
    if (x->rows > INT32_MAX || x->columns >= INT32_MAX)
        return err_set(err, ERR_FORMAT, "%lld titles with %lld features: more than 2^31",
                       (long long)x->rows, (long long)x->columns);
    int64_t *count = xcalloc((size_t)n_labels, sizeof *count);
    int rc = 0;
    for (int64_t i = 0; i < x->rows; i++)
        count[labels[i]]++;
    for (int32_t c = 0; rc == 0 && c < n_labels; c++)
        if (count[c] == 0 || count[c] == x->rows)
            rc = err_set(err, ERR_FORMAT, "class %d has %s of the training titles", (int)c,
                         count[c] ? "all" : "none");
    free(count);
    return rc;
}

int liblinear_fit(const struct sparse *x, const int32_t *labels, int32_t n_labels,
                  const struct liblinear_options *opt, struct pool *pool, float *weight,
                  float *bias, struct err *err)
{
    if (check(x, labels, n_labels, err) != 0)
        return -1;
    int64_t entries = 0;
    for (int64_t i = 0; i < x->rows; i++)
        entries += x->count[i] + 2; /* the bias feature and the end mark */
    struct feature_node *nodes = xmalloc((size_t)entries * sizeof *nodes), *next = nodes;
    struct feature_node **rows = xmalloc((size_t)x->rows * sizeof *rows);
    for (int64_t i = 0; i < x->rows; i++) {
        rows[i] = next;
        for (int64_t j = x->start[i]; j < x->start[i] + x->count[i]; j++)
            *next++ = (struct feature_node){x->index[j] + 1, (double)x->value[j]};
        *next++ = (struct feature_node){(int)x->columns + 1, 1};
        *next++ = (struct feature_node){-1, 0};
    }
    struct job job = {
        .problem = {.l = (int)x->rows, .n = (int)x->columns + 1, .x = rows, .bias = 1},
        .opt = opt,
        .labels = labels,
        .columns = x->columns,
        .weight = weight,
        .bias = bias,
        .lock = PTHREAD_MUTEX_INITIALIZER};
    set_print_string_function(silent);
    pool_run(pool, n_labels, fit_class, &job);
    free(rows);
    free(nodes);
    return 0;
}
