/* The main job on embedded parts: a broker inside this process, a registry directory with a
 * ready-made model, headlines from a file. Headlines are sent as a news desk would, the service
 * runs as it does in production, categories are read back and shown. */
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "worker/config.h"
#include "worker/demo_registry.h"
#include "worker/kafka_demo.h"
#include "worker/metrics.h"
#include "worker/run.h"
#include "worker/verbs.h"

static const struct opt options[] = {
    {"files", OPT_STR, NULL, 0, 0, NULL, "directory with headlines.txt and registry/", false},
    {"rate", OPT_REAL, "100", 1, 100000, NULL, "headlines sent per second", false},
    {"quiet", OPT_BOOL, "false", 0, 0, NULL, "print the summary only", false},
};
#define N_OPTIONS (sizeof options / sizeof *options)
#define PARTITIONS 3
#define MAX_CLASSES 64
#define PATIENCE_NS INT64_C(60000000000)

static const char *const topics[] = {"headlines", "categories", "review", "dead-letters"};

struct headline_row {
    char *title, *label;
    bool answered;
};

struct demo {
    struct demo_broker *broker;
    struct demo_registry registry;
    bool promoted;
    size_t by_second; /* answers by the second version */
    struct options *service_options;
    struct config cfg;
    char *text;
    struct headline_row *rows;
    size_t n;
    double rate;
    bool quiet;
    atomic_bool stop, failed, over; /* over: the service has ended */
    /* results */
    size_t answered, agreed, reviewed;
    struct {
        char name[64];
        size_t n;
    } classes[MAX_CLASSES];
    size_t n_classes;
    int64_t *ages_ms;
};

/* Beside the program when installed, in the source tree otherwise. */
static char *find_files(void)
{
    char self[PATH_MAX] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    const char *dir = n > 0 ? dirname(self) : ".";
    static const char *const places[] = {"../share/rubric/demo", "../../worker/demo"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char *p = file_path("%s/%s", dir, places[i]);
        char *list = file_path("%s/headlines.txt", p);
        bool there = file_exists(list);
        free(list);
        if (there)
            return p;
        free(p);
    }
    return xstrdup("worker/demo");
}

static int read_rows(struct demo *d, const char *dir, struct err *err)
{
    char *path = file_path("%s/headlines.txt", dir);
    int rc = file_read(path, 16 << 20, &d->text, NULL, err);
    free(path);
    if (rc != 0)
        return -1;
    size_t cap = 0;
    char *save = NULL;
    for (char *line = strtok_r(d->text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *tab = strchr(line, '\t');
        if (!tab)
            continue;
        *tab = '\0';
        if (d->n == cap) {
            cap = cap ? 2 * cap : 512;
            d->rows = xrealloc(d->rows, cap * sizeof *d->rows);
        }
        d->rows[d->n++] = (struct headline_row){line, tab + 1, false};
    }
    d->ages_ms = xcalloc(d->n, sizeof *d->ages_ms);
    return d->n ? 0 : err_set(err, ERR_FORMAT, "%s/headlines.txt: no headline", dir);
}

static int make_service(struct demo *d, const char *dir, struct err *err)
{
    char *shipped = file_path("%s/registry", dir);
    int rc = demo_registry_open(shipped, &d->registry, err);
    free(shipped);
    if (rc != 0)
        return -1;
    const char *const settings[][2] = {
        {"brokers", demo_broker_address(d->broker)},
        {"group", "demo"},
        {"input", topics[0]},
        {"output", topics[1]},
        {"review", topics[2]},
        {"review-threshold", "0.5"},
        {"dead-letter", topics[3]},
        {"wire-in", "json"},
        {"wire-out", "json"},
        {"registry", d->registry.url},
        {"registry-poll-ms", "200"},
        {"kafka.session.timeout.ms", "6000"},
        {"kafka.heartbeat.interval.ms", "500"},
        {"kafka.fetch.wait.max.ms",
         "10"}, /* the stand-in answers a waiting fetch only at its end */
    };
    d->service_options = options_open(config_options, config_n_options, "kafka.");
    for (size_t i = 0; i < sizeof settings / sizeof *settings && rc == 0; i++)
        rc = options_set(d->service_options, settings[i][0], settings[i][1], "demo", err);
    return rc == 0 ? config_check(d->service_options, &d->cfg, err) : -1;
}

static void *service_main(void *arg)
{
    struct demo *d = arg;
    struct err err;
    if (run_service(&d->cfg, &err) != 0) {
        (void)fprintf(stderr, "rubric-worker demo: %s\n", err.msg);
        atomic_store(&d->failed, true);
    }
    atomic_store(&d->over, true);
    return NULL;
}

static bool swapped(void)
{
    return metric_value_at(M_MODEL_SWAPS, SWAP_DONE) > 0;
}

static void *feeder_main(void *arg)
{
    struct demo *d = arg;
    struct err err;
    /* Headlines that wait for the first assignment would only make their ages look bad. */
    while (metric_value(M_PARTITIONS_ASSIGNED) == 0 && !atomic_load(&d->stop))
        (void)poll(NULL, 0, 10);
    int64_t begin = clock_ns();
    for (size_t i = 0; i < d->n && !atomic_load(&d->stop); i++) {
        char key[24];
        struct buf json;
        buf_init(&json, 65536);
        buf_printf(&json, "{\"id\":\"%zu\",\"title\":\"", i);
        buf_put_json(&json, d->rows[i].title, strlen(d->rows[i].title));
        buf_printf(&json, "\",\"published_unix_ms\":%lld,\"source\":\"demo\"}",
                   (long long)clock_wall_ms());
        (void)snprintf(key, sizeof key, "%zu", i);
        int rc = demo_broker_send(d->broker, key, json.data, json.len, &err);
        buf_done(&json);
        if (rc != 0) {
            (void)fprintf(stderr, "rubric-worker demo: %s\n", err.msg);
            atomic_store(&d->failed, true);
            break;
        }
        while (i + 1 >= 3 * d->n / 4 && !swapped() && clock_ns() < begin + PATIENCE_NS &&
               !atomic_load(&d->stop))
            (void)poll(NULL, 0, 10); /* the last quarter is for the second version */
        int64_t due = begin + (int64_t)((double)(i + 1) / d->rate * 1e9);
        while (clock_ns() < due && !atomic_load(&d->stop))
            (void)poll(NULL, 0, 5);
    }
    return NULL;
}

/* Halfway the second version is promoted; the service finds out by itself. */
static void promote(struct demo *d)
{
    struct err err;
    d->promoted = true;
    if (demo_registry_promote(&d->registry, &err) != 0) {
        (void)fprintf(stderr, "rubric-worker demo: %s\n", err.msg);
        atomic_store(&d->failed, true);
        return;
    }
    if (!d->quiet)
        (void)printf("\n-- version %s is promoted to production while headlines flow\n\n",
                     d->registry.second);
}

static void note_version(struct demo *d, const char *version)
{
    if (!version || strcmp(version, d->registry.second) != 0)
        return;
    if (d->by_second++ == 0 && !d->quiet)
        (void)printf("\n-- version 2 (%s) takes over from version 1 (%s)\n\n", d->registry.second,
                     d->registry.first);
}

static void count_class(struct demo *d, const char *label)
{
    size_t i = 0;
    while (i < d->n_classes && strcmp(d->classes[i].name, label) != 0)
        i++;
    if (i == MAX_CLASSES)
        return;
    if (i == d->n_classes)
        (void)snprintf(d->classes[d->n_classes++].name, sizeof d->classes[i].name, "%s", label);
    d->classes[i].n++;
}

static void take_answer(struct demo *d, const struct demo_answer *a)
{
    struct err err;
    json_t *v = json_parse("category", a->value, a->len, &err);
    const char *label = NULL, *version = NULL;
    double probability = 0;
    size_t row = (size_t)strtoull(a->key, NULL, 10);
    if (v && json_get_str(v, "label", &label, &err) == 0 &&
        json_get_str(v, "model_version", &version, &err) == 0 &&
        json_get_real(v, "probability", &probability, &err) == 0 && label && row < d->n &&
        !d->rows[row].answered) {
        struct headline_row *r = &d->rows[row];
        bool review = strcmp(a->topic, topics[2]) == 0, same = strcmp(label, r->label) == 0;
        note_version(d, version);
        r->answered = true;
        d->ages_ms[d->answered++] = clock_wall_ms() - a->sent_ms;
        d->agreed += same;
        d->reviewed += review;
        count_class(d, label);
        if (!d->quiet)
            (void)printf("  %-14s %5.1f %%  %s%s\n", label, 100 * probability, r->title,
                         review ? "   [to review]" : "");
        (void)fflush(stdout);
    }
    json_decref(v);
}

static int by_age(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void summary(struct demo *d)
{
    qsort(d->ages_ms, d->answered, sizeof *d->ages_ms, by_age);
    (void)printf("\n%zu headlines sent, %zu categories received, %zu of them sent to review.\n",
                 d->n, d->answered, d->reviewed);
    (void)printf("Version 1 classified %zu of them, version 2, promoted halfway, %zu.\n",
                 d->answered - d->by_second, d->by_second);
    for (size_t i = 0; i < d->n_classes; i++)
        (void)printf("  %-14s %zu\n", d->classes[i].name, d->classes[i].n);
    if (d->answered)
        (void)printf("The writers' own category was found for %zu (%.1f %%). From sent to "
                     "categorised: median %lld ms, "
                     "slowest %lld ms.\n",
                     d->agreed, 100.0 * (double)d->agreed / (double)d->answered,
                     (long long)d->ages_ms[d->answered / 2],
                     (long long)d->ages_ms[d->answered - 1]);
    (void)printf("The broker was an embedded stand-in inside this process, not Apache Kafka: `make "
                 "test` runs the same worker "
                 "against a real one.\n");
}

static int run_demo(struct demo *d)
{
    pthread_t service, feeder;
    (void)printf("Broker: an embedded stand-in (librdkafka's mock cluster) at %s, %d partitions.\n"
                 "Joining the consumer group takes it about three seconds …\n\n",
                 demo_broker_address(d->broker), PARTITIONS);
    (void)fflush(stdout);
    if (pthread_create(&service, NULL, service_main, d) != 0)
        return 70;
    if (pthread_create(&feeder, NULL, feeder_main, d) != 0) {
        run_stop();
        (void)pthread_join(service, NULL);
        return 70;
    }
    int64_t until = clock_ns() + (int64_t)((60 + (double)d->n / d->rate) * 1e9);
    struct demo_answer a;
    while (d->answered < d->n && clock_ns() < until && !atomic_load(&d->over))
        if (demo_broker_read(d->broker, 100, &a)) {
            take_answer(d, &a);
            free(a.value);
            if (!d->promoted && d->answered >= d->n / 2)
                promote(d);
        }
    atomic_store(&d->stop, true);
    (void)pthread_join(feeder, NULL);
    run_stop();
    (void)pthread_join(service, NULL);
    summary(d);
    if (d->answered == d->n && !d->by_second)
        (void)fprintf(stderr, "rubric-worker demo: version 2 never took over\n");
    return d->answered == d->n && d->by_second && !atomic_load(&d->failed) ? 0 : 70;
}

int verb_demo(int argc, char **argv)
{
    struct options *o = options_open(options, N_OPTIONS, NULL);
    struct err err = {0};
    struct demo d = {0};
    char *dir = NULL;
    int n_rest = 0, status;
    const char **rest = xcalloc((size_t)argc + 1, sizeof(char *));
    if (argc > 0 && strcmp(argv[0], "--help") == 0) {
        (void)printf("usage: rubric-worker demo\n\n");
        options_help(options, N_OPTIONS, stdout);
        status = 0;
        goto end;
    }
    log_setup(LOG_TEXT, LOG_WARN);
    run_handle_signals();
    int rc = options_read_args(o, argc, argv, rest, &n_rest, &err);
    if (rc == 0) {
        dir = options_str(o, "files") ? xstrdup(options_str(o, "files")) : find_files();
        d.rate = options_real(o, "rate");
        d.quiet = options_bool(o, "quiet");
        rc = read_rows(&d, dir, &err);
    }
    if (rc == 0)
        rc = demo_broker_open(topics, sizeof topics / sizeof *topics, PARTITIONS, &d.broker, &err);
    if (rc == 0)
        rc = make_service(&d, dir, &err);
    if (rc == 0) {
        status = run_demo(&d);
    } else {
        (void)fprintf(stderr, "rubric-worker demo: %s\n", err.msg);
        status = err_exit_status(&err);
    }
    demo_broker_close(d.broker);
    demo_registry_close(&d.registry);
    options_close(d.service_options);
end:
    free(d.rows);
    free(d.text);
    free(d.ages_ms);
    free(dir);
    free(rest);
    options_close(o);
    return status;
}
