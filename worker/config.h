/* What a worker is told: the option table (the single list of names, see base/options.h) and its
 * checked form. */
#ifndef WORKER_CONFIG_H
#define WORKER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/options.h"
#include "proto/codec.h"

enum { CONFIG_MAX_SCHEMA_IDS = 64 };

extern const struct opt config_options[];
extern const size_t config_n_options;

struct config {
    const struct options *options; /* for kafka.* pairs; borrowed */
    const char *brokers, *group, *input, *output, *review, *dead_letter;
    const char *model, *registry, *transactional_id;
    enum wire wire_in, wire_out;
    uint32_t schema_ids_in[CONFIG_MAX_SCHEMA_IDS], schema_id_out; /* of confluent frames */
    size_t n_schema_ids_in;
    bool exactly_once, stop_at_end, with_title;
    float review_threshold;
    int top_k, threads;
    int32_t batch_titles, batch_tokens;
    size_t batch_bytes, max_title_bytes, max_headlines;
    int64_t batch_age_ns;
    int32_t commit_records;
    int64_t commit_interval_ns, drain_timeout_ns;
    int transaction_timeout_ms;
    int64_t registry_poll_ns;
    bool allow_new_labels;
    const char *http; /* "address:port", or NULL */
};

/* Default < file (--config, or RUBRIC_CONFIG) < environment < arguments. The result is owned by the
 * caller. */
int config_load(int argc, char **argv, struct options **out, const char **rest, int *n_rest,
                struct err *err);

/* Fills cfg from options and checks what one option alone cannot: required ones, pairs that belong
 * together, kafka.* keys that would break the delivery guarantee. Strings are borrowed from o. */
int config_check(const struct options *o, struct config *cfg, struct err *err);

#endif
