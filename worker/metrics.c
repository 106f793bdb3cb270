#include "worker/metrics.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "worker/batcher.h"
#include "worker/work.h"

enum kind { COUNTER, GAUGE, HISTOGRAM };

#define MAX_BUCKETS 16

static const double seconds[] = {.0005, .001, .0025, .005, .01, .025, .05, .1,
                                 .25,   .5,   1,     2.5,  5,   10,   30,  60};
static const double titles[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384};
static const double shares[] = {.1, .2, .3, .4, .5, .6, .7, .8, .9, .95, .99, 1};

#define BUCKETS(a) a, (int)(sizeof a / sizeof *a)

static const struct {
    const char *name;
    enum kind kind;
    const char *help;
    const char *label; /* name of the label, or NULL */
    const double *buckets;
    int n_buckets;
} table[M_COUNT] = {
    [M_RECORDS_CONSUMED] = {"rubric_records_consumed_total", COUNTER,
                            "Records taken from the input topics.", NULL, NULL, 0},
    [M_HEADLINES_CLASSIFIED] = {"rubric_headlines_classified_total", COUNTER,
                                "Headlines classified.", NULL, NULL, 0},
    [M_HEADLINES_TRUNCATED] =
        {"rubric_headlines_truncated_total", COUNTER,
         "Headlines longer than the model reads, classified by their beginning.", NULL, NULL, 0},
    [M_OUTPUTS_PRODUCED] = {"rubric_outputs_produced_total", COUNTER,
                            "Records produced to output topics.", NULL, NULL, 0},
    [M_REVIEWS_PRODUCED] = {"rubric_reviews_produced_total", COUNTER,
                            "Records produced to the review topic.", NULL, NULL, 0},
    [M_OFFSETS_OUT_OF_RANGE] = {"rubric_offsets_out_of_range_total", COUNTER,
                                "Times a partition's next record was gone from the broker.", NULL,
                                NULL, 0},
    [M_REWINDS] = {"rubric_rewinds_total", COUNTER,
                   "Times the consumer went back to the committed offsets.", NULL, NULL, 0},
    [M_PRODUCER_REBUILDS] = {"rubric_producer_rebuilds_total", COUNTER,
                             "Producers replaced after a fatal error.", NULL, NULL, 0},
    [M_KAFKA_ERRORS] = {"rubric_kafka_errors_total", COUNTER,
                        "Errors reported by the Kafka client.", NULL, NULL, 0},
    [M_DEAD_LETTERS] = {"rubric_dead_letters_total", COUNTER,
                        "Records sent to the dead-letter topic.", "reason", NULL, 0},
    [M_BATCHES] = {"rubric_batches_total", COUNTER, "Batches by the reason they closed.",
                   "close_reason", NULL, 0},
    [M_TRANSACTIONS] = {"rubric_transactions_total", COUNTER,
                        "Transactions (commits in at-least-once mode).", "outcome", NULL, 0},
    [M_REBALANCES] = {"rubric_rebalances_total", COUNTER, "Changes of the partition assignment.",
                      "kind", NULL, 0},
    [M_PREDICTIONS] = {"rubric_predictions_total", COUNTER, "Headlines by their category.",
                       "category", NULL, 0},
    [M_MODEL_SWAPS] = {"rubric_model_swaps_total", COUNTER,
                       "Tries to take over the version that the alias names, by how they ended.",
                       "outcome", NULL, 0},
    [M_PARTITIONS_ASSIGNED] = {"rubric_partitions_assigned", GAUGE, "Partitions this worker reads.",
                               NULL, NULL, 0},
    [M_BATCHES_IN_FLIGHT] = {"rubric_batches_in_flight", GAUGE,
                             "Batches between closing and commit.", NULL, NULL, 0},
    [M_READY] = {"rubric_ready", GAUGE, "1 when /readyz answers 200.", NULL, NULL, 0},
    [M_MODEL_CURRENT] = {"rubric_model_current", GAUGE,
                         "1 while the version that the alias names is the one that classifies.",
                         NULL, NULL, 0},
    [M_MODEL_LOAD_SECONDS] = {"rubric_model_load_seconds", GAUGE, "Time it took to load the model.",
                              NULL, NULL, 0},
    [M_BATCH_TITLES] = {"rubric_batch_titles", HISTOGRAM, "Headlines in a batch.", NULL,
                        BUCKETS(titles)},
    [M_BATCH_QUEUE_SECONDS] = {"rubric_batch_queue_seconds", HISTOGRAM,
                               "From a batch's first record to the start of its classification.",
                               NULL, BUCKETS(seconds)},
    [M_STAGE_DECODE_SECONDS] = {"rubric_stage_decode_seconds", HISTOGRAM,
                                "Decode a batch's records and check its titles.", NULL,
                                BUCKETS(seconds)},
    [M_STAGE_CLASSIFY_SECONDS] = {"rubric_stage_classify_seconds", HISTOGRAM,
                                  "Tokenise, classify and encode a batch.", NULL, BUCKETS(seconds)},
    [M_STAGE_PRODUCE_SECONDS] = {"rubric_stage_produce_seconds", HISTOGRAM,
                                 "Hand a batch's results to the producer.", NULL, BUCKETS(seconds)},
    [M_STAGE_COMMIT_SECONDS] = {"rubric_stage_commit_seconds", HISTOGRAM,
                                "Send offsets and commit.", NULL, BUCKETS(seconds)},
    [M_AGE_SECONDS] =
        {"rubric_age_seconds", HISTOGRAM,
         "From the publication of a headline (as it says, else its record's time) to the "
         "commit of its category.",
         NULL, BUCKETS(seconds)},
    [M_CONFIDENCE] = {"rubric_confidence_ratio", HISTOGRAM, "Probability of the category.", NULL,
                      BUCKETS(shares)},
};

struct cell {
    _Atomic int64_t n;     /* counter; histogram: count */
    _Atomic int64_t value; /* bits of a double: the gauge, or the histogram's sum */
    _Atomic int64_t buckets[MAX_BUCKETS];
};
static struct cell cells[M_COUNT];
static _Atomic int64_t by_label[M_COUNT][METRIC_MAX_LABELS];
static pthread_mutex_t categories_lock = PTHREAD_MUTEX_INITIALIZER; /* adding takes turns */
static char *categories[METRIC_MAX_LABELS];
static atomic_int n_categories; /* grows after the name is there */

int metrics_category(const char *name)
{
    (void)pthread_mutex_lock(&categories_lock);
    int i = 0, n = atomic_load(&n_categories);
    while (i < n && strcmp(categories[i], name) != 0)
        i++;
    if (i == METRIC_MAX_LABELS) {
        i = -1;
    } else if (i == n) {
        categories[i] = xstrdup(name);
        atomic_store(&n_categories, n + 1);
    }
    (void)pthread_mutex_unlock(&categories_lock);
    return i;
}

void metrics_done(void)
{
    int n = atomic_exchange(&n_categories, 0);
    for (int i = 0; i < n; i++)
        free(categories[i]);
}

void metric_add(enum metric m, int64_t n)
{
    atomic_fetch_add_explicit(&cells[m].n, n, memory_order_relaxed);
}

void metric_add_at(enum metric m, int label, int64_t n)
{
    if (label >= 0 && label < METRIC_MAX_LABELS)
        atomic_fetch_add_explicit(&by_label[m][label], n, memory_order_relaxed);
    metric_add(m, n);
}

void metric_set(enum metric m, double value)
{
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    atomic_store_explicit(&cells[m].value, bits, memory_order_relaxed);
}

/* A sum of doubles kept as bits. */
static void add_to(_Atomic int64_t *cell, double value)
{
    int64_t old = atomic_load_explicit(cell, memory_order_relaxed), new;
    double sum;
    do {
        memcpy(&sum, &old, sizeof sum);
        sum += value;
        memcpy(&new, &sum, sizeof new);
    } while (!atomic_compare_exchange_weak_explicit(cell, &old, new, memory_order_relaxed,
                                                    memory_order_relaxed));
}

void metric_observe(enum metric m, double value, int64_t times)
{
    struct cell *c = &cells[m];
    atomic_fetch_add_explicit(&c->n, times, memory_order_relaxed);
    add_to(&c->value, value * (double)times);
    for (int i = 0; i < table[m].n_buckets; i++)
        if (value <= table[m].buckets[i]) {
            atomic_fetch_add_explicit(&c->buckets[i], times, memory_order_relaxed);
            break;
        }
}

static double gauge(enum metric m)
{
    int64_t bits = atomic_load_explicit(&cells[m].value, memory_order_relaxed);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

int64_t metric_value_at(enum metric m, int label)
{
    return atomic_load(&by_label[m][label]);
}

int64_t metric_value(enum metric m)
{
    return table[m].kind == GAUGE ? (int64_t)gauge(m) : atomic_load(&cells[m].n);
}

void metric_header(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* How many values the label of m has, and what they are called. */
static int label_count(enum metric m)
{
    switch ((int)m) {
    case M_DEAD_LETTERS:
        return REASON_COUNT;
    case M_BATCHES:
        return CLOSE_COUNT;
    case M_TRANSACTIONS:
        return TXN_OUTCOMES;
    case M_REBALANCES:
        return REBALANCE_KINDS;
    case M_MODEL_SWAPS:
        return SWAP_OUTCOMES;
    case M_PREDICTIONS:
        return atomic_load(&n_categories);
    default:
        return 0;
    }
}

const char *swap_outcome_name(enum metric_swap o)
{
    static const char *const names[] = {"swapped",    "unavailable",   "no-alias",  "no-version",
                                        "no-content", "incomplete",    "truncated", "corrupt",
                                        "labels",     "does-not-load", "failed"};
    return names[o];
}

static const char *label_value(enum metric m, int i)
{
    static const char *const outcomes[] = {"committed", "aborted", "fatal"};
    static const char *const kinds[] = {"assigned", "revoked", "lost"};
    switch ((int)m) {
    case M_DEAD_LETTERS:
        return reason_name((enum reason)i);
    case M_BATCHES:
        return close_reason_name((enum close_reason)i);
    case M_TRANSACTIONS:
        return outcomes[i];
    case M_REBALANCES:
        return kinds[i];
    case M_MODEL_SWAPS:
        return swap_outcome_name((enum metric_swap)i);
    default:
        return categories[i];
    }
}

void metric_label(struct buf *out, const char *value)
{
    for (; *value; value++) {
        if (*value == '\n')
            buf_puts(out, "\\n");
        else if (*value == '"' || *value == '\\')
            buf_printf(out, "\\%c", *value);
        else
            buf_put(out, value, 1);
    }
}

static void write_histogram(struct buf *out, enum metric m)
{
    int64_t below = 0;
    for (int i = 0; i < table[m].n_buckets; i++) {
        below += atomic_load_explicit(&cells[m].buckets[i], memory_order_relaxed);
        buf_printf(out, "%s_bucket{le=\"%g\"} %lld\n", table[m].name, table[m].buckets[i],
                   (long long)below);
    }
    long long n = (long long)atomic_load(&cells[m].n);
    buf_printf(out, "%s_bucket{le=\"+Inf\"} %lld\n%s_sum %.6f\n%s_count %lld\n", table[m].name, n,
               table[m].name, gauge(m), table[m].name, n);
}

void metrics_write(struct buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    for (int i = 0; i < M_COUNT; i++) {
        enum metric m = (enum metric)i;
        metric_header(out, table[m].name, types[table[m].kind], table[m].help);
        if (table[m].kind == HISTOGRAM) {
            write_histogram(out, m);
        } else if (table[m].label) {
            int first = m == M_DEAD_LETTERS || m == M_BATCHES ? 1 : 0; /* 0 is "none" in both */
            for (int l = first; l < label_count(m); l++) {
                buf_printf(out, "%s{%s=\"", table[m].name, table[m].label);
                metric_label(out, label_value(m, l));
                buf_printf(out, "\"} %lld\n", (long long)atomic_load(&by_label[m][l]));
            }
        } else if (table[m].kind == GAUGE) {
            buf_printf(out, "%s %g\n", table[m].name, gauge(m));
        } else {
            buf_printf(out, "%s %lld\n", table[m].name, (long long)atomic_load(&cells[m].n));
        }
    }
}
