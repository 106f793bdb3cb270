#include "worker/config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "worker/load.h"

#define MAX_SCHEMA_ID 2147483647 /* registries count in a signed int */

const struct opt config_options[] = {
    {"config", OPT_STR, NULL, 0, 0, NULL, "file of options, one key = value a line", false},
    {"print-config", OPT_BOOL, "false", 0, 0, NULL,
     "print every option's value as a config file and exit", false},
    /* Kafka */
    {"brokers", OPT_STR, NULL, 0, 0, NULL, "bootstrap servers, host:port, comma-separated", false},
    {"group", OPT_STR, "rubric", 0, 0, NULL, "consumer group", false},
    {"input", OPT_STR, NULL, 0, 0, NULL, "topic of headlines, or several, comma-separated", false},
    {"output", OPT_STR, NULL, 0, 0, NULL,
     "topic of categories; {label} in it gives each category a topic of its own", false},
    {"review", OPT_STR, NULL, 0, 0, NULL, "topic of categories below review-threshold", false},
    {"review-threshold", OPT_REAL, "0", 0, 1, NULL,
     "probability below which a category goes to review; 0 = never", false},
    {"dead-letter", OPT_STR, NULL, 0, 0, NULL, "topic of what cannot be decoded or classified",
     false},
    {"delivery", OPT_CHOICE, "exactly-once", 0, 0, "exactly-once|at-least-once",
     "what readers may rely on", false},
    {"transactional-id", OPT_STR, NULL, 0, 0, NULL,
     "identity of the producer; unique to the process when not set; a stable one (a pod's name) "
     "lets a restart abort its "
     "predecessor's transaction at once",
     false},
    {"transaction-timeout-ms", OPT_INT, "15000", 1000, 900000, NULL,
     "after which the broker aborts a transaction whose worker died", false},
    {"commit-records", OPT_INT, "10000", 1, 1000000, NULL, "most headlines in one transaction",
     false},
    {"commit-interval-ms", OPT_INT, "100", 1, 10000, NULL,
     "longest time a transaction is kept open for more", false},
    {"stop-at-end", OPT_BOOL, "false", 0, 0, NULL,
     "stop when every partition was read to its end; a summary goes to stdout", false},
    /* wire */
    {"wire-in", OPT_CHOICE, "protobuf", 0, 0, "protobuf|json|text|confluent",
     "form of input records; confluent: protobuf in a schema registry's frame", false},
    {"schema-ids-in", OPT_STR, NULL, 0, 0, NULL,
     "schema ids that input frames may have, comma-separated; required by wire-in = confluent",
     false},
    {"wire-out", OPT_CHOICE, "protobuf", 0, 0, "protobuf|json|confluent", "form of output records",
     false},
    {"schema-id-out", OPT_INT, NULL, 1, MAX_SCHEMA_ID, NULL,
     "schema id of category.proto in the registry; required by wire-out = confluent", false},
    {"top", OPT_INT, "0", 0, 1000, NULL, "how many best categories an output record lists", false},
    {"with-title", OPT_BOOL, "false", 0, 0, NULL, "copy the title into the output record", false},
    {"max-title-bytes", OPT_INT, "4096", 1, 1000000, NULL, "longer titles are dead letters", false},
    {"max-headlines", OPT_INT, "10000", 1, 1000000, NULL,
     "records with more headlines are dead letters", false},
    /* model */
    LOAD_OPTIONS,
    {"registry-poll-ms", OPT_INT, "2000", 50, 3600000, NULL,
     "how often the registry is asked what the alias names", false},
    {"allow-new-labels", OPT_BOOL, "false", 0, 0, NULL,
     "take over models with other labels than the one in service", false},
    {"threads", OPT_INT, "0", 0, 1024, NULL,
     "inference threads; 0 = as many as the cgroup allows processors", false},
    /* batching */
    {"batch-titles", OPT_INT, "1024", 1, 100000, NULL, "a batch closes at this many headlines",
     false},
    {"batch-tokens", OPT_INT, "32768", 1, 10000000, NULL, "a batch closes at this many tokens",
     false},
    {"batch-bytes", OPT_INT, "1048576", 1024, 1073741824, NULL,
     "a batch closes at this many record bytes", false},
    {"batch-age-ms", OPT_INT, "5", 0, 60000, NULL,
     "a batch closes this long after its first headline", false},
    /* operation */
    {"http", OPT_STR, NULL, 0, 0, NULL,
     "address:port of /livez, /readyz, /metrics and /v1/classify; port 0 picks one and logs it",
     false},
    {"drain-timeout-ms", OPT_INT, "20000", 100, 3600000, NULL,
     "bound on finishing work after SIGTERM", false},
    {"log-format", OPT_CHOICE, "auto", 0, 0, "auto|text|json",
     "auto: text on a terminal, else JSON lines", false},
    {"log-level", OPT_CHOICE, "info", 0, 0, "debug|info|warn|error", "least level that is logged",
     false},
};
const size_t config_n_options = sizeof config_options / sizeof *config_options;

/* kafka.* keys that the worker sets itself: passing them through would break the delivery guarantee
 * or contradict an option. */
static const struct {
    const char *key, *instead;
} refused[] = {
    {"bootstrap.servers", "use brokers"},
    {"metadata.broker.list", "use brokers"},
    {"group.id", "use group"},
    {"transactional.id", "use transactional-id"},
    {"transaction.timeout.ms", "use transaction-timeout-ms"},
    {"enable.auto.commit", "offsets are committed with the results"},
    {"enable.auto.offset.store", "offsets are committed with the results"},
    {"auto.commit.enable", "offsets are committed with the results"},
    {"isolation.level", "the worker reads committed records"},
    {"enable.idempotence", "the producer is always idempotent"},
    {"acks", "results need every replica in sync"},
    {"request.required.acks", "results need every replica in sync"},
    {"partitioner", "keys keep the Java client's partition"},
    {"enable.partition.eof", "use stop-at-end"},
    {"delivery.report.only.error", "the worker reads delivery reports"},
};

int config_load(int argc, char **argv, struct options **out, const char **rest, int *n_rest,
                struct err *err)
{
    struct options *args = options_open(config_options, config_n_options, "kafka.");
    struct options *all = NULL;
    /* The file is named on the command line or in the environment, yet ranks below both: look for
     * its name first. */
    if (options_read_args(args, argc, argv, rest, n_rest, err) != 0)
        goto fail;
    const char *file = options_str(args, "config");
    if (!file)
        file = getenv("RUBRIC_CONFIG");
    all = options_open(config_options, config_n_options, "kafka.");
    if ((file && options_read_file(all, file, err) != 0) ||
        options_read_env(all, environ, NULL, NULL, err) != 0 ||
        options_read_args(all, argc, argv, rest, n_rest, err) != 0)
        goto fail;
    options_close(args);
    *out = all;
    return 0;
fail:
    options_close(args);
    options_close(all);
    return -1;
}

static int check_topic(const char *option, const char *topic, bool list, bool pattern,
                       struct err *err)
{
    size_t n = 0;
    for (const char *p = topic;; p++) {
        if (pattern && strncmp(p, "{label}", 7) == 0) {
            p += 6;
            n += 7;
            continue;
        }
        if (*p == '\0' || (list && *p == ',')) {
            if (n == 0 || n > 249)
                return err_set(err, ERR_CONFIG, "%s = \"%s\": a topic name has 1 to 249 characters",
                               option, topic);
            if (!*p)
                return 0;
            n = 0;
            continue;
        }
        if (!isalnum((unsigned char)*p) && *p != '.' && *p != '_' && *p != '-')
            return err_set(err, ERR_CONFIG,
                           "%s = \"%s\": topic names are made of letters, digits, '.', '_' and '-'",
                           option, topic);
        n++;
    }
}

static int check_passed(const struct options *o, struct err *err)
{
    const char *key, *value;
    for (size_t i = 0; options_passed(o, i, &key, &value); i++) {
        for (size_t j = 0; j < sizeof refused / sizeof *refused; j++)
            if (strcmp(key, refused[j].key) == 0)
                return err_set(err, ERR_CONFIG, "kafka.%s cannot be set: %s", key,
                               refused[j].instead);
        if (strcmp(key, "partition.assignment.strategy") == 0 && strstr(value, "cooperative"))
            return err_set(err, ERR_CONFIG,
                           "kafka.%s = %s: only eager assignors (range, roundrobin) are supported: "
                           "a transaction is "
                           "finished before partitions are given up, which incremental rebalances "
                           "do not wait for",
                           key, value);
        if (strcmp(key, "auto.offset.reset") == 0 && strcmp(value, "earliest") != 0 &&
            strcmp(value, "latest") != 0)
            return err_set(err, ERR_CONFIG,
                           "kafka.auto.offset.reset = \"%s\": expected earliest or latest", value);
    }
    return 0;
}

static int need(const char *value, const char *option, const char *why, struct err *err)
{
    return value && *value ? 0 : err_set(err, ERR_CONFIG, "%s is not set: %s", option, why);
}

/* Results must not come back as headlines. */
static int check_no_loop(const struct config *cfg, struct err *err)
{
    const char *const outputs[] = {cfg->output, cfg->dead_letter, cfg->review};
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        size_t n = outputs[i] ? strlen(outputs[i]) : 0;
        for (const char *in = cfg->input; n && *in; in += in[0] == ',') {
            size_t len = strcspn(in, ",");
            if (len == n && strncmp(in, outputs[i], n) == 0)
                return err_set(err, ERR_CONFIG, "topic %s is both read and written", outputs[i]);
            in += len;
        }
    }
    return 0;
}

static enum wire wire_of(const char *name)
{
    static const char *const names[] = {[WIRE_PROTOBUF] = "protobuf",
                                        [WIRE_JSON] = "json",
                                        [WIRE_TEXT] = "text",
                                        [WIRE_CONFLUENT] = "confluent"};
    size_t form = 0;
    while (strcmp(names[form], name) != 0) /* the table of options allows no other */
        form++;
    return (enum wire)form;
}

/* "1, 2,3" */
static int read_schema_ids(const char *list, struct config *cfg, struct err *err)
{
    for (const char *p = list;; p++) {
        p += strspn(p, " \t");
        size_t digits = strspn(p, "0123456789");
        unsigned long id = digits && digits <= 10 ? strtoul(p, NULL, 10) : 0;
        const char *end = p + digits;
        end += strspn(end, " \t");
        if (id < 1 || id > MAX_SCHEMA_ID || (*end && *end != ','))
            return err_set(err, ERR_CONFIG,
                           "schema-ids-in = \"%s\": expected ids from 1 to %d, comma-separated",
                           list, MAX_SCHEMA_ID);
        if (cfg->n_schema_ids_in == CONFIG_MAX_SCHEMA_IDS)
            return err_set(err, ERR_CONFIG, "schema-ids-in: more than %d ids",
                           CONFIG_MAX_SCHEMA_IDS);
        cfg->schema_ids_in[cfg->n_schema_ids_in++] = (uint32_t)id;
        p = end;
        if (!*p)
            return 0;
    }
}

static int check_word(const char *option, const char *s, struct err *err)
{
    return registry_is_word(s) ? 0
                               : err_set(err, ERR_CONFIG,
                                         "%s = \"%s\": expected 1 to %d of A-Z a-z 0-9 . _ -, not "
                                         "starting with '.'",
                                         option, s, REGISTRY_WORD);
}

/* Its URL is read, with the password that belongs to it; nobody is asked. */
static int check_registry(const struct config *cfg, struct err *err)
{
    struct registry *r;
    if (!cfg->registry)
        return 0;
    if (registry_open(cfg->registry, &r, err) != 0)
        return -1;
    registry_close(r);
    return check_word("name", options_str(cfg->options, "name"), err) != 0
               ? -1
               : check_word("alias", options_str(cfg->options, "alias"), err);
}

/* The forms and what a schema registry's frames need. Ids without frames are refused as well: who
 * sets them believes that they are checked. */
static int check_wire(const struct options *o, struct config *cfg, struct err *err)
{
    const char *in = options_str(o, "wire-in"), *out = options_str(o, "wire-out"),
               *ids = options_str(o, "schema-ids-in");
    cfg->wire_in = wire_of(in);
    cfg->wire_out = wire_of(out);
    cfg->schema_id_out = (uint32_t)options_int(o, "schema-id-out");
    if (cfg->wire_in == WIRE_CONFLUENT) {
        if (need(ids, "schema-ids-in", "wire-in = confluent reads only frames with these ids",
                 err) != 0 ||
            read_schema_ids(ids, cfg, err) != 0)
            return -1;
    } else if (ids && *ids) {
        return err_set(err, ERR_CONFIG,
                       "schema-ids-in is set: only wire-in = confluent has schema ids, not %s", in);
    }
    if (cfg->wire_out == WIRE_CONFLUENT && !cfg->schema_id_out)
        return err_set(err, ERR_CONFIG,
                       "schema-id-out is not set: wire-out = confluent writes it into every frame");
    if (cfg->wire_out != WIRE_CONFLUENT && cfg->schema_id_out)
        return err_set(err, ERR_CONFIG,
                       "schema-id-out is set: only wire-out = confluent has a schema id, not %s",
                       out);
    return 0;
}

int config_check(const struct options *o, struct config *cfg, struct err *err)
{
    *cfg = (struct config){
        .options = o,
        .brokers = options_str(o, "brokers"),
        .group = options_str(o, "group"),
        .input = options_str(o, "input"),
        .output = options_str(o, "output"),
        .review = options_str(o, "review"),
        .dead_letter = options_str(o, "dead-letter"),
        .model = options_str(o, "model"),
        .registry = options_str(o, "registry"),
        .transactional_id = options_str(o, "transactional-id"),
        .exactly_once = strcmp(options_str(o, "delivery"), "exactly-once") == 0,
        .stop_at_end = options_bool(o, "stop-at-end"),
        .with_title = options_bool(o, "with-title"),
        .review_threshold = (float)options_real(o, "review-threshold"),
        .top_k = (int)options_int(o, "top"),
        .threads = (int)options_int(o, "threads"),
        .registry_poll_ns = options_int(o, "registry-poll-ms") * INT64_C(1000000),
        .allow_new_labels = options_bool(o, "allow-new-labels"),
        .batch_titles = (int32_t)options_int(o, "batch-titles"),
        .batch_tokens = (int32_t)options_int(o, "batch-tokens"),
        .batch_bytes = (size_t)options_int(o, "batch-bytes"),
        .max_title_bytes = (size_t)options_int(o, "max-title-bytes"),
        .max_headlines = (size_t)options_int(o, "max-headlines"),
        .batch_age_ns = options_int(o, "batch-age-ms") * 1000000,
        .commit_records = (int32_t)options_int(o, "commit-records"),
        .commit_interval_ns = options_int(o, "commit-interval-ms") * 1000000,
        .drain_timeout_ns = options_int(o, "drain-timeout-ms") * 1000000,
        .transaction_timeout_ms = (int)options_int(o, "transaction-timeout-ms"),
        .http = options_str(o, "http"),
    };
    if (cfg->threads == 0)
        cfg->threads = cpu_count();
    if (need(cfg->brokers, "brokers", "the worker needs at least one broker, host:port", err) !=
            0 ||
        need(cfg->input, "input", "the topic of headlines", err) != 0 ||
        need(cfg->output, "output", "the topic of categories", err) != 0 ||
        need(cfg->dead_letter, "dead-letter", "what cannot be classified must go somewhere", err) !=
            0 ||
        need(cfg->group, "group", "the consumer group", err) != 0)
        return -1;
    if (cfg->model && cfg->registry)
        return err_set(err, ERR_CONFIG,
                       "model and registry are both set: one of them says what to run");
    if (!cfg->model &&
        need(cfg->registry, "model", "a model directory, or registry, name and alias", err) != 0)
        return -1;
    if (check_registry(cfg, err) != 0)
        return -1;
    if (cfg->review_threshold > 0 &&
        need(cfg->review, "review", "review-threshold sends categories there", err) != 0)
        return -1;
    if (check_wire(o, cfg, err) != 0)
        return -1;
    if (check_topic("input", cfg->input, true, false, err) != 0 ||
        check_topic("output", cfg->output, false, true, err) != 0 ||
        check_topic("dead-letter", cfg->dead_letter, false, false, err) != 0 ||
        (cfg->review && check_topic("review", cfg->review, false, false, err) != 0))
        return -1;
    if (cfg->commit_interval_ns * 2 > (int64_t)cfg->transaction_timeout_ms * 1000000)
        return err_set(
            err, ERR_CONFIG,
            "commit-interval-ms is over half of transaction-timeout-ms: brokers would abort "
            "transactions that are still open");
    if (check_no_loop(cfg, err) != 0)
        return -1;
    return check_passed(o, err);
}
