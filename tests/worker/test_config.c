#include "worker/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "worker/kafka.h"

static const char base[] =
    "brokers = 127.0.0.1:9092\ninput = in\noutput = out\ndead-letter = dead\nmodel = /m\n";

/* What `text` on top of the base is refused with; "" when it is accepted. */
static const char *verdict(const char *text)
{
    static struct err err;
    struct config cfg;
    struct options *o = options_open(config_options, config_n_options, "kafka.");
    err.msg[0] = '\0';
    if (options_read_text(o, "base", base, strlen(base), &err) == 0 &&
        options_read_text(o, "file", text, strlen(text), &err) == 0 &&
        config_check(o, &cfg, &err) == 0)
        (void)kafka_check(&cfg, &err);
    options_close(o);
    return err.msg;
}

static void accepts(void **state)
{
    (void)state;
    static const char *const good[] = {
        "",
        "output = categories.{label}\n",
        "input = a,b,c\n",
        "review = r\nreview-threshold = 0.6\n",
        "kafka.session.timeout.ms = 6000\nkafka.linger.ms = 20\nkafka.auto.offset.reset = latest\n",
        "delivery = at-least-once\ntransactional-id = pod-1\n",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_string_equal(verdict(good[i]), "");
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"brokerz = x\n", "file:1: unknown option \"brokerz\"; did you mean \"brokers\"?"},
        {"wire-in = xml\n", "file:1: wire-in = \"xml\": expected one of protobuf|json|text"},
        {"review-threshold = 1.5\n", "file:1: review-threshold = 1.5: not between 0 and 1"},
        {"review-threshold = 0.5\n", "review is not set: review-threshold sends categories there"},
        {"brokers =\n", "brokers is not set: the worker needs at least one broker, host:port"},
        {"dead-letter =\n", "dead-letter is not set: what cannot be classified must go somewhere"},
        {"input = a,out\n", "topic out is both read and written"},
        {"transaction-timeout-ms = 1000\ncommit-interval-ms = 600\n",
         "commit-interval-ms is over half of transaction-timeout-ms: brokers would abort "
         "transactions "
         "that are still open"},
        {"registry = dir:/r\n", "model and registry are both set: one of them says what to run"},
        {"output = a b\n",
         "output = \"a b\": topic names are made of letters, digits, '.', '_' and '-'"},
        {"input = a,,b\n", "input = \"a,,b\": a topic name has 1 to 249 characters"},
        {"kafka.enable.auto.commit = true\n",
         "kafka.enable.auto.commit cannot be set: offsets are committed with the results"},
        {"kafka.isolation.level = read_uncommitted\n",
         "kafka.isolation.level cannot be set: the worker reads committed records"},
        {"kafka.group.id = g\n", "kafka.group.id cannot be set: use group"},
        {"kafka.auto.offset.reset = none\n",
         "kafka.auto.offset.reset = \"none\": expected earliest or latest"},
        {"kafka.no.such.key = 1\n",
         "kafka.no.such.key = \"1\": No such configuration property: \"no.such.key\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_string_equal(verdict(bad[i].text), bad[i].message);
}

static void refuses_cooperative_assignors(void **state)
{
    (void)state;
    assert_non_null(strstr(verdict("kafka.partition.assignment.strategy = cooperative-sticky\n"),
                           "only eager assignors"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts),
        cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_cooperative_assignors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
