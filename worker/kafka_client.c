#include "worker/kafka_client.h"

#include <string.h>

#include "base/log.h"
#include "worker/kafka.h"
#include "worker/metrics.h"

int client_set(rd_kafka_conf_t *conf, const char *key, const char *value, struct err *err)
{
    char why[512];
    if (rd_kafka_conf_set(conf, key, value, why, sizeof why) != RD_KAFKA_CONF_OK)
        return err_set(err, ERR_CONFIG, "kafka.%s = \"%s\": %s", key,
                       strstr(key, "password") ? "****" : value, why);
    return 0;
}

static void log_line(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    /* syslog(3) severities: 3 is an error, 5 a notice. */
    enum log_level l = level <= 3 ? LOG_WARN : level <= 5 ? LOG_INFO : LOG_DEBUG;
    log_event(l, "kafka-client", "%s: %s", facility, text);
}

/* Errors that the client handles by itself (a broker away, a name not resolved) are counted and
 * logged, never acted upon. */
static void error_event(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    (void)opaque;
    metric_add(M_KAFKA_ERRORS, 1);
    log_event(LOG_WARN, "kafka-error", "%s: %s: %s", rd_kafka_name(rk),
              rd_kafka_err2name((rd_kafka_resp_err_t)code), reason);
}

/* Keys that one kind of client refuses or warns about: prefixes. */
static bool for_other(const char *key, bool consumer)
{
    static const char *const consumer_only[] = {"fetch.",
                                                "queued.",
                                                "session.timeout",
                                                "heartbeat.",
                                                "max.poll",
                                                "partition.assignment",
                                                "group.",
                                                "auto.offset.reset",
                                                "check.crcs",
                                                "auto.commit",
                                                NULL};
    static const char *const producer_only[] = {"linger.ms",       "queue.buffering", "batch.",
                                                "compression.",    "message.timeout", "delivery.",
                                                "request.timeout", "sticky.",         "retries",
                                                "message.send",    "transaction",     NULL};
    const char *const *list = consumer ? producer_only : consumer_only;
    for (; *list; list++)
        if (strncmp(key, *list, strlen(*list)) == 0)
            return true;
    return false;
}

rd_kafka_conf_t *client_conf(const struct config *cfg, bool consumer, struct err *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const char *key, *value;
    rd_kafka_conf_set_log_cb(conf, log_line);
    rd_kafka_conf_set_error_cb(conf, error_event);
    if (client_set(conf, "bootstrap.servers", cfg->brokers, err) != 0 ||
        client_set(conf, "client.id", "rubric-worker", err) != 0 ||
        client_set(conf, "log.connection.close", "false", err) != 0)
        goto fail;
    for (size_t i = 0; options_passed(cfg->options, i, &key, &value); i++)
        if (!for_other(key, consumer) && strcmp(key, "auto.offset.reset") != 0 &&
            client_set(conf, key, value, err) != 0)
            goto fail;
    return conf;
fail:
    rd_kafka_conf_destroy(conf);
    return NULL;
}

rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct err *err)
{
    char why[512];
    rd_kafka_t *rk = rd_kafka_new(type, conf, why, sizeof why);
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        (void)err_set(err, ERR_CONFIG, "Kafka client: %s", why);
    }
    return rk;
}

int kafka_check(const struct config *cfg, struct err *err)
{
    for (int consumer = 0; consumer < 2; consumer++) {
        rd_kafka_conf_t *conf = consumer ? consumer_conf(cfg, err) : producer_sample_conf(cfg, err);
        /* Without brokers nothing is connected to, and what does not go together is still told. */
        if (conf && client_set(conf, "bootstrap.servers", NULL, err) != 0) {
            rd_kafka_conf_destroy(conf);
            conf = NULL;
        }
        rd_kafka_t *rk =
            conf ? client_new(consumer ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, conf, err) : NULL;
        if (!rk)
            return -1;
        rd_kafka_destroy(rk);
    }
    return 0;
}
