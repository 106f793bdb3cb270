#include "worker/publish.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/metrics.h"

/* A record whose headlines are bad goes to dead letters once for each, whole each time, until so
 * many bytes of it went there; its further dead letters leave the value out. Without a bound one
 * record of a megabyte could become ten gigabytes, which no transaction survives. */
#define MAX_COPIED_BYTES (16u << 20)

/* Headers of the input that are passed through to the output (W3C Trace Context). */
static const char *const passed_through[] = {"traceparent", "tracestate"};
#define N_PASSED ((int)(sizeof passed_through / sizeof *passed_through))

struct publisher {
    const struct config *cfg;
    char **topics; /* [0] dead letters, [1] review, [2 …] one output, or one per label */
    int n_topics;
    bool by_label;
    struct source **sources;
    size_t n_sources, cap_sources;
    int64_t *timestamps; /* of the headlines of the open group, for their age at commit */
    size_t n_timestamps, cap_timestamps;
    int64_t outputs, reviews, dead[REASON_COUNT]; /* sent, not yet committed */
    const struct record
        *copied; /* whose value went to dead letters last, and how many bytes of it */
    size_t copied_bytes;
};

enum { TOPIC_DEAD, TOPIC_REVIEW, TOPIC_OUTPUT };

struct publisher *publisher_open(const struct config *cfg, const struct model_info *info)
{
    struct publisher *p = xcalloc(1, sizeof *p);
    const char *hole = strstr(cfg->output, "{label}");
    p->cfg = cfg;
    p->by_label = hole != NULL;
    p->n_topics = TOPIC_OUTPUT + (hole ? info->n_labels : 1);
    p->topics = xcalloc((size_t)p->n_topics, sizeof *p->topics);
    p->topics[TOPIC_DEAD] = xstrdup(cfg->dead_letter);
    p->topics[TOPIC_REVIEW] = xstrdup(cfg->review ? cfg->review : cfg->dead_letter);
    for (int i = TOPIC_OUTPUT; i < p->n_topics; i++) {
        char name[600];
        if (hole)
            (void)snprintf(name, sizeof name, "%.*s%s%s", (int)(hole - cfg->output), cfg->output,
                           info->labels[i - TOPIC_OUTPUT], hole + 7);
        else
            (void)snprintf(name, sizeof name, "%s", cfg->output);
        p->topics[i] = xstrdup(name);
    }
    return p;
}

void publisher_close(struct publisher *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->n_topics; i++)
        free(p->topics[i]);
    free(p->topics);
    free(p->sources);
    free(p->timestamps);
    free(p);
}

char *const *publisher_topics(const struct publisher *p, int *n)
{
    *n = p->n_topics;
    return p->topics;
}

static struct header text_header(const char *name, const char *value)
{
    return (struct header){name, value, strlen(value)};
}

/* source-topic, -partition, -offset, -index; the numbers' text is written to the caller's buffers.
 */
struct source_text {
    char offset[24], index[12];
};
static size_t source_headers(struct header *h, const struct record *r, const struct item *it,
                             struct source_text *t)
{
    (void)snprintf(t->offset, sizeof t->offset, "%lld", (long long)r->offset);
    (void)snprintf(t->index, sizeof t->index, "%d", it->index);
    h[0] = text_header("source-topic", r->source->topic);
    h[1] = text_header("source-partition", r->source->partition_text);
    h[2] = text_header("source-offset", t->offset);
    h[3] = text_header("source-index", t->index);
    return 4;
}

/* The original record with the reason beside it. When it does not fit the dead-letter topic, its
 * bytes are left out and their number is said; when even the key is too large, the key too. */
static enum kafka_outcome send_dead(struct publisher *p, struct kafka_out *out,
                                    const struct work *w, const struct item *it, enum reason reason,
                                    const char *note, struct err *err)
{
    const struct record *r = &w->records[it->record];
    const struct model_info *info = w->served->info;
    struct header h[4 + 3 + 3 + 2];
    struct source_text t;
    char bytes[24], key_bytes[24];
    size_t n = source_headers(h, r, it, &t);
    h[n++] = text_header("dlq.reason", reason_name(reason));
    h[n++] = text_header("dlq.error", note);
    h[n++] = text_header("dlq.stage", reason == REASON_OUTPUT_TOO_LARGE ? "produce" : "decode");
    h[n++] = text_header("model-name", info->name);
    h[n++] = text_header("model-version", info->version);
    h[n++] = text_header("model-sha256", info->sha256);
    p->copied_bytes = (p->copied == r ? p->copied_bytes : 0) + r->len;
    p->copied = r;
    struct message m = {
        .topic = TOPIC_DEAD,
        .value = r->value,
        .len = r->len,
        .key = r->key,
        .key_len = r->key_len,
        .timestamp_ms = r->timestamp_ms,
        .headers = h,
        .n_headers = n,
        .original = r,
    };
    enum kafka_outcome o = p->copied_bytes > MAX_COPIED_BYTES && p->copied_bytes > r->len
                               ? KAFKA_TOO_LARGE
                               : kafka_out_send(out, &m, err);
    for (int step = 0; o == KAFKA_TOO_LARGE && step < 4; step++) {
        if (step == 0) {
            (void)snprintf(bytes, sizeof bytes, "%zu", r->len);
            h[m.n_headers++] = text_header("dlq.truncated", bytes);
            m.value = NULL;
            m.len = 0;
        } else if (step == 1) {
            m.original = NULL; /* headers can be large as well */
        } else if (step == 2) {
            h[5] = text_header("dlq.error", "");
        } else {
            (void)snprintf(key_bytes, sizeof key_bytes, "%zu", r->key_len);
            h[m.n_headers++] = text_header("dlq.truncated-key", key_bytes);
            m.key = NULL;
            m.key_len = 0;
        }
        o = kafka_out_send(out, &m, err);
    }
    p->dead[reason]++;
    if (o == KAFKA_TOO_LARGE) {
        (void)err_prefix(err, "a dead letter without its value, source %s [%d] offset %lld",
                         r->source->topic, r->source->partition, (long long)r->offset);
        o = KAFKA_ABORT;
    }
    return o;
}

static enum kafka_outcome send_category(struct publisher *p, struct kafka_out *out,
                                        const struct work *w, const struct item *it,
                                        struct err *err)
{
    const struct record *r = &w->records[it->record];
    const struct model_info *info = w->served->info;
    bool review = it->probability < p->cfg->review_threshold;
    struct header h[7 + N_PASSED];
    struct source_text t;
    size_t n = source_headers(h, r, it, &t);
    h[n++] = text_header("model-name", info->name);
    h[n++] = text_header("model-version", info->version);
    h[n++] = text_header("model-sha256", info->sha256);
    for (int i = 0; i < N_PASSED; i++) {
        size_t len;
        const void *value = kafka_record_header(r, passed_through[i], &len);
        if (value)
            h[n++] = (struct header){passed_through[i], value, len};
    }
    struct message m = {
        .topic = review ? TOPIC_REVIEW : TOPIC_OUTPUT + (p->by_label ? it->label : 0),
        .value = w->out.data + it->out,
        .len = it->out_len,
        .key = r->key,
        .key_len = r->key_len,
        .timestamp_ms = r->timestamp_ms,
        .headers = h,
        .n_headers = n,
    };
    enum kafka_outcome o = kafka_out_send(out, &m, err);
    if (o == KAFKA_TOO_LARGE) {
        struct err cause = *err;
        return send_dead(p, out, w, it, REASON_OUTPUT_TOO_LARGE, cause.msg, err);
    }
    if (review)
        p->reviews++;
    else
        p->outputs++;
    return o;
}

static void note_source(struct publisher *p, const struct record *r)
{
    struct source *s = r->source;
    assert(s->pending <=
           r->offset); /* in order: an offset may never be committed past a record unread */
    if (s->pending < 0) {
        if (p->n_sources == p->cap_sources) {
            p->cap_sources = p->cap_sources ? 2 * p->cap_sources : 64;
            p->sources = xrealloc(p->sources, p->cap_sources * sizeof(struct source *));
        }
        p->sources[p->n_sources++] = s;
    }
    s->pending = r->offset + 1;
}

/* When the headline was published: as it says itself, else its record's time. */
static void note_age(struct publisher *p, const struct record *r, const struct item *it)
{
    if (p->n_timestamps == p->cap_timestamps) {
        p->cap_timestamps = p->cap_timestamps ? 2 * p->cap_timestamps : 4096;
        p->timestamps = xrealloc(p->timestamps, p->cap_timestamps * sizeof *p->timestamps);
    }
    p->timestamps[p->n_timestamps++] =
        it->published_unix_ms > 0 ? it->published_unix_ms : r->timestamp_ms;
}

enum kafka_outcome publisher_send(struct publisher *p, struct kafka_out *out, struct work *w,
                                  struct err *err)
{
    for (size_t i = 0; i < w->n_items; i++) {
        const struct item *it = &w->items[i];
        enum kafka_outcome o = it->reason == REASON_NONE
                                   ? send_category(p, out, w, it, err)
                                   : send_dead(p, out, w, it, it->reason, work_note(w, it), err);
        if (o != KAFKA_OK)
            return o;
        note_age(p, &w->records[it->record], it);
    }
    p->copied = NULL; /* records of other works may come to lie at the same address */
    for (size_t i = 0; i < w->n_records; i++)
        note_source(p, &w->records[i]);
    return KAFKA_OK;
}

struct source *const *publisher_sources(const struct publisher *p, size_t *n)
{
    *n = p->n_sources;
    return p->sources;
}

void publisher_committed(struct publisher *p)
{
    int64_t now = clock_wall_ms();
    for (size_t i = 0; i < p->n_timestamps; i++)
        if (p->timestamps[i] >= 0)
            metric_observe(M_AGE_SECONDS, (double)(now - p->timestamps[i]) * 1e-3, 1);
    metric_add(M_OUTPUTS_PRODUCED, p->outputs);
    metric_add(M_REVIEWS_PRODUCED, p->reviews);
    for (int i = 0; i < REASON_COUNT; i++)
        if (p->dead[i])
            metric_add_at(M_DEAD_LETTERS, i, p->dead[i]);
    publisher_forget(p);
}

void publisher_forget(struct publisher *p)
{
    for (size_t i = 0; i < p->n_sources; i++)
        p->sources[i]->pending = -1;
    p->n_sources = p->n_timestamps = 0;
    p->copied = NULL; /* records to come may lie at the same address */
    p->outputs = p->reviews = 0;
    memset(p->dead, 0, sizeof p->dead);
}
