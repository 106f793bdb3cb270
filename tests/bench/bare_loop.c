/* bare_loop: the yardstick of the benchmark. Consumes a topic and produces as many records to
 * another, exactly once, with librdkafka and nothing else: what any program on this library could
 * reach that does no work on the records. One thread, one transaction after the other:
 *
 *   poll N records -> produce N (sized like rubric-worker's) -> send offsets -> commit
 *
 * Nothing a careful author would use is left out: records are taken from the consumer's queue in
 * batches, the library fetches ahead and sends while the loop fills the next records, values and
 * headers are ready made, the key and the timestamp are passed on, delivery reports are not asked
 * for (a transaction's commit fails when one record was not delivered).
 *
 * The clock runs from the first record polled to the last commit; joining the group and opening the
 * producer are not in it. Prints one JSON line.
 *
 * An error ends the program: a benchmark has no use for recovery. Thread rule: all in main's
 * thread. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* clock_gettime */
#endif
#include <librdkafka/rdkafka.h>

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_HEADERS = 32, MAX_PARTITIONS = 256, POLL_RECORDS = 1024, TXN_TIMEOUT_MS = 60000 };

struct options {
    const char *brokers, *group, *input, *output;
    long records;         /* to copy before the program ends */
    long per_transaction; /* records in one transaction */
    long value_bytes;     /* of each record written; 0: the value read is written again */
    int header_count;
    const char *header_name[MAX_HEADERS], *header_value[MAX_HEADERS];
    rd_kafka_conf_t *consumer_conf, *producer_conf;
};

static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "bare_loop: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) != RD_KAFKA_CONF_OK)
        die("%s", text);
}

/* Ends the program on an error object, whatever its class. */
static void check(rd_kafka_error_t *error, const char *what)
{
    if (error)
        die("%s: %s", what, rd_kafka_error_string(error));
}

static void usage(void)
{
    fprintf(stderr,
            "usage: bare_loop --brokers B --group G --input T --output T --records N\n"
            "                 --per-transaction N [--value-bytes N] [--header NAME=VALUE]...\n"
            "                 [--consumer PROPERTY=VALUE]... [--producer PROPERTY=VALUE]...\n");
    exit(64);
}

static long positive(const char *name, const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (*end || n < 0)
        die("%s: not a count: %s", name, text);
    return n;
}

/* Cuts "name=value" in place; returns the value. */
static char *cut(char *pair)
{
    char *value = strchr(pair, '=');
    if (!value)
        die("not NAME=VALUE: %s", pair);
    *value = '\0';
    return value + 1;
}

static void parse(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        const char *name = argv[i];
        if (i + 1 == argc)
            usage();
        char *value = argv[i + 1];
        if (!strcmp(name, "--brokers"))
            o->brokers = value;
        else if (!strcmp(name, "--group"))
            o->group = value;
        else if (!strcmp(name, "--input"))
            o->input = value;
        else if (!strcmp(name, "--output"))
            o->output = value;
        else if (!strcmp(name, "--records"))
            o->records = positive(name, value);
        else if (!strcmp(name, "--per-transaction"))
            o->per_transaction = positive(name, value);
        else if (!strcmp(name, "--value-bytes"))
            o->value_bytes = positive(name, value);
        else if (!strcmp(name, "--consumer"))
            set(o->consumer_conf, value, cut(value));
        else if (!strcmp(name, "--producer"))
            set(o->producer_conf, value, cut(value));
        else if (!strcmp(name, "--header") && o->header_count < MAX_HEADERS) {
            o->header_value[o->header_count] = cut(value);
            o->header_name[o->header_count++] = value;
        } else
            usage();
    }
    if (!o->brokers || !o->group || !o->input || !o->output || !o->records || !o->per_transaction)
        usage();
}

static rd_kafka_t *open_client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char text[512];
    rd_kafka_t *client = rd_kafka_new(type, conf, text, sizeof text);
    if (!client)
        die("%s", text);
    return client;
}

static rd_kafka_t *open_consumer(const struct options *o)
{
    set(o->consumer_conf, "bootstrap.servers", o->brokers);
    set(o->consumer_conf, "group.id", o->group);
    set(o->consumer_conf, "enable.auto.commit", "false");
    set(o->consumer_conf, "auto.offset.reset", "earliest");
    set(o->consumer_conf, "isolation.level", "read_committed");
    rd_kafka_t *consumer = open_client(RD_KAFKA_CONSUMER, o->consumer_conf);
    rd_kafka_poll_set_consumer(consumer);
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(topics, o->input, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t failed = rd_kafka_subscribe(consumer, topics);
    if (failed)
        die("subscribe: %s", rd_kafka_err2str(failed));
    rd_kafka_topic_partition_list_destroy(topics);
    return consumer;
}

static rd_kafka_t *open_producer(const struct options *o)
{
    char id[128];
    snprintf(id, sizeof id, "bare-loop-%s", o->group);
    set(o->producer_conf, "bootstrap.servers", o->brokers);
    set(o->producer_conf, "transactional.id", id);
    rd_kafka_t *producer = open_client(RD_KAFKA_PRODUCER, o->producer_conf);
    check(rd_kafka_init_transactions(producer, TXN_TIMEOUT_MS), "init_transactions");
    return producer;
}

static void produce(const struct options *o, rd_kafka_t *producer, rd_kafka_topic_t *output,
                    const char *filler, const rd_kafka_message_t *in)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new((size_t)o->header_count);
    for (int i = 0; i < o->header_count; i++)
        rd_kafka_header_add(headers, o->header_name[i], -1, o->header_value[i], -1);
    const void *value = o->value_bytes ? filler : in->payload;
    size_t bytes = o->value_bytes ? (size_t)o->value_bytes : in->len;
    int64_t timestamp = rd_kafka_message_timestamp(in, NULL);
    rd_kafka_vu_t row[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = output},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {.ptr = (void *)(uintptr_t)value, .size = bytes}},
        {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {.ptr = in->key, .size = in->key_len}},
        {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = timestamp < 0 ? 0 : timestamp},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
    };
    for (;;) {
        rd_kafka_error_t *error = rd_kafka_produceva(producer, row, sizeof row / sizeof *row);
        if (!error)
            return;
        if (rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            check(error, "produce");
        rd_kafka_error_destroy(error);
        rd_kafka_poll(producer, 10);
    }
}

static void commit(const struct options *o, rd_kafka_t *consumer, rd_kafka_t *producer,
                   const int64_t next[MAX_PARTITIONS])
{
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(8);
    for (int p = 0; p < MAX_PARTITIONS; p++)
        if (next[p] >= 0)
            rd_kafka_topic_partition_list_add(offsets, o->input, p)->offset = next[p];
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(consumer);
    check(rd_kafka_send_offsets_to_transaction(producer, offsets, group, TXN_TIMEOUT_MS),
          "send_offsets_to_transaction");
    rd_kafka_consumer_group_metadata_destroy(group);
    rd_kafka_topic_partition_list_destroy(offsets);
    check(rd_kafka_commit_transaction(producer, TXN_TIMEOUT_MS), "commit_transaction");
}

/* Copies up to wanted records inside the open transaction and notes the next offset of each
 * partition touched. *started is set at the first record. Returns the records copied: fewer than
 * wanted only when nothing more came for a while. */
static long fill(const struct options *o, rd_kafka_t *producer, rd_kafka_topic_t *output,
                 rd_kafka_queue_t *queue, const char *filler, long wanted,
                 int64_t next[MAX_PARTITIONS], double *started)
{
    rd_kafka_message_t *in[POLL_RECORDS];
    long copied = 0;
    while (copied < wanted) {
        size_t ask = (size_t)(wanted - copied < POLL_RECORDS ? wanted - copied : POLL_RECORDS);
        ssize_t got = rd_kafka_consume_batch_queue(queue, 30, in, ask);
        if (got < 0)
            die("consume: %s", rd_kafka_err2str(rd_kafka_last_error()));
        if (got == 0 && copied > 0)
            return copied;
        for (ssize_t i = 0; i < got; i++) {
            if (in[i]->err)
                die("consume: %s", rd_kafka_message_errstr(in[i]));
            if (in[i]->partition >= MAX_PARTITIONS)
                die("more than %d partitions", MAX_PARTITIONS);
            if (*started == 0)
                *started = now();
            produce(o, producer, output, filler, in[i]);
            next[in[i]->partition] = in[i]->offset + 1;
            rd_kafka_message_destroy(in[i]);
            copied++;
        }
    }
    return copied;
}

int main(int argc, char **argv)
{
    struct options o = {.consumer_conf = rd_kafka_conf_new(), .producer_conf = rd_kafka_conf_new()};
    set(o.producer_conf, "partitioner", "murmur2_random");
    /* A transaction that begins while the broker still writes the end of the last one is told to
     * come again: soon, here and in rubric-worker. */
    set(o.producer_conf, "retry.backoff.ms", "10");
    parse(&o, argc, argv);
    rd_kafka_t *producer = open_producer(&o);
    rd_kafka_topic_t *output = rd_kafka_topic_new(producer, o.output, NULL);
    rd_kafka_t *consumer = open_consumer(&o);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(consumer);
    char *filler = calloc(1, (size_t)o.value_bytes + 1);
    if (!output || !filler)
        die("out of memory");
    memset(filler, 'x', (size_t)o.value_bytes);

    long copied = 0, transactions = 0;
    double started = 0, ended = 0;
    while (copied < o.records) {
        int64_t next[MAX_PARTITIONS];
        for (int p = 0; p < MAX_PARTITIONS; p++)
            next[p] = -1;
        long left = o.records - copied;
        check(rd_kafka_begin_transaction(producer), "begin_transaction");
        copied += fill(&o, producer, output, queue, filler,
                       left < o.per_transaction ? left : o.per_transaction, next, &started);
        commit(&o, consumer, producer, next);
        ended = now();
        transactions++;
    }
    double seconds = ended - started;
    printf("{\"records\": %ld, \"seconds\": %.4f, \"records_per_s\": %.1f, \"transactions\": %ld, "
           "\"records_per_transaction\": %.1f}\n",
           copied, seconds, (double)copied / seconds, transactions,
           (double)copied / (double)transactions);

    free(filler);
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    rd_kafka_topic_destroy(output);
    rd_kafka_destroy(producer);
    return 0;
}
