#include "worker/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void has(const struct buf *b, const char *line)
{
    if (!strstr(b->data, line))
        fail_msg("no line \"%s\" in\n%s", line, b->data);
}

static void writes_what_was_counted(void **state)
{
    (void)state;
    static const char *const labels[] = {"finance", "odd \"name\"\\"};
    struct buf b;
    assert_int_equal(metrics_category(labels[0]), 0);
    assert_int_equal(metrics_category(labels[1]), 1);
    assert_int_equal(metrics_category(labels[0]), 0);
    metric_add(M_RECORDS_CONSUMED, 3);
    metric_add_at(M_PREDICTIONS, 1, 2);
    metric_add_at(M_PREDICTIONS, -1, 1); /* out of the table: counted in no label */
    metric_add_at(M_PREDICTIONS, METRIC_MAX_LABELS, 1);
    metric_add_at(M_TRANSACTIONS, TXN_ABORTED, 1);
    metric_set(M_PARTITIONS_ASSIGNED, 6);
    metric_observe(M_AGE_SECONDS, 0.004, 2);
    metric_observe(M_AGE_SECONDS, 1e6, 1);
    buf_init(&b, 1 << 20);
    metrics_write(&b);
    has(&b, "# TYPE rubric_records_consumed_total counter\nrubric_records_consumed_total 3\n");
    has(&b, "rubric_predictions_total{category=\"finance\"} 0\n");
    has(&b, "rubric_predictions_total{category=\"odd \\\"name\\\"\\\\\"} 2\n");
    has(&b, "rubric_transactions_total{outcome=\"aborted\"} 1\n");
    has(&b, "rubric_partitions_assigned 6\n");
    has(&b, "rubric_age_seconds_bucket{le=\"0.0025\"} 0\n");
    has(&b, "rubric_age_seconds_bucket{le=\"0.005\"} 2\n");
    has(&b, "rubric_age_seconds_bucket{le=\"60\"} 2\n");
    has(&b, "rubric_age_seconds_bucket{le=\"+Inf\"} 3\n");
    has(&b, "rubric_age_seconds_count 3\n");
    has(&b, "rubric_dead_letters_total{reason=\"null-value\"} 0\n");
    assert_null(strstr(b.data, "reason=\"none\""));
    buf_done(&b);
    metrics_done();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(writes_what_was_counted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
