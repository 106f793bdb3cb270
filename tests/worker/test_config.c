#include "worker/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "worker/kafka.h"

static const char base[] =
    "brokers = 127.0.0.1:9092\ninput = in\noutput = out\ndead-letter = dead\n";

/* What `text` on top of the base is refused with; "" when it is accepted. */
static const char *verdict_without_model(const char *text)
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

static const char *verdict(const char *text)
{
    char whole[2100];
    /* Last, so that the lines of text keep their numbers. */
    (void)snprintf(whole, sizeof whole, "%s%s", text,
                   strstr(text, "model =") ? "" : "model = /m\n");
    return verdict_without_model(whole);
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
        "wire-in = confluent\nschema-ids-in = 7\n",
        "wire-in = confluent\nschema-ids-in = 1, 2 ,2147483647\n",
        "wire-out = confluent\nschema-id-out = 2147483647\n",
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
        {"wire-in = xml\n",
         "file:1: wire-in = \"xml\": expected one of protobuf|json|text|confluent"},
        {"wire-out = text\n",
         "file:1: wire-out = \"text\": expected one of protobuf|json|confluent"},
        {"wire-in = confluent\n",
         "schema-ids-in is not set: wire-in = confluent reads only frames with these ids"},
        {"wire-in = confluent\nschema-ids-in =\n",
         "schema-ids-in is not set: wire-in = confluent reads only frames with these ids"},
        {"wire-out = confluent\n",
         "schema-id-out is not set: wire-out = confluent writes it into every frame"},
        {"wire-in = json\nschema-ids-in = 1\n",
         "schema-ids-in is set: only wire-in = confluent has schema ids, not json"},
        {"wire-in = confluent\nschema-ids-in = 1\nschema-id-out = 1\n",
         "schema-id-out is set: only wire-out = confluent has a schema id, not protobuf"},
        {"wire-out = confluent\nschema-id-out = 0\n",
         "file:2: schema-id-out = 0: not between 1 and 2147483647"},
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

static void checks_the_registry(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"registry = ftp://h\n", "registry \"ftp://h\": expected dir:PATH, redis://HOST:PORT/DB"},
        {"registry = redis://u:secret@h:x/0\n", "redis://u:****@h:x/0: "},
        {"registry = dir:/r\nname = a/b\n", "name = \"a/b\": expected 1 to 64 of "},
        {"registry = dir:/r\nalias = .x\n", "alias = \".x\": expected 1 to 64 of "},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *said = verdict_without_model(bad[i].text);
        if (strncmp(said, bad[i].message, strlen(bad[i].message)) != 0)
            fail_msg("%s instead of %s", said, bad[i].message);
        assert_null(strstr(said, "secret"));
    }
    assert_string_equal(verdict_without_model("registry = redis://:secret@h:6379/0\n"), "");
    assert_string_equal(verdict_without_model("registry = dir:/r\nalias = candidate\n"), "");
}

static const char *ids_verdict(const char *ids)
{
    char text[2000];
    (void)snprintf(text, sizeof text, "wire-in = confluent\nschema-ids-in = %s\n", ids);
    return verdict(text);
}

static void reads_schema_ids(void **state)
{
    (void)state;
    static const char *const bad[] = {"x",   "0",    "-1",         "+1",          "1,",
                                      ",1",  "1,,2", "1 2",        "1;2",         "2147483648",
                                      "1.5", "0x1",  "4294967297", "99999999999", "1,2,a"};
    char text[200], many[1000] = "1";
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        (void)snprintf(text, sizeof text,
                       "schema-ids-in = \"%s\": expected ids from 1 to 2147483647, comma-separated",
                       bad[i]);
        assert_string_equal(ids_verdict(bad[i]), text);
    }
    for (int i = 1; i < CONFIG_MAX_SCHEMA_IDS; i++)
        strcat(many, ",1");
    assert_string_equal(ids_verdict(many), "");
    strcat(many, ",1");
    assert_string_equal(ids_verdict(many), "schema-ids-in: more than 64 ids");

    struct config cfg;
    struct err err;
    struct options *o = options_open(config_options, config_n_options, "kafka.");
    const char set[] = "model = /m\nwire-in = confluent\nschema-ids-in = 3, 70000,2147483647\n"
                       "wire-out = confluent\nschema-id-out = 305419896\n";
    assert_int_equal(options_read_text(o, "base", base, strlen(base), &err), 0);
    assert_int_equal(options_read_text(o, "file", set, strlen(set), &err), 0);
    assert_int_equal(config_check(o, &cfg, &err), 0);
    assert_int_equal(cfg.wire_in, WIRE_CONFLUENT);
    assert_int_equal(cfg.wire_out, WIRE_CONFLUENT);
    assert_int_equal(cfg.n_schema_ids_in, 3);
    assert_int_equal(cfg.schema_ids_in[0], 3);
    assert_int_equal(cfg.schema_ids_in[1], 70000);
    assert_int_equal(cfg.schema_ids_in[2], 2147483647);
    assert_int_equal(cfg.schema_id_out, 305419896);
    options_close(o);
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
        cmocka_unit_test(checks_the_registry),
        cmocka_unit_test(reads_schema_ids),
        cmocka_unit_test(refuses_cooperative_assignors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
