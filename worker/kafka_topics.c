#include "worker/kafka_topics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/kafka.h"
#include "worker/kafka_client.h"

/* 1: there, 0: not there, -1: no answer. Asked one by one: the whole cluster's metadata can be
 * large. */
static int topic_exists(rd_kafka_t *rk, const char *name, struct err *err)
{
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, name, NULL);
    const struct rd_kafka_metadata *md = NULL;
    if (!rkt)
        return err_set(err, ERR_CONFIG, "topic %s: %s", name,
                       rd_kafka_err2str(rd_kafka_last_error()));
    rd_kafka_resp_err_t e = rd_kafka_metadata(rk, 0, rkt, &md, 3000);
    int found = -1;
    if (e)
        (void)err_set(err, ERR_UNAVAILABLE, "metadata of topic %s: %s", name, rd_kafka_err2str(e));
    else
        found = md->topic_cnt == 1 && md->topics[0].err == 0 && md->topics[0].partition_cnt > 0;
    if (md)
        rd_kafka_metadata_destroy(md);
    rd_kafka_topic_destroy(rkt);
    return found;
}

static int check_one(rd_kafka_t *rk, const char *name, struct buf *missing, struct err *err)
{
    int found = topic_exists(rk, name, err);
    if (found < 0)
        return -1;
    if (!found)
        buf_printf(missing, "%s%s", missing->len ? ", " : "", name);
    return 0;
}

static int check_all(rd_kafka_t *rk, const struct config *cfg, const char *const *labels,
                     int n_labels, struct buf *missing, struct err *err)
{
    char *inputs = xstrdup(cfg->input), *save = NULL;
    int rc = 0;
    for (char *t = strtok_r(inputs, ",", &save); t && rc == 0; t = strtok_r(NULL, ",", &save))
        rc = check_one(rk, t, missing, err);
    free(inputs);
    const char *hole = strstr(cfg->output, "{label}");
    for (int i = 0; hole && i < n_labels && rc == 0; i++) {
        char name[600];
        (void)snprintf(name, sizeof name, "%.*s%s%s", (int)(hole - cfg->output), cfg->output,
                       labels[i], hole + 7);
        rc = check_one(rk, name, missing, err);
    }
    if (rc == 0 && !hole)
        rc = check_one(rk, cfg->output, missing, err);
    if (rc == 0 && cfg->review)
        rc = check_one(rk, cfg->review, missing, err);
    if (rc == 0)
        rc = check_one(rk, cfg->dead_letter, missing, err);
    return rc;
}

int kafka_missing_topics(const struct config *cfg, const char *const *labels, int n_labels,
                         struct buf *missing, struct err *err)
{
    /* A consumer: asking as a producer would create the topics where brokers allow it. */
    rd_kafka_conf_t *conf = client_conf(cfg, true, err);
    if (!conf || client_set(conf, "group.id", cfg->group, err) != 0)
        return -1;
    rd_kafka_t *rk = client_new(RD_KAFKA_CONSUMER, conf, err);
    if (!rk)
        return -1;
    int rc = check_all(rk, cfg, labels, n_labels, missing, err);
    rd_kafka_destroy(rk);
    return rc;
}

/* Reads max.message.bytes of each topic out of the answer. */
static int read_limits(rd_kafka_event_t *event, char *const *topics, int n, long *limits,
                       struct err *err)
{
    if (rd_kafka_event_error(event))
        return err_set(err, ERR_UNAVAILABLE, "topic limits: %s",
                       rd_kafka_event_error_string(event));
    size_t n_res, n_entries;
    const rd_kafka_ConfigResource_t **res = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(event), &n_res);
    for (size_t r = 0; r < n_res; r++) {
        const rd_kafka_ConfigEntry_t **entries =
            rd_kafka_ConfigResource_configs(res[r], &n_entries);
        if (rd_kafka_ConfigResource_error(res[r]))
            return err_set(err, ERR_UNAVAILABLE, "limits of topic %s: %s",
                           rd_kafka_ConfigResource_name(res[r]),
                           rd_kafka_ConfigResource_error_string(res[r]));
        for (size_t e = 0; e < n_entries; e++) {
            const char *value = rd_kafka_ConfigEntry_value(entries[e]);
            if (!value || strcmp(rd_kafka_ConfigEntry_name(entries[e]), "max.message.bytes") != 0)
                continue;
            for (int i = 0; i < n; i++)
                if (strcmp(topics[i], rd_kafka_ConfigResource_name(res[r])) == 0)
                    limits[i] = strtol(value, NULL, 10);
        }
    }
    return 0;
}

int topic_limits(rd_kafka_t *rk, char *const *topics, int n, long *limits, struct err *err)
{
    rd_kafka_ConfigResource_t **res = xcalloc((size_t)n, sizeof *res);
    size_t n_res = 0;
    for (int i = 0; i < n; i++) { /* a name asked for twice makes the answer unreadable */
        int first = 0;
        while (strcmp(topics[first], topics[i]) != 0)
            first++;
        if (first == i)
            res[n_res++] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topics[i]);
    }
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    char why[256];
    (void)rd_kafka_AdminOptions_set_request_timeout(options, 5000, why, sizeof why);
    rd_kafka_DescribeConfigs(rk, res, n_res, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 7000);
    int rc = event ? read_limits(event, topics, n, limits, err)
                   : err_set(err, ERR_UNAVAILABLE, "topic limits: no answer");
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy_array(res, n_res);
    free(res);
    return rc;
}
